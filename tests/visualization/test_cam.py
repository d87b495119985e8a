"""Class activation maps: right values, every kind of network, nothing left behind."""
import copy

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import ftcls.models  # noqa: F401
from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ftcls.visualization.cam import _last_layer, class_activation

_VIT = dict(arch=dict(embed_dims=12, num_layers=3, num_heads=2, feedforward_channels=24), img_size=64)
_SWIN = dict(arch=dict(embed_dims=8, depths=[2, 1, 1, 1], num_heads=[1, 1, 2, 2]), img_size=64, window_size=2)
_SMALL = dict(depth=18, stem_channels=8, base_channels=4)
# Of each network its arguments, and the layer that must be found.
NETWORKS = {
    'ResNet': (_SMALL, 'layer4'),
    'ResNet frozen': (dict(_SMALL, frozen_stages=4), 'layer4'),
    'DenseNet': (dict(arch=dict(growth_rate=4, depths=(1, 2, 1), init_channels=8)), 'model.features.norm5'),
    'MobileNetV3': (dict(arch='small_050'), 'model.blocks.5.0'),
    'ConvNeXt': (dict(arch=dict(depths=[1, 1, 2, 1], channels=[4, 8, 8, 12])), 'model.stages.3'),
    'VisionTransformer': (_VIT, 'model.blocks.2.norm1'),
    'VisionTransformer average': (dict(_VIT, out_type='avg_featmap'), 'model.norm'),
    'SwinTransformer': (_SWIN, 'model.norm3'),
    'TIMMBackbone': (dict(model_name='deit_tiny_distilled_patch16_224', depth=2,
                          img_size=(64, 96)), 'timm_model.blocks.1.norm1'),
    'TorchvisionBackbone': (dict(model_name='squeezenet1_1'), 'model.features'),
}


def _classifier(name: str, args: dict, classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type=name.split()[0], **args))
    head = dict(type='LinearClsHead', num_classes=classes, in_channels=backbone.out_channels[-1])
    parts = dict(backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head)
    model = MODELS.build(dict(type='ImageClassifier', **parts))
    model.init_weights()
    return model


def _state(model: nn.Module) -> list:
    hooks = [len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules()]
    params = [(param.requires_grad, param.grad) for param in model.parameters()]
    return [hooks, params, [module.training for module in model.modules()], list(model.state_dict().values())]


@pytest.mark.parametrize('name', NETWORKS)
def test_every_kind_of_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    args, layer = NETWORKS[name]
    model = _classifier(name, args).train()
    before = copy.deepcopy(_state(model))
    found = []
    monkeypatch.setattr('ftcls.visualization.cam._last_layer',
                        lambda *args: found.append(_last_layer(*args)) or found[-1])
    heats = [class_activation(model, torch.rand(2, 3, 64, 96), target) for target in range(3)]
    assert set(found) == {f'backbone.{layer}'}
    for heat in heats:
        assert heat.shape == (2, 64, 96)
        assert heat.dtype == np.float32
        assert heat.min() >= 0
    assert max(heat.max() for heat in heats) == pytest.approx(1, abs=0.01)  # a class may have nothing for it
    torch.testing.assert_close(_state(model), before, rtol=0, atol=0)


def test_it_is_grad_cam_by_hand() -> None:
    """Selvaraju et al. 2017: the maps, weighted by their mean gradients, rectified and enlarged."""
    model = _classifier('ResNet', _SMALL).eval()
    images = torch.rand(1, 3, 64, 96)
    maps = model.backbone(images)[0].detach().requires_grad_()
    model.head(model.neck((maps, )))[0, 1].backward()
    heat = (maps.grad.mean((2, 3), keepdim=True) * maps).sum(1)[0].detach().relu().numpy()
    heat = cv2.resize(heat, (96, 64))
    heat = (heat - heat.min()) / np.ptp(heat)
    for target in (1, [1], torch.tensor(1)):
        assert np.allclose(class_activation(model, images, target)[0], heat, atol=1e-5)
    assert not np.allclose(class_activation(model, images, 0)[0], heat, atol=1e-2)


@pytest.mark.parametrize('tokens', [False, True])
def test_it_shows_where_the_evidence_is(tokens: bool) -> None:
    """One patch of 4x6 is bright: the class is the brightness, over maps, or over tokens behind three others."""

    class Patches(nn.Module):

        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 1, 16, stride=16, bias=False)
            self.block = nn.Sequential(nn.Identity())
            nn.init.ones_(self.embed.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.embed(x)
            if tokens:
                x = torch.cat([x.new_zeros(len(x), 3, 1), x.flatten(2).transpose(1, 2)], dim=1)
            return self.block(x).flatten(1).sum(1, keepdim=True)

    images = torch.zeros(2, 3, 64, 96)
    images[0, :, 16:32, 80:96] = 1
    images[1, :, 48:, :16] = 1
    heat = class_activation(Patches(), images)
    brightest = [np.unravel_index(one.argmax(), one.shape) for one in heat]
    assert [(y // 16, x // 16) for y, x in brightest] == [(1, 5), (3, 0)]


def test_every_method_of_the_library() -> None:
    model, images = _classifier('CifarResNet', dict(depth=20)), torch.rand(1, 3, 32, 32)
    with pytest.raises(ConfigError) as err:
        class_activation(model, images, method='?')
    methods = str(err.value).partition('one of ')[2].split(', ')
    assert {'gradcam', 'gradcam++', 'eigencam', 'layercam', 'scorecam', 'xgradcam', 'fullgrad'} <= set(methods)
    for method in methods:
        assert class_activation(model, images, 1, method=method.upper()).shape == (1, 32, 32), method
    assert np.ptp(class_activation(model, images, 1, smooth=['eigen', 'aug'])) > 0.5
    heat = class_activation(model, images, layer=['backbone.layer2', 'backbone.layer3'])
    assert heat.shape == (1, 32, 32)


@pytest.mark.parametrize('arguments, message', [
    (dict(method='GradCM'), "'GradCM': must be one of .*, gradcam,"),
    (dict(target=3), 'target category 3: must be from 0 to 2'),
    (dict(layer='backbone.blocks.2'),
     "'backbone.blocks.2' has no map of the image; did you mean 'backbone.model.blocks.2'"),
    (dict(layer='head.fc'), "'head.fc' has no map of the image"),
    (dict(method='AblationCAM'), 'AblationCAM does not work with backbone.model.blocks.2.norm1'),
])
def test_faults_are_named(arguments: dict, message: str) -> None:
    model = _classifier('VisionTransformer', _VIT)
    before = copy.deepcopy(_state(model))
    with pytest.raises(ConfigError, match=message):
        class_activation(model, torch.rand(1, 3, 64, 64), **arguments)
    torch.testing.assert_close(_state(model), before, rtol=0, atol=0)


def test_a_segmentor_is_refused() -> None:
    with pytest.raises(ConfigError, match='needs a classifier'):
        class_activation(nn.Conv2d(3, 1, 1), torch.rand(1, 3, 8, 8))
