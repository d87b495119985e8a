"""Contract of every registered backbone: what it returns, its stages, freezing. A new one is covered unasked."""
import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import ftcls.models  # noqa: F401
from ftcls.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from ftcls.models.backbones import BaseBackbone
from ftcls.registry import MODELS
from ftcls.utils import ConfigError

SMALL = dict(depth=18, stem_channels=8, base_channels=4)
VIT = dict(arch=dict(embed_dims=12, num_layers=3, num_heads=2, feedforward_channels=24), img_size=64)
SWIN = dict(
    arch=dict(embed_dims=8, depths=[2, 1, 1, 1], num_heads=[1, 1, 2, 2]), img_size=64, window_size=2, drop_rate=0.1)
CONVNEXT = dict(arch=dict(depths=[1, 1, 2, 1], channels=[4, 8, 8, 12]), drop_path_rate=0.1)
# Arguments that keep a backbone small, and the images it gets; by the class's name, then a name of the case.
CASES = {
    'ResNet': {
        'basic': SMALL,
        'bottleneck': dict(SMALL, depth=50, drop_path_rate=0.1, with_cp=True),
        'norm_eval': dict(SMALL, norm_eval=True),
        'multi': dict(SMALL, out_indices=(0, 3)),
    },
    'ResNetV1c': {
        '': SMALL
    },
    'ResNetV1d': {
        '': SMALL
    },
    'ResNet_CIFAR': {
        '': SMALL
    },
    'ResNeXt': {
        '': dict(depth=50, stem_channels=8, base_channels=8, groups=2, width_per_group=4)
    },
    'CifarResNet': {
        '': dict(depth=20)
    },
    'LeNet5': {
        'features': {},
        'classifier': dict(num_classes=10)
    },
    'TorchvisionBackbone': {
        'resnet18': dict(model_name='resnet18', out_indices=(0, -1)),
        'mobilenet_v3_small': dict(model_name='mobilenet_v3_small'),
        'efficientnet_b0': dict(model_name='efficientnet_b0'),
        'convnext_tiny': dict(model_name='convnext_tiny', model_args=dict(stochastic_depth_prob=0.5)),
        'vit_b_16': dict(model_name='vit_b_16', model_args=dict(image_size=64, dropout=0.1)),
        'regnet_y_400mf': dict(model_name='regnet_y_400mf'),
        'densenet121': dict(model_name='densenet121', model_args=dict(drop_rate=0.1)),
        'swin_t': dict(model_name='swin_t'),
        'vgg11_bn': dict(model_name='vgg11_bn'),
        'squeezenet1_1': dict(model_name='squeezenet1_1'),
        'googlenet': dict(model_name='googlenet'),
    },
    'TIMMBackbone': {
        'resnet18': dict(model_name='resnet18'),
        'features_only': dict(model_name='resnet18', features_only=True),
        'vit': dict(model_name='vit_tiny_patch16_224', img_size=64, proj_drop_rate=0.1),
        'mobilenetv3': dict(model_name='mobilenetv3_small_050'),
    },
    'VisionTransformer': {
        '': dict(VIT, drop_rate=0.1, drop_path_rate=0.1),
        'average': dict(VIT, out_type='avg_featmap', with_cls_token=False, out_indices=(1, 2)),
        'maps': dict(VIT, out_type='featmap', with_cls_token=False, pre_norm=True, layer_scale_init_value=0.1),
    },
    'SwinTransformer': {
        '':
        SWIN,
        'multi':
        dict(
            SWIN, out_indices=(0, 3), with_cp=True, pad_small_map=True,
            stage_cfgs=dict(block_cfgs=dict(window_size=3))),
    },
    'ConvNeXt': {
        '': CONVNEXT,
        'v2': dict(CONVNEXT, use_grn=True, layer_scale_init_value=0., linear_pw_conv=False),
        'maps': dict(CONVNEXT, out_indices=(0, 3), gap_before_final_norm=False, with_cp=True),
    },
    'DenseNet': {
        '': dict(arch=dict(growth_rate=4, depths=(1, 2, 1), init_channels=8), drop_rate=0.1)
    },
    'EfficientNet': {
        '': dict(arch='es', act_cfg=dict(type='ReLU'), drop_path_rate=0.2, out_indices=(0, 4, 6))
    },
    'EfficientNetV2': {
        '': dict(arch='b0', with_cp=True)
    },
    'MobileNetV2': {
        '': dict(widen_factor=0.25, norm_eval=True)
    },
    'MobileNetV3': {
        '': dict(arch='small_050', out_indices=(0, 12))
    },
    'RegNet': {
        '': dict(arch=dict(w0=8, wa=8., wm=2., group_w=4, depth=4, bot_mul=1.), stem_channels=8, out_indices=(1, 2))
    },
    'SEResNet': {
        '': dict(SMALL, depth=50)
    },
    'SEResNeXt': {
        '': dict(depth=50, stem_channels=8, base_channels=8, groups=2, width_per_group=4, se_ratio=4)
    },
    'VGG': {
        'BN': dict(depth=11, norm_cfg=dict(type='BN'), out_indices=(1, 4)),
        'stages': dict(depth=13, num_stages=2, dilations=(1, 2), with_last_pool=False),
    },
}
TIMM = ('TIMMBackbone', 'EfficientNet', 'EfficientNetV2', 'MobileNetV3')
IMAGES = {'LeNet5': (2, 1, 32, 32)}


