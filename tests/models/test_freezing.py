"""Freezing by name and BatchNorm policies: which tensors move in a step, which modules are in eval mode."""
import copy
import re

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import ftcls.models  # noqa: F401
from ftcls.models.freezing import FreezeRecord, frozen_by, half_frozen
from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError

STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')


def build(backbone: dict | None = None, head: dict | None = None, **kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=backbone or dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4),
            neck=dict(type='GlobalAveragePooling'),
            head=head or dict(type='LinearClsHead', num_classes=2, in_channels=32),
            **kwargs))


def step(model: nn.Module, size: int = 32) -> set[str]:
    """Make one step of plain SGD in training mode; returns the names of the tensors that moved."""
    torch.manual_seed(1)
    model.eval().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(params, lr=0.1)
    samples = [DataSample().set_gt_label(i % 2) for i in range(4)]
    sum(v for k, v in model(torch.randn(4, 3, size, size), samples, mode='loss').items() if 'loss' in k).backward()
    assert all(p.grad is not None for p in params), 'DistributedDataParallel would wait for these'
    optimizer.step()
    return {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}


def parameters(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_parameters()}


def statistics(model: nn.Module) -> set[str]:
    return {f'{n}.{s}' for n, m in model.named_modules() if isinstance(m, _BatchNorm) for s in STATISTICS}


@pytest.mark.parametrize('patterns, frozen, resting', [
    (['backbone.layer[12]'], r'backbone\.layer[12]\.', r'backbone\.layer[12]\.'),
    (['^(?!head)'], r'backbone\.', r'backbone\.'),
    ('^(?!head)', r'backbone\.', r'backbone\.'),
    (['backbone.layer1.0.conv1.weight'], r'backbone\.layer1\.0\.conv1\.weight$', None),
    (['head.fc.weight', r'bn1\.'], r'head\.fc\.weight$|.*bn1\.', r'.*bn1\.'),
    ([r'bn1\.weight'], r'.*bn1\.weight$', None),
    (['^backbone', '!bias$'], r'backbone\..*weight$', None),
    (['^backbone', '!bn', 'layer1'], r'backbone\.(layer1|(?!.*bn\d))', r'backbone\.(layer1|.*downsample)'),
    ([r'layer4.*(conv|downsample\.0)', r'layer4.*(bn|downsample\.1)'], r'.*layer4', r'.*layer4'),
])
def test_what_is_frozen_does_not_move_and_the_rest_does(patterns: list, frozen: str, resting: str | None) -> None:
    model = build(freeze=patterns)
    frozen_names = {n for n in parameters(model) if re.match(frozen, n)}
    resting_names = {n for n in statistics(model) if resting and re.match(resting, n)}
    assert frozen_names
    wanted = (parameters(model) - frozen_names) | (statistics(model) - resting_names)
    for _ in range(2):  # the second time after another train()
        assert step(model) == wanted


def test_frozen_parts_rest_whole() -> None:
    """Dropout beside frozen layers is off where its block is frozen, and only there."""
    head = dict(type='StackedLinearClsHead', num_classes=2, in_channels=32, mid_channels=[8, 8], dropout_rate=0.5)
    model = build(head=head, freeze=[r'head\.layers\.0', r'head\.layers\.1\.fc\.weight']).train()
    assert model.training and not model.head.layers[0].dropout.training and model.head.layers[1].dropout.training
    assert model.backbone.training and all(m.training for m in model.backbone.modules())
    assert not any(m.training for m in model.eval().modules())


@pytest.mark.parametrize('backbone', [
    dict(type='TorchvisionBackbone', model_name='mobilenet_v3_small'),
    dict(type='TIMMBackbone', model_name='resnet18'),
])
def test_feature_extraction_gives_the_same_features_in_training_mode(backbone: dict) -> None:
    if backbone['type'] == 'TIMMBackbone':
        pytest.importorskip('timm')
    torch.manual_seed(0)
    model = build(backbone, dict(type='ClsHead'), freeze=['backbone'])
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        training, resting = model.train().extract_feat(x), model.eval().extract_feat(x)
    assert torch.equal(training[-1], resting[-1])


