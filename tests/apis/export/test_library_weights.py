"""A model's weights go into the network of torchvision or timm that is the same, and into no other."""
from collections.abc import Mapping

import pytest
import torch
from mmengine.config import Config
from torch import nn

from ftcls.apis import get_model
from ftcls.apis.export.library_weights import convert_weights, to_library
from ftcls.utils import CheckpointError, ConfigError

LINEAR = dict(type='LinearClsHead', num_classes=5)
STACKED = dict(type='StackedLinearClsHead', num_classes=5, mid_channels=[1024], act_cfg=dict(type='HSwish'))
VIT_HEAD = dict(type='VisionTransformerClsHead', num_classes=5, in_channels=192)
PLAIN = dict(type='EfficientNet', arch='b0', conv_cfg=None, norm_cfg=dict(type='BN'))
CASES = [  # backbone, head, library, its network, whether its name must be given
    (dict(type='ResNet', depth=18), dict(LINEAR, in_channels=512), 'torchvision', 'resnet18', False),
    (dict(type='ResNet', depth=18), dict(LINEAR, in_channels=512), 'timm', 'resnet18', False),
    (dict(type='MobileNetV2'), dict(LINEAR, in_channels=1280), 'torchvision', 'mobilenet_v2', False),
    (dict(type='MobileNetV3', arch='small'), dict(STACKED, in_channels=576), 'torchvision', 'mobilenet_v3_small', False),
    (dict(type='MobileNetV3', arch='small_050', norm_cfg=dict(type='BN')), dict(STACKED, in_channels=288), 'timm',
     'mobilenetv3_small_050', False),
    (dict(type='RegNet', arch='regnetx_400mf'), dict(LINEAR, in_channels=384), 'timm', 'regnetx_004', False),
    (dict(type='EfficientNet', arch='b0'), dict(LINEAR, in_channels=1280), 'timm', 'tf_efficientnet_b0', False),
    (PLAIN, dict(LINEAR, in_channels=1280), 'torchvision', 'efficientnet_b0', False),
    (dict(type='ConvNeXt', arch='atto'), dict(LINEAR, in_channels=320), 'timm', 'convnext_atto', True),
    (dict(type='VisionTransformer', arch='deit-tiny', img_size=64), VIT_HEAD, 'timm', 'deit_tiny_patch16_224', True),
    (dict(type='TorchvisionBackbone', model_name='shufflenet_v2_x0_5'), dict(LINEAR, in_channels=1024), 'torchvision',
     'shufflenet_v2_x0_5', False),
    (dict(type='TIMMBackbone', model_name='mobilenetv3_small_050'), dict(LINEAR, in_channels=1024), 'timm', None, False),
]  # yapf: disable
SLOW = [
    (dict(type='RegNet', arch='regnetx_800mf'), dict(LINEAR, in_channels=672), 'torchvision', 'regnet_x_800mf', False),
    (dict(type='DenseNet', arch='121'), dict(LINEAR, in_channels=1024), 'torchvision', 'densenet121', False),
    (dict(type='DenseNet', arch='121'), dict(LINEAR, in_channels=1024), 'timm', 'densenet121', False),
    (dict(type='VGG', depth=11, norm_cfg=dict(type='BN'), num_classes=5), dict(type='ClsHead'), 'torchvision', 'vgg11_bn',
     False),
    (dict(type='ConvNeXt', arch='tiny'), dict(LINEAR, in_channels=768), 'torchvision', 'convnext_tiny', False),
    (dict(type='SwinTransformer', arch='tiny'), dict(LINEAR, in_channels=768), 'torchvision', 'swin_t', False),
    (dict(type='SwinTransformer', arch='tiny'), dict(LINEAR, in_channels=768), 'timm', 'swin_tiny_patch4_window7_224',
     False),
    (dict(type='VisionTransformer', arch='base'), dict(VIT_HEAD, in_channels=768), 'torchvision', 'vit_b_16', False),
    (dict(type='VisionTransformer', arch='base'), dict(VIT_HEAD, in_channels=768), 'timm', 'vit_base_patch16_224', False),
    (dict(type='ResNetV1d', depth=50), dict(LINEAR, in_channels=2048), 'timm', 'resnet50d', False),
    (dict(type='SEResNet', depth=50), dict(LINEAR, in_channels=2048), 'timm', 'seresnet50', False),
    (dict(type='ResNeXt', depth=50), dict(LINEAR, in_channels=2048), 'torchvision', 'resnext50_32x4d', False),
]  # yapf: disable


