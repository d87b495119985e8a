"""The list of parameters: what the optimizer and the files say, one line each."""
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from ftcls.apis import describe_parameters, list_parameters
from ftcls.registry import MODELS
from ftcls.utils import ConfigError

ROOT = Path(__file__).resolve().parents[3]
CONFIG = '''
model = dict(
    type='ImageClassifier',
    backbone=dict(type='CifarResNet', depth=20, frozen_stages=0,
                  init_cfg=dict(type='Pretrained', checkpoint='{folder}/backbone_of_a_name_so_long_that_tables_fold_it.pth')),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=64),
    freeze=['layer1.*conv', 'head.fc.weight'])
# no such data
dataset = dict(type='CustomDataset', data_root='nowhere', pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')])
train_dataloader = dict(batch_size=2, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=True))
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, weight_decay=0.01),
    constructor='LearningRateDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.5, norm_decay_mult=0., custom_keys=dict(head=dict(lr_mult=10))))
param_scheduler = dict(type='LinearLR', start_factor=0.1, end=5)
'''


@pytest.fixture
def config(tmp_path: Path) -> Path:
    backbone = MODELS.build(dict(type='CifarResNet', depth=20))
    torch.save(backbone.state_dict(), tmp_path / 'backbone_of_a_name_so_long_that_tables_fold_it.pth')
    (tmp_path / 'config.py').write_text(CONFIG.format(folder=tmp_path))
    return tmp_path / 'config.py'


def test_every_parameter_with_its_rates_and_source(config: Path) -> None:
    infos, notes = list_parameters(Config.fromfile(config))
    model = MODELS.build(dict(type='CifarResNet', depth=20))
    shapes = {f'backbone.{n}': tuple(p.shape) for n, p in model.named_parameters()}
    assert {i.name: i.shape for i in infos} == {**shapes, 'head.fc.weight': (3, 64), 'head.fc.bias': (3, )}
    assert notes == ['frozen weight with trained bias in 1 layer: head.fc']
    stage = model.stage_of_parameters()
    for info in infos:
        name = info.name.removeprefix('backbone.')
        frozen = stage.get(name) == 0 or 'layer1' in name and 'conv' in name or name == 'head.fc.weight'
        assert info.trained == (not frozen)
        assert info.source == (None if 'head' in name else 'backbone_of_a_name_so_long_that_tables_fold_it.pth')
        if frozen:
            assert info.lr is info.weight_decay is None
        else:
            assert info.lr == pytest.approx(0.1 * 10 if 'head' in name else 0.1 * 0.5**(4 - stage[name]))
            assert info.weight_decay == (0. if 'bn' in name else 0.01)


def test_a_line_a_parameter_also_when_piped(config: Path) -> None:
    done = subprocess.run([sys.executable, str(ROOT / 'tools' / 'print_params.py'), str(config), '--cfg-options',
                           'optim_wrapper.optimizer.lr=0.2'], capture_output=True, text=True, check=False)  # yapf: disable
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    rows = [line.split() for line in lines if line.startswith(('backbone.', 'head.'))]
    assert len(rows) == 59 and all(len(row) == 6 for row in rows)
    assert rows[0] == ['backbone.conv1.weight', '16x3x3x3', 'FROZEN', '-', '-',
                       'backbone_of_a_name_so_long_that_tables_fold_it.pth']  # yapf: disable
    assert rows[-1] == ['head.fc.bias', '3', 'trained', '2', '0.01', 'initialised']
    assert lines[0].split() == ['parameter', 'shape', 'state', 'lr', 'weight', 'decay', 'value', 'from']
    assert lines[-1] == 'note: frozen weight with trained bias in 1 layer: head.fc'
    assert 'parameters are trained' in lines[-2] and not done.stderr


def test_weights_of_the_whole_model(config: Path, tmp_path: Path) -> None:
    whole = dict(type='ImageClassifier', backbone=dict(type='CifarResNet', depth=20),
                 head=dict(type='LinearClsHead', num_classes=3, in_channels=64))  # yapf: disable
    torch.save(MODELS.build(whole).state_dict(), tmp_path / 'whole.pth')
    cfg = Config.fromfile(config)
    cfg.load_from = str(tmp_path / 'whole.pth')
    before = cfg.pretty_text
    assert {i.source for i in list_parameters(cfg)[0]} == {'whole.pth'} and cfg.pretty_text == before


def test_a_config_without_an_optimizer_is_refused(config: Path) -> None:
    cfg = Config.fromfile(config)
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        cfg[key] = None
    with pytest.raises(ConfigError, match='optim_wrapper: missing'):
        describe_parameters(cfg)