@pytest.mark.parametrize('patterns, message', [
    (['head', 'backbone.layr[12]'
      ], r"model\.freeze: 'backbone\.layr\[12\]' matches no parameter; did you mean 'backbone\.layer2'"),
    ('haed', r"model\.freeze: 'haed' matches no parameter; did you mean 'head'"),
    (['!bias', 'backbone'], r"model\.freeze: '!bias' matches no parameter"),
    (['backbone', '!biass'], r"'!biass' matches no parameter; did you mean 'bias'"),
    (['he(ad'], r"model\.freeze: 'he\(ad' is not a valid regular expression"),
])
def test_a_pattern_without_an_effect_is_refused(patterns: list, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(freeze=patterns)


def test_half_frozen_layers_are_named() -> None:
    assert half_frozen(build()) == half_frozen(build(freeze=['backbone', 'head.fc'])) == []
    assert half_frozen(build(freeze=['head.fc.weight'])) == ['frozen weight with trained bias in 1 layer: head.fc']
    notes = half_frozen(build(freeze=[r'bn1\.bias', 'head.fc.weight']))
    assert notes[0].endswith(
        'in 1 layer: head.fc') and 'frozen bias with trained weight in 9 layers: backbone.bn1, ' in notes[1]


POLICIES = [('train', True, True), ('eval', True, False), ('frozen', False, False)]


@pytest.mark.parametrize('policy, affine, stats', POLICIES)
def test_batchnorm_policies(policy: str, affine: bool, stats: bool) -> None:
    head = dict(
        type='StackedLinearClsHead', num_classes=2, in_channels=32, mid_channels=[8], norm_cfg=dict(type='BN1d'))
    model = build(head=head, norm_policy=policy)
    of_norms = {f'{n}.{k}' for n, m in model.named_modules() if isinstance(m, _BatchNorm) for k in ('weight', 'bias')}
    in_backbone = {n for n in statistics(model) | of_norms if n.startswith('backbone')}
    stay = {n for n in in_backbone if not (affine if n in of_norms else stats)}
    # BatchNorm subtracts the mean, so the gradient of a bias before it is zero except for rounding.
    idle = {'head.layers.0.fc.bias'}
    for _ in range(2):
        assert step(model) - idle == (parameters(model) | statistics(model)) - stay - idle


def test_batchnorm_policies_by_part() -> None:
    head = dict(
        type='StackedLinearClsHead', num_classes=2, in_channels=32, mid_channels=[8], norm_cfg=dict(type='BN1d'))
    model = build(head=head, norm_policy=dict(backbone='eval', head='frozen'))
    moved = step(model)
    assert not moved & statistics(model)
    assert parameters(model) - moved == {'head.layers.0.norm.weight', 'head.layers.0.norm.bias'}


def test_eval_is_what_norm_eval_of_a_backbone_is() -> None:
    backbone = dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4)
    assert step(build(dict(backbone, norm_eval=True))) == step(build(backbone, norm_policy='eval'))


@pytest.mark.parametrize('policy, message', [
    ('evla', "norm_policy='evla'.*did you mean 'eval'"),
    (dict(bakbone='eval'), "no part 'bakbone'; did you mean 'backbone'"),
    (dict(head='eval'), r"the head has no BatchNorm layer"),
])
def test_wrong_policies_are_refused(policy: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(norm_policy=policy)


def test_the_record_releases_only_what_no_other_setting_freezes() -> None:
    backbone = dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4, frozen_stages=0)
    model = build(backbone, freeze=['layer2']).train()
    fixed = {n for n, p in model.named_parameters() if not p.requires_grad}
    params = {n: p for n, p in model.named_parameters() if n.startswith('backbone')}
    record = FreezeRecord.of(model)
    assert record is FreezeRecord.of(model.backbone)
    record.freeze(params.values(), 'a hook')
    model.train()
    assert step(model) == {'head.fc.weight', 'head.fc.bias'}
    assert not any(m.training for m in model.backbone.modules())
    record.release([p for n, p in params.items() if 'layer4' in n], 'a hook')
    wanted = {n for n in parameters(model) | statistics(model) if 'layer4' in n or 'head' in n}
    assert step(model) == wanted == step(copy.deepcopy(model))
    record.release(params.values(), 'a hook')
    model.train()
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == fixed
    assert not model.backbone.layer2.training and model.backbone.layer3.training
    model.backbone.freeze_stages(3, 'GradualUnfreezingHook')
    model.backbone.freeze_stages(2)
    assert frozen_by(model, ['backbone.layer2.0.conv1.weight']) == 'model.backbone.frozen_stages and model.freeze'
    model.backbone.freeze_stages(-1)
    model.backbone.freeze_stages(-1, 'GradualUnfreezingHook')
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {n for n in parameters(model) if 'layer2' in n}


def test_the_record_names_who_froze_what() -> None:
    norms = dict(type='BN', requires_grad=False)
    backbone = dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4, norm_cfg=norms, frozen_stages=0)
    model = copy.deepcopy(build(backbone, freeze=['bn1', 'head.fc.bias']))
    reasons = {n: FreezeRecord.of(model).reasons(p) for n, p in model.named_parameters()}
    assert reasons['backbone.conv1.weight'] == ('model.backbone.frozen_stages', )
    assert reasons['backbone.bn1.weight'][-2:] == ('model.backbone.frozen_stages', 'model.freeze')
    assert reasons['head.fc.bias'] == ('model.freeze', ) and reasons['head.fc.weight'] == ()
    assert frozen_by(
        model, ['backbone.layer1.0.bn2.weight', 'head.fc.bias']) == 'another setting of the model and model.freeze'


def test_norms_that_do_not_learn_for_another_reason_stay_as_they_are() -> None:
    """As in MMClassification, `norm_cfg` with `requires_grad=False` says nothing about the statistics."""
    backbone = dict(
        type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4, norm_cfg=dict(type='BN', requires_grad=False))
    model = build(backbone, freeze=['head.fc.bias'])
    assert statistics(model) <= step(model)
    assert not statistics(build(backbone, freeze=[r'backbone'])) & step(build(backbone, freeze=['backbone']))