def built(backbone: Mapping, head: Mapping) -> nn.Module:
    """A model whose tensors all differ, those of the norms too."""
    neck = None if head['type'] in ('ClsHead', 'VisionTransformerClsHead') else dict(type='GlobalAveragePooling')
    parts = dict(type='ImageClassifier', backbone=dict(backbone), neck=neck, head=dict(head))
    model = get_model(Config(dict(default_scope='ftcls', model=parts)), False, 'cpu')
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            spread = 0.1 if tensor.ndim < 2 else (1 / tensor[0].numel())**0.5
            tensor.normal_(0, spread)
            if name.endswith(('running_var', 'weight')) and tensor.ndim == 1:
                tensor.abs_().add_(0.9)
    return model


def images_for(backbone: Mapping) -> list[torch.Tensor]:
    size = 224 if backbone['type'] == 'SwinTransformer' or backbone.get('arch') == 'base' else 64
    return [torch.rand(1, 3, size, size) for _ in range(2)]


def compare(backbone: Mapping, head: Mapping, library: str, network: str | None, must_give: bool) -> None:
    model, images = built(backbone, head), images_for(backbone)
    name, converted, difference = to_library(model, library, images, network if must_give else None)
    assert name == (network or backbone['model_name'])
    with torch.no_grad():
        ours, theirs = model(images[0]), converted(images[0])
    assert ours.std() > 0.01 and difference < 1e-4 * ours.abs().max()
    assert torch.allclose(ours, theirs, atol=1e-4 * ours.abs().max().item())


@pytest.mark.parametrize('case', CASES, ids=lambda case: f'{case[0]["type"]}-{case[2]}')
def test_the_librarys_network_gives_the_same_logits(case: tuple) -> None:
    pytest.importorskip('timm')
    compare(*case)


@pytest.mark.slow
@pytest.mark.parametrize('case', SLOW, ids=lambda case: f'{case[0]["type"]}-{case[2]}')
def test_larger_networks_give_the_same_logits(case: tuple) -> None:
    pytest.importorskip('timm')
    compare(*case)


def test_a_network_that_computes_something_else_is_refused() -> None:
    """TensorFlow's padding is not torchvision's, though all tensors fit."""
    backbone = dict(type='EfficientNet', arch='b0')
    model = built(backbone, dict(LINEAR, in_channels=1280))
    with pytest.raises(ConfigError, match='--format torchvision: efficientnet_b0 gives other logits.*--arch'):
        to_library(model, 'torchvision', images_for(backbone), 'efficientnet_b0')


def test_a_network_that_a_library_has_not_is_refused() -> None:
    backbone = dict(type='CifarResNet', depth=20)
    model = built(backbone, dict(LINEAR, in_channels=64))
    with pytest.raises(ConfigError, match='--format torchvision: .*counterpart.*--arch'):
        to_library(model, 'torchvision', images_for(backbone), 'resnet18')
    with pytest.raises(ConfigError, match="'resnet81'.*resnet18"):
        to_library(model, 'torchvision', images_for(backbone), 'resnet81')


def test_no_weight_is_lost_or_made_up() -> None:
    from torchvision.models import resnet18
    model = built(dict(type='ResNet', depth=18), dict(LINEAR, in_channels=512))
    own, found = model.state_dict(), convert_weights(model, resnet18(num_classes=5))
    assert torch.equal(found['conv1.weight'], own['backbone.conv1.weight'])
    assert torch.equal(found['fc.bias'], own['head.fc.bias']) and found['fc.bias'].dtype == torch.float32
    with pytest.raises(CheckpointError, match='no counterpart'):
        convert_weights(model, resnet18(num_classes=6))
