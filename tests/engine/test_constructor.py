"""The groups of the optimizer: the same settings as MMEngine's constructor, only trainable parameters, nothing silent."""
import copy
from typing import Any

import pytest
import torch
import torchvision
from mmengine.optim import DefaultOptimWrapperConstructor as MMEngineConstructor
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from ftcls.engine.optimizers import AmpOptimWrapper, DefaultOptimWrapperConstructor
from ftcls.utils import ConfigError

SGD = dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-2)
ADAMW = dict(type='AdamW', lr=1e-3, weight_decay=0.05, betas=(0.9, 0.95))


class Toy(nn.Module):
    """One of each kind of layer that the rules tell apart, names as in a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.scale = nn.Parameter(torch.ones(4))
        self.backbone = nn.Sequential(
            nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4), nn.InstanceNorm2d(4, affine=True),
            nn.GroupNorm(2, 4), nn.LayerNorm(4))
        self.head = nn.Linear(4, 2)


def settings(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, tuple]:
    """Return learning rate, weight decay and momentum of each parameter by name."""
    names = {id(param): name for name, param in model.named_parameters()}
    return {
        names[id(param)]: (pytest.approx(group['lr']), pytest.approx(group['weight_decay']), group.get('momentum'))
        for group in optimizer.param_groups
        for param in group['params']
    }


def build(model: nn.Module, paramwise_cfg: dict | None = None, optimizer: dict = SGD, **kwargs: Any) -> Any:
    return DefaultOptimWrapperConstructor(dict(optimizer=dict(optimizer), **kwargs), paramwise_cfg)(model)


RULES = [
    None,
    dict(norm_decay_mult=0.),
    dict(bias_lr_mult=2., bias_decay_mult=0.),
    dict(norm_decay_mult=0.5, bias_decay_mult=0.25, dwconv_decay_mult=0.125, flat_decay_mult=0.),
    dict(flat_decay_mult=0., custom_keys={'.cls_token': dict(decay_mult=0.)}),
    dict(custom_keys={
        'backbone': dict(lr_mult=0.1),
        'backbone.0': dict(lr_mult=0.01, decay_mult=0.5)
    }),
    dict(custom_keys={
        'backbone': dict(lr_mult=0.1, momentum=0.5),
        'bias': dict(lr_mult=3.)
    }, bias_lr_mult=9.),
    dict(custom_keys={'head': dict(lr=7.)}, norm_decay_mult=0.),
]


@pytest.mark.parametrize('optimizer', [SGD, ADAMW], ids=['SGD', 'AdamW'])
@pytest.mark.parametrize('rules', RULES, ids=range(len(RULES)))
def test_settings_equal_those_of_mmengine(rules: dict | None, optimizer: dict) -> None:
    if optimizer is ADAMW and 'momentum' in str(rules):
        rules = copy.deepcopy(rules)
        rules['custom_keys']['backbone'].pop('momentum')
    model = Toy()
    expected = MMEngineConstructor(dict(optimizer=dict(optimizer)), copy.deepcopy(rules))(model)
    assert settings(build(model, rules, optimizer).optimizer, model) == settings(expected.optimizer, model)


@pytest.mark.parametrize('name', ['resnet18', 'mobilenet_v3_small', 'vit_b_16', 'convnext_tiny'])
def test_settings_equal_those_of_mmengine_on_torchvision_models(name: str) -> None:
    with torch.device('meta'):
        model = torchvision.models.get_model(name)
    rules = dict(
        norm_decay_mult=0.,
        bias_decay_mult=0.,
        dwconv_decay_mult=0.5,
        custom_keys={
            '0.': dict(lr_mult=0.1),
            'weight': dict(decay_mult=2.)
        })
    expected = MMEngineConstructor(dict(optimizer=dict(SGD)), rules)(model)
    assert settings(build(model, rules).optimizer, model) == settings(expected.optimizer, model)


def test_groups_are_merged_named_and_complete() -> None:
    model = Toy()
    groups = build(model, dict(norm_decay_mult=0., custom_keys={'head': dict(lr_mult=10)})).optimizer.param_groups
    assert [group['name'] for group in groups] == ['default', 'norm', 'head']
    assert [(group['lr_mult'], group['decay_mult']) for group in groups] == [(1, 1), (1, 0), (10, 1)]
    assert groups[2]['param_names'] == ['head.weight', 'head.bias']
    params = dict(model.named_parameters())
    for group in groups:
        assert [id(params[name]) for name in group['param_names']] == [id(param) for param in group['params']]
    assert sorted(name for group in groups for name in group['param_names']) == sorted(params)
    assert type(groups[0]) is dict


def test_equal_settings_are_one_group_with_both_names() -> None:
    keys = {'backbone.0': dict(lr_mult=0.1), 'backbone.2': dict(lr_mult=0.1)}
    groups = build(Toy(), dict(custom_keys=keys)).optimizer.param_groups
    assert [group['name'] for group in groups] == ['default', 'backbone.0, backbone.2']


def test_regular_expressions_are_keys() -> None:
    groups = build(Toy(), dict(custom_keys={r'^backbone\.[02]\.': dict(lr_mult=0.1)})).optimizer.param_groups
    assert groups[1]['param_names'] == [f'backbone.{k}.{part}' for k in (0, 2) for part in ('weight', 'bias')]


def test_only_trainable_parameters_are_optimized_and_a_frozen_key_is_said(log_lines: list[str]) -> None:
    model = Toy()
    model.backbone.requires_grad_(False)
    wrapper = build(model, dict(custom_keys={'backbone': dict(lr_mult=0.1)}, norm_decay_mult=0.))
    assert [name for group in wrapper.optimizer.param_groups
            for name in group['param_names']] == ['cls_token', 'scale', 'head.weight', 'head.bias']
    assert "custom_keys['backbone'] has no effect: all parameters that it matches are frozen" in '\n'.join(log_lines)
    assert 'norm_decay_mult has no effect' in '\n'.join(log_lines)


def test_a_key_in_the_shade_of_longer_ones_is_said(log_lines: list[str]) -> None:
    build(Toy(), dict(custom_keys={'head': dict(lr_mult=0.1), 'head.': dict(lr_mult=0.2)}))
    assert "custom_keys['head'] has no effect: longer keys decide for all parameters that it matches ('head.')" in '\n'.join(
        log_lines)


def test_a_part_of_the_model_that_is_also_in_other_names_is_said(log_lines: list[str]) -> None:
    model = Toy()
    model.backbone.add_module('conv_head', nn.Linear(4, 4))
    build(model, dict(custom_keys={'head': dict(lr_mult=10)}))
    assert (
        "custom_keys['head'] also matches backbone.conv_head.weight, backbone.conv_head.bias; '^head' matches head alone"
        in '\n'.join(log_lines))
    groups = build(model, dict(custom_keys={'^head': dict(lr_mult=10)})).optimizer.param_groups
    assert groups[1]['param_names'] == ['head.weight', 'head.bias'] and 'also matches' not in log_lines[-1]


@pytest.mark.parametrize(('rules', 'message'), [
    (dict(custom_keys={'haed': dict(lr_mult=1)}), r"custom_keys\['haed'\]: matches no parameter; did you mean 'head'"),
    (dict(custom_keys={'backbone.7': dict(lr_mult=1)}),
     r"'backbone.7'\]: matches no parameter; did you mean 'backbone.5'"),
    (dict(custom_keys={'head': dict(lr_mul=1)}),
     r"custom_keys\['head'\]: unknown key 'lr_mul'; did you mean 'lr_mult'"),
    (dict(custom_keys={'head': 0.1}), 'custom_keys.head=0.1: must be of type Mapping'),
    (dict(custom_keys={'head': dict(lr_mult='0.1')}), r"custom_keys\['head'\].lr_mult='0.1': must be of type float"),
    (dict(custom_keys={'he(ad': dict(lr_mult=1)}),
     r"custom_keys\['he\(ad'\]: 'he\(ad' is not a valid regular expression"),
    (dict(custom_keys=['head']), r"custom_keys=\['head'\]: must be of type Mapping"),
    (dict(norm_decay_mul=0), "no argument 'norm_decay_mul'; did you mean 'norm_decay_mult'"),
    (dict(norm_decay_mult=-1), 'norm_decay_mult=-1: must be at least 0'),
])
def test_wrong_rules_are_refused(rules: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=r'optim_wrapper\.paramwise_cfg.*' + message):
        build(Toy(), rules)


@pytest.mark.parametrize('rules', [dict(flat_decay_mult=0.), dict(custom_keys={'head': dict(decay_mult=0.)})])
def test_a_decay_that_is_not_given_cannot_be_multiplied(rules: dict) -> None:
    with pytest.raises(
            ConfigError, match='decay_mult multiplies a value that is not given: optim_wrapper.optimizer.weight'):
        build(Toy(), rules, dict(type='SGD', lr=0.1))


def test_the_optimizers_own_learning_rate_is_multiplied() -> None:
    groups = build(Toy(), dict(custom_keys={'head': dict(lr_mult=0.5)}), dict(type='Adam')).optimizer.param_groups
    assert [group['lr'] for group in groups] == [1e-3, 5e-4]


@pytest.mark.parametrize(('optimizer', 'message'), [
    (dict(lr=0.1), 'must name its type'),
    (dict(type='SDG', lr=0.1), "optimizer.type='SDG': no such optimizer; did you mean 'SGD'"),
])
def test_a_wrong_optimizer_is_refused(optimizer: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(Toy(), None, optimizer)


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match='nothing to train: all 16 parameters of Toy are frozen'):
        build(Toy().requires_grad_(False))


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight


def test_a_shared_parameter_is_optimized_once() -> None:
    assert build(Tied()).optimizer.param_groups[0]['param_names'] == ['first.weight', 'first.bias', 'second.bias']
    rules = dict(custom_keys={'first': dict(lr_mult=0.1)})
    with pytest.raises(ConfigError, match='first.weight and second.weight are one shared parameter'):
        build(Tied(), rules)
    groups = build(Tied(), dict(bypass_duplicate=True, **rules)).optimizer.param_groups
    assert [group['param_names'] for group in groups] == [['second.bias'], ['first.weight', 'first.bias']]


def test_a_convolution_from_one_channel_is_not_depthwise() -> None:
    model = nn.Sequential(nn.Conv2d(1, 6, 5), nn.Conv2d(6, 6, 3, groups=6))
    groups = build(model, dict(dwconv_decay_mult=0.)).optimizer.param_groups
    assert [(group['name'], group['param_names'][0]) for group in groups] == [('default', '0.weight'),
                                                                              ('dwconv', '1.weight')]


class DeformConv2d(nn.Module):
    """A stand-in with the name of the real one and its offset layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_offset = nn.Conv2d(2, 18, 3)


