"""What signatures say: arguments, types and bounds, checked where a registry builds."""
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Optional, Union

import pytest
import torch
from annotated_types import Ge, Interval, MinLen

from ftcls.models.backbones import ResNet, TIMMBackbone
from ftcls.registry import DATASETS, HOOKS, MODELS, OPTIMIZERS, PARAM_SCHEDULERS, TRANSFORMS
from ftcls.utils import ConfigError
from ftcls.utils.arguments import (accepted_arguments, argument_faults, describe_type_error, format_type, matches_type,
                                   required_arguments)
from ftcls.utils.errors import located
from ftcls.utils.types import Fraction, NonNegativeFloat, PositiveInt, Probability, Size


def test_accepted_arguments_follow_the_base_classes_as_far_as_kwargs_reach() -> None:
    assert {'depth', 'frozen_stages', 'norm_eval', 'init_cfg'} <= set(accepted_arguments(ResNet))
    assert {'classes', 'pipeline', 'data_root', 'subset'} <= set(accepted_arguments(DATASETS.get('Digits')))
    assert {'milestones', 'gamma', 'begin', 'by_epoch'} <= set(accepted_arguments(PARAM_SCHEDULERS.get('MultiStepLR')))
    assert {'interval', 'save_best'} <= set(accepted_arguments(HOOKS.get('CheckpointHook')))
    assert 'brightness' in accepted_arguments(TRANSFORMS.get('torchvision/ColorJitter'))
    assert 'betas' in accepted_arguments(OPTIMIZERS.get('AdamW'))
    assert accepted_arguments(TIMMBackbone) is None
    assert accepted_arguments(HOOKS.get('EMAHook')) is None
    assert accepted_arguments(lambda **kwargs: None) is None
    assert list(accepted_arguments(lambda a, *b, c=1: None)) == ['a', 'c']


@pytest.mark.parametrize(
    'registry', [DATASETS, HOOKS, MODELS, TRANSFORMS, PARAM_SCHEDULERS, OPTIMIZERS], ids=lambda r: r.name)
def test_a_signature_can_be_read_of_everything_registered(registry: Any) -> None:
    registry.import_from_location()
    for component in registry.module_dict.values():
        accepted = accepted_arguments(component)
        assert accepted is None or 'self' not in accepted and 'kwargs' not in accepted


@pytest.mark.parametrize(('value', 'annotation', 'expected'), [
    (1, int, True),
    (1, float, True),
    (1., int, False),
    (True, int, False),
    (False, float, False),
    (True, bool, True),
    (True, int | bool, True),
    (1, bool, False),
    ('1', int | None, False),
    (None, Optional[int], True),
    ([0.9, 0.99], tuple[float, float], True),
    ([0.9], tuple[float, float], False),
    ([0.9, '1'], tuple[float, float], False),
    ((1, 2), list[int], True),
    ([[1, 2], [3, 4]], Optional[list[tuple[int, int]]], True),
    ([[1, 2], [3]], Optional[list[tuple[int, int]]], False),
    ([1, 2, 3], tuple[int, ...], True),
    ('ab', Sequence[int], False),
    ('ab', str | Sequence[str], True),
    ([], Sequence[int], True),
    ({
        'a': 1
    }, int, False),
    ({
        'type': 'Any'
    }, int, True),
    ([{
        'type': 'Any'
    }], Sequence[torch.nn.Module], True),
    ({
        'a': 1
    }, Optional[dict], True),
    (torch.relu, Union[Callable, dict], True),
    ('sum', Literal['sum', 'mean'], True),
    ('max', Literal['sum', 'mean'], False),
    (object(), Any, True),
    (1, PositiveInt, True),
    (0, PositiveInt, False),
    (1., PositiveInt, False),
    (None, PositiveInt | None, True),
    (0, PositiveInt | None, False),
    (None, Annotated[int | None, Ge(1)], True),
    (None, PositiveInt, False),
    (1, Probability, True),
    (1, Fraction, False),
    (float('nan'), NonNegativeFloat, False),
    ([32, 16], Size, True),
    ([32, 0], Size, False),
    ([32, 16, 8], Size, False),
    ([1, 0], list[PositiveInt], False),
    ({
        'a': 1.5
    }, dict[str, Probability], False),
    ([], Annotated[list[int], MinLen(1)], False),
    (3, Annotated[int, Ge(1)] | Literal['auto'], True),
    (torch.nn.ReLU(), dict, True),
    ([dict(type='Normal')], dict, True),
    ('ab', Sequence[str], False),
])
def test_a_value_fits_its_annotation_or_not(value: Any, annotation: Any, expected: bool) -> None:
    assert matches_type(value, annotation) is expected


