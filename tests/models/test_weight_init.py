"""``init_cfg=dict(type='Pretrained', …)`` in every scope."""
import pytest
import torch
from mmengine.model import BaseModule, initialize
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import DefaultScope, init_default_scope
from torch import nn

from ftcls.models.weight_init import PretrainedInit
from ftcls.registry import WEIGHT_INITIALIZERS
from ftcls.utils.errors import CheckpointError, MissingFileError


class Inner(BaseModule):

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)


class Outer(BaseModule):

    def __init__(self, init_cfg=None, inner_cfg=None):
        super().__init__(init_cfg)
        self.backbone = Inner(inner_cfg)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(1)
    state = {'backbone.' + k: v for k, v in Inner().state_dict().items()}
    torch.save({'state_dict': state}, tmp_path / 'w.pth')
    return str(tmp_path / 'w.pth'), state


@pytest.fixture(params=['no scope', 'ftcls', 'mmengine'])
def scope(request, monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', type(DefaultScope._instance_dict)())
    if request.param != 'no scope':
        init_default_scope(request.param)
    return request.param


def test_ours_in_every_scope(scope, checkpoint):
    path, state = checkpoint
    module = Inner()
    initialize(module, dict(type='Pretrained', checkpoint=path, prefix='backbone', allow_partial=False))
    assert torch.equal(module.conv.weight, state['backbone.conv.weight'])
    assert module.load_report.source == path and module.load_report.complete


@pytest.mark.parametrize('prefix', ['backbone', 'backbone.', None])
def test_init_weights_loads_last(scope, checkpoint, prefix):
    path, state = checkpoint
    pretrained = dict(type='Pretrained', checkpoint=path, prefix=prefix)
    module = Inner([pretrained, dict(type='Constant', layer='Conv2d', val=7)])
    module.init_weights()
    assert torch.equal(module.conv.weight, state['backbone.conv.weight'])


def test_outer_overrides_inner(checkpoint):
    path, state = checkpoint
    module = Outer(dict(type='Pretrained', checkpoint=path), dict(type='Constant', layer='Conv2d', val=7))
    module.init_weights()
    assert torch.equal(module.backbone.conv.weight, state['backbone.conv.weight'])
    assert module.load_report.complete and not hasattr(module.backbone, 'load_report')


def test_registries():
    assert WEIGHT_INITIALIZERS.get('Pretrained') is PretrainedInit
    assert MMENGINE_WEIGHT_INITIALIZERS.get('Pretrained') is PretrainedInit


def test_faults_stop(checkpoint, tmp_path):
    path, _ = checkpoint
    with pytest.raises(MissingFileError, match='did you mean'):
        Inner(dict(type='Pretrained', checkpoint=str(tmp_path / 'v.pth'))).init_weights()
    with pytest.raises(CheckpointError, match="prefix 'bone'"):
        Inner(dict(type='Pretrained', checkpoint=path, prefix='bone')).init_weights()
    torch.save({'x': torch.zeros(2)}, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='allow_partial=True'):
        Inner(dict(type='Pretrained', checkpoint=str(tmp_path / 'other.pth'))).init_weights()
    Inner(dict(type='Pretrained', checkpoint=str(tmp_path / 'other.pth'), allow_partial=True)).init_weights()
