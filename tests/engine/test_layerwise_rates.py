"""A learning rate for each stage: what SGD does with it, and with the other rules."""
import pytest
import torch
from torch import nn

import ftcls.models  # noqa: F401
from ftcls.engine.optimizers import DefaultOptimWrapperConstructor, LearningRateDecayOptimWrapperConstructor
from ftcls.engine.parameter_table import parameter_infos
from ftcls.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError

LR = 0.5
BACKBONES = {
    'ResNet_CIFAR': (dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4), 32),
    'TorchvisionBackbone': (dict(type='TorchvisionBackbone', model_name='shufflenet_v2_x0_5'), 1024),
    'TIMMBackbone': (dict(type='TIMMBackbone', model_name='vit_tiny_patch16_224', img_size=32, depth=3), 192),
}  # yapf: disable


def build(name: str = 'ResNet_CIFAR', **kwargs: object) -> nn.Module:
    if name == 'TIMMBackbone':
        pytest.importorskip('timm')
    torch.manual_seed(0)
    backbone, width = BACKBONES[name]
    neck, head = dict(type='GlobalAveragePooling'), dict(type='LinearClsHead', num_classes=2, in_channels=width)
    return MODELS.build(dict(type='ImageClassifier', backbone=backbone, neck=neck, head=head, **kwargs))


def wrapper(model: nn.Module, rules: dict, **optimizer: object) -> object:
    settings = dict(type='SGD', lr=LR, **optimizer)
    return LearningRateDecayOptimWrapperConstructor(dict(optimizer=settings), rules)(model)


def measured_rates(model: nn.Module, rules: dict) -> dict[str, float]:
    """Make a step of plain SGD; returns by name how far each tensor moved, as a multiple of its gradient."""
    optim_wrapper = wrapper(model, rules)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    samples = [DataSample().set_gt_label(i % 2) for i in range(4)]
    torch.manual_seed(1)
    model.train()(torch.randn(4, 3, 32, 32), samples, mode='loss')['loss'].backward()
    optim_wrapper.step()
    return {
        n: float((before[n] - p.detach()).double().norm() / p.grad.double().norm())
        for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 1e-4
    }


def layers(model: nn.Module) -> tuple[dict[str, int], int]:
    stage_of = model.backbone.stage_of_parameters()
    top = max(stage_of.values()) + 1
    return {n: stage_of.get(n.removeprefix('backbone.'), top) for n, _ in model.named_parameters()}, top


@pytest.mark.parametrize('name', BACKBONES)
def test_layer_decay_is_what_sgd_moves_by(name: str) -> None:
    model = build(name)
    layer_of, top = layers(model)
    rates = measured_rates(model, dict(layer_decay_rate=0.5))
    assert {layer_of[n] for n in rates} == set(range(top + 1))
    assert rates == {n: pytest.approx(LR * 0.5**(top - layer_of[n]), rel=1e-2) for n in rates}


@pytest.mark.parametrize('name', BACKBONES)
def test_a_range_of_rates_is_geometric_from_the_stem_to_the_head(name: str) -> None:
    model = build(name)
    layer_of, top = layers(model)
    rates = measured_rates(model, dict(lr_mult_range=(0.01, 2.)))
    assert rates == {n: pytest.approx(LR * 0.01 * 200**(layer_of[n] / top), rel=1e-2) for n in rates}


def test_other_rules_multiply_what_the_layer_gives() -> None:
    model = build(freeze=['layer1'])
    layer_of, top = layers(model)
    rules = dict(
        layer_decay_rate=0.5,
        norm_decay_mult=0.,
        custom_keys={'head': dict(lr_mult=10), 'layer2': dict(lr_mult=3., decay_mult=0.5), 'layer4.0': dict(lr=7.)})  # yapf: disable
    infos = {i.name: i for i in parameter_infos(model, wrapper(model, rules, weight_decay=0.1))}
    assert {n for n, i in infos.items() if not i.trained} == {n for n in infos if 'layer1' in n}
    for name, info in infos.items():
        if not info.trained:
            continue
        mult = 10 if name.startswith('head') else 3 if 'layer2' in name else 1
        wanted = 7. if 'layer4.0' in name else LR * mult * 0.5**(top - layer_of[name])
        assert info.lr == pytest.approx(wanted), name
        is_norm = '.bn' in name or '.downsample.1' in name
        decay = 0.05 if 'layer2' in name else 0.1 if 'layer4.0' in name else 0. if is_norm else 0.1
        assert info.weight_decay == pytest.approx(decay), name


def test_groups_are_named_by_stage_and_merged() -> None:
    groups = wrapper(build(), dict(layer_decay_rate=0.5, norm_decay_mult=0.), weight_decay=0.1).optimizer.param_groups
    names = [group['name'] for group in groups]
    assert names[0] == 'default' and names[1:3] == ['stage0', 'stage0 norm'] and len(names) == 11
    assert groups[0]['param_names'] == ['head.fc.weight', 'head.fc.bias']


def test_it_is_found_by_its_name() -> None:
    found = OPTIM_WRAPPER_CONSTRUCTORS.get('LearningRateDecayOptimWrapperConstructor')
    assert found is LearningRateDecayOptimWrapperConstructor


def test_without_a_rate_it_says_that_it_has_no_effect(log_lines: list[str]) -> None:
    model = build()
    rates = {info.lr for info in parameter_infos(model, wrapper(model, {}))}
    assert rates == {LR} and 'has neither layer_decay_rate' in '\n'.join(log_lines)


@pytest.mark.parametrize(('rules', 'message'), [
    (dict(layer_decay_rate=0), 'layer_decay_rate=0: must be above 0'),
    (dict(layer_decay_rate='0.5'), "layer_decay_rate='0.5': must be of type float"),
    (dict(lr_mult_range=0.5), r'lr_mult_range=0.5: must be of type tuple\[float, float\]'),
    (dict(lr_mult_range=(0.1, 1, 2)), r'lr_mult_range=\(0.1, 1, 2\): must be of type tuple\[float, float\]'),
    (dict(lr_mult_range=(0.1, 1), layer_decay_rate=0.5), 'layer_decay_rate and lr_mult_range exclude each other'),
    (dict(layer_decay=0.5), "no argument 'layer_decay'; did you mean 'layer_decay_rate'"),
])
def test_wrong_rates_are_refused(rules: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrapper(build(), rules)


def test_the_default_constructor_says_who_takes_the_key() -> None:
    with pytest.raises(ConfigError, match="layer_decay_rate: needs optim_wrapper.constructor='LearningRateDecay"):
        DefaultOptimWrapperConstructor(dict(optimizer=dict(type='SGD', lr=1.)), dict(layer_decay_rate=0.5))(build())


def test_a_model_without_stages_is_refused() -> None:
    with pytest.raises(ConfigError, match='Sequential has no backbone that is a BaseBackbone'):
        wrapper(nn.Sequential(nn.Linear(2, 2)), dict(layer_decay_rate=0.5))