def test_annotations_are_shown_as_one_writes_them() -> None:
    assert format_type(int) == 'int'
    assert format_type(dict | torch.nn.Module | None) == 'dict | Module | None'
    assert format_type(Sequence[int]) == 'Sequence[int]'


@pytest.mark.parametrize(('value', 'annotation', 'message'), [
    (0, PositiveInt, 'x=0: must be at least 1'),
    (0, PositiveInt | None, 'x=0: must be at least 1 or None'),
    ('1', PositiveInt | None, "x='1': must be of type int | None"),
    (1.5, Probability, 'x=1.5: must be from 0 to 1'),
    (1.0, Fraction, 'x=1.0: must be above 0 and below 1'),
    ([32, 0], Size, 'x.1=0: must be at least 1'),
    ([32], Size, 'x=[32]: must be of type int | tuple[int, int]'),
    ({
        'a': -1
    }, dict[str, NonNegativeFloat], 'x.a=-1: must be at least 0'),
    (['a'], Sequence[int] | None, "x.0='a': must be of type int"),
    ([], Annotated[list[int], MinLen(2)], 'x=[]: must be of length at least 2'),
    ([2], list[Annotated[int, Interval(ge=3, le=4)]], 'x.0=2: must be from 3 to 4'),
    ('meen', Literal['mean', 'sum'], "x='meen': must be one of 'mean', 'sum'; did you mean 'mean'?"),
    ('20', Literal[20, 32], "x='20': must be one of 20, 32; did you mean 20?"),
    (21, Literal[20, 32], 'x=21: must be one of 20, 32'),
    (0, Literal['auto'] | PositiveInt, "x=0: must be at least 1 or 'auto'"),
])
def test_a_message_names_the_value_and_what_is_allowed(value: Any, annotation: Any, message: str) -> None:
    assert describe_type_error('x', value, annotation) == message


def test_types_are_checked_through_base_classes_and_only_of_trusted_ones() -> None:
    assert list(argument_faults(DATASETS.get('Digits'), dict(test_mode='yes'),
                                'x')) == ["x.test_mode='yes': must be of type bool"]

    class Foreign:

        def __init__(self, size: int) -> None:
            pass

    assert not list(argument_faults(Foreign, dict(size='big'), 'x'))


def test_a_registry_refuses_wrong_arguments_before_it_builds() -> None:
    with pytest.raises(ConfigError, match=r"^ResNet\.depth='50': must be one of 18, 34, .*did you mean 50"):
        MODELS.build(dict(type='ResNet', depth='50'))
    with pytest.raises(ConfigError, match="ResNet takes no argument 'depht'; did you mean 'depth'"):
        MODELS.build(dict(type=ResNet, depht=50), default_args=dict(depth=50))
    with pytest.raises(ConfigError, match=r'(?s)^Digits\.subset=.*\nDigits\.test_mode=3'):
        DATASETS.build(dict(type='Digits', subset=5, test_mode=3))
    with pytest.raises(ConfigError, match="gamma='x'"):
        PARAM_SCHEDULERS.build(dict(type='ExponentialLR', gamma='x'), default_args=dict(optimizer=None, epoch_length=3))


def test_a_nested_build_names_its_own_class_once() -> None:
    config = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18, frozen_stages='1'))
    with pytest.raises(ConfigError) as caught:
        MODELS.build(config)
    assert str(caught.value).endswith("model.backbone: ResNet.frozen_stages='1': must be of type int")
    with pytest.raises(ConfigError, match="^train: LinearClsHead.num_classes='3'"), located('train'):
        MODELS.build(dict(type='LinearClsHead', num_classes='3', in_channels=2))


def test_required_arguments() -> None:
    assert required_arguments(DATASETS.get('RepeatDataset')) == ['dataset', 'times']
    scheduler = PARAM_SCHEDULERS.get('MultiStepLR')
    assert required_arguments(scheduler) == ['optimizer']
    assert {'milestones', 'optimizer', 'param_name'} <= set(required_arguments(scheduler, with_bases=True))


def test_a_misspelling_is_told_from_an_argument_to_pass_on() -> None:
    for given in (dict(frozen_stage=1), dict(frozen_stage=1, frozen_stages=1)):
        fault, = argument_faults(TIMMBackbone, given, 'x')
        assert fault == "x.frozen_stage: TIMMBackbone takes no argument 'frozen_stage'; did you mean 'frozen_stages'?"
    assert not list(argument_faults(TIMMBackbone, dict(in_chans=1), 'x'))