def test_the_offset_layer_of_deformable_convolutions() -> None:
    groups = build(nn.Sequential(DeformConv2d(), nn.Linear(2, 2)), dict(dcn_offset_lr_mult=0.1,
                                                                        bias_lr_mult=2.)).optimizer.param_groups
    assert {
        g['name']: g['param_names']
        for g in groups
    } == {
        'default': ['1.weight'],
        'dcn_offset': ['0.conv_offset.weight', '0.conv_offset.bias'],
        'bias': ['1.bias']
    }


def test_it_is_the_default_in_scope_ftcls_and_leaves_the_config_alone() -> None:
    init_default_scope('ftcls')
    cfg = dict(
        type='AmpOptimWrapper', optimizer=dict(SGD), clip_grad=dict(type='value', clip_value=1.), accumulative_counts=2)
    before = copy.deepcopy(cfg)
    wrapper = build_optim_wrapper(Toy(), cfg)
    assert isinstance(wrapper, AmpOptimWrapper)
    assert wrapper.optimizer.param_groups[0]['name'] == 'default'
    DefaultOptimWrapperConstructor(cfg)(Toy())
    assert cfg == before


def test_state_can_be_loaded_into_a_new_optimizer() -> None:
    rules = dict(norm_decay_mult=0., custom_keys={'head': dict(lr_mult=10)})
    torch.manual_seed(0)
    model = Toy()
    wrapper = build(model, rules)
    for param in model.parameters():
        param.grad = torch.rand_like(param)
    wrapper.step()
    torch.manual_seed(0)
    fresh = Toy()
    other = build(fresh, rules)
    other.load_state_dict(wrapper.state_dict())
    names = [name for group in other.optimizer.param_groups for name in group['param_names']]
    params = [param for group in other.optimizer.param_groups for param in group['params']]
    originals = dict(model.named_parameters())
    for name, param in zip(names, params):
        assert torch.equal(other.optimizer.state[param]['momentum_buffer'],
                           wrapper.optimizer.state[originals[name]]['momentum_buffer']), name