def _cases() -> Iterator:
    for name, cls in MODELS.module_dict.items():
        if isinstance(cls, type) and issubclass(cls, BaseBackbone) and cls.__module__.startswith('ftcls.'):
            for case, args in CASES.get(name, {'': {}}).items():
                yield pytest.param(name, args, id=f'{name}-{case}'.rstrip('-'))


ALL = list(_cases())


def build(name: str, args: dict, **more: object) -> BaseBackbone:
    if name in TIMM:
        pytest.importorskip('timm')
    torch.manual_seed(0)
    return MODELS.build(dict(type=name, **args, **more))


def images(name: str) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(IMAGES.get(name, (2, 3, 64, 64)))


def parameters_of(stage: list) -> list[nn.Parameter]:
    return [p for item in stage for p in ([item] if isinstance(item, nn.Parameter) else item.parameters())]


def modules_of(stage: list) -> list[nn.Module]:
    return [m for item in stage if isinstance(item, nn.Module) for m in item.modules()]


def test_all_cases_are_of_registered_backbones() -> None:
    assert set(CASES) <= {p.values[0] for p in ALL}


@pytest.mark.parametrize('name, args', ALL)
def test_contract(name: str, args: dict) -> None:
    """Every stage: what is frozen, what is in eval mode, what learns, after ``train()`` and a training step."""
    backbone = build(name, args)
    x = images(name)
    stages = backbone.stages()

    in_stages = [id(p) for stage in stages for p in parameters_of(stage)]
    assert len(in_stages) == len(set(in_stages)), 'a parameter is in two stages'
    assert set(in_stages) == {id(p) for p in backbone.parameters()}, 'a parameter is in no stage'
    assert len(stages) > 1 and all(parameters_of(stage) for stage in stages)
    assert all(p.requires_grad for p in backbone.parameters())

    outs = backbone(x)
    assert isinstance(outs, tuple) and len(outs) == len(backbone.out_channels)
    assert tuple(y.shape[1] for y in outs) == backbone.out_channels
    assert all(y.ndim in (2, 4) for y in outs)
    sum(y.float().square().mean() for y in outs).backward()
    untouched = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert not untouched, 'DistributedDataParallel waits for these in vain'

    for k in {0, 1, len(stages) - 2, len(stages) - 1}:
        check_frozen(backbone, k, x)
    backbone.freeze_stages(-1)
    assert all(p.requires_grad for p in backbone.parameters())
    if not backbone.norm_eval:
        assert all(m.training for m in backbone.train().modules())


def check_frozen(backbone: BaseBackbone, k: int, x: torch.Tensor) -> None:
    backbone.freeze_stages(k)
    assert backbone.train() is backbone and backbone.training and backbone.frozen_stages == k
    stages = backbone.stages()
    frozen = {id(p) for stage in stages[:k + 1] for p in parameters_of(stage)}
    assert frozen == {id(p) for p in backbone.parameters() if not p.requires_grad}
    in_eval = [m for stage in stages[:k + 1] for m in modules_of(stage)]
    assert not any(m.training for m in in_eval)
    norms = (lambda m: isinstance(m, _BatchNorm)) if backbone.norm_eval else (lambda m: False)
    assert all(m.training != norms(m) for stage in stages[k + 1:] for m in modules_of(stage))

    before = {n: b.clone() for n, b in backbone.named_buffers()}
    backbone(x)
    names = {m: n for n, m in backbone.named_modules()}
    fixed_modules = {names[m] for m in in_eval}
    for name, buffer in backbone.named_buffers():
        owner = name.rpartition('.')[0]
        if owner in fixed_modules or backbone.norm_eval:
            assert torch.equal(buffer, before[name]), f'{name} moved, though frozen'
        elif name.endswith('running_mean'):
            assert not torch.equal(buffer, before[name]), f'{name} did not move, though trained'
    for name in {n for n in before if n.endswith('running_mean')}:
        backbone.get_buffer(name).copy_(before[name])
    backbone.eval()
    assert not any(m.training for m in backbone.modules())


@pytest.mark.parametrize('name, args', [p for p in ALL if p.values[0] not in ('TorchvisionBackbone', 'TIMMBackbone')])
def test_frozen_from_the_start(name: str, args: dict) -> None:
    backbone = build(name, args, frozen_stages=1)
    index = backbone.stage_of_parameters()
    assert list(index) == [n for n, _ in backbone.named_parameters()]
    assert all(p.requires_grad == (index[n] > 1) for n, p in backbone.named_parameters())
    assert not any(m.training for stage in backbone.stages()[:2] for m in modules_of(stage))


@pytest.mark.parametrize('name', sorted(CASES))
def test_out_of_range(name: str) -> None:
    args = next(iter(CASES[name].values()))
    with pytest.raises(ConfigError, match=r'frozen_stages=99: .* has \d+ stages'):
        build(name, args, frozen_stages=99)
    with pytest.raises(ConfigError, match='frozen_stages=-2'):
        build(name, args, frozen_stages=-2)


@pytest.mark.parametrize('name', sorted(CASES))
def test_copies_and_eval(name: str) -> None:
    """A copy and a pickled backbone give the same in eval mode and keep what is frozen."""
    backbone = build(name, next(iter(CASES[name].values())), frozen_stages=0).eval()
    x = images(name)
    with torch.no_grad():
        wanted = backbone(x)
        for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
            assert all(torch.equal(a, b) for a, b in zip(wanted, other(x), strict=True))
            other.train()
            assert not any(m.training for m in modules_of(other.stages()[0]))
            other.freeze_stages(-1)
            assert all(p.requires_grad for p in other.parameters())


def test_norm_without_grad_stays_so() -> None:
    backbone = build('ResNet', dict(SMALL, norm_cfg=dict(type='BN', requires_grad=False), frozen_stages=1))
    backbone.freeze_stages(-1)
    assert {n
            for n, p in backbone.named_parameters() if not p.requires_grad} == {
                f'{n}.{key}'
                for n, m in backbone.named_modules() if isinstance(m, nn.BatchNorm2d) for key in ('weight', 'bias')
            }


@pytest.mark.parametrize('name, args', ALL)
def test_rates_by_layer_and_freezing_by_name(name: str, args: dict) -> None:
    """In a classifier: stage k learns at rate ** (L - k), and ``freeze`` puts in eval mode what it matches."""
    backbone = build(name, args)
    top = len(backbone.stages())
    stage_of = {f'backbone.{n}': k for n, k in backbone.stage_of_parameters().items()}
    head = dict(type='LinearClsHead', num_classes=2, in_channels=backbone.out_channels[-1])
    model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head))
    settings = dict(optimizer=dict(type='SGD', lr=2.))
    wrapper = LearningRateDecayOptimWrapperConstructor(settings, dict(layer_decay_rate=0.5))(model)
    rates = {n: group['lr'] for group in wrapper.optimizer.param_groups for n in group['param_names']}
    assert rates == {n: 2. * 0.5**(top - stage_of.get(n, top)) for n, _ in model.named_parameters()}

    frozen = MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head, freeze=['^backbone'])).train()
    assert {n for n, p in frozen.named_parameters() if p.requires_grad} == {'head.fc.weight', 'head.fc.bias'}
    assert not any(m.training for m in backbone.modules())
