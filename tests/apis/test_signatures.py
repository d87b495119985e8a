"""What is read from the signatures of components."""
from collections.abc import Callable, Sequence
from typing import Any, Literal, Optional, Union

import pytest
import torch

from ftcls.config.signatures import (accepted_arguments, format_type, matches_type, missing_arguments, misspelt,
                                     own_arguments, type_error)
from ftcls.models.backbones import ResNet, TIMMBackbone
from ftcls.registry import DATASETS, HOOKS, MODELS, OPTIMIZERS, PARAM_SCHEDULERS, TRANSFORMS


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
])
def test_a_value_fits_its_annotation_or_not(value: Any, annotation: Any, expected: bool) -> None:
    assert matches_type(value, annotation) is expected


def test_annotations_are_shown_as_one_writes_them() -> None:
    assert format_type(int) == 'int'
    assert format_type(dict | torch.nn.Module | None) == 'dict | Module | None'
    assert format_type(Sequence[int]) == 'Sequence[int]'


def test_kinds_are_checked_through_base_classes_and_only_of_trusted_ones() -> None:
    digits = DATASETS.get('Digits')
    assert 'must be of type bool' in type_error(digits, own_arguments(digits)['test_mode'], 'yes', 'x')

    class Foreign:

        def __init__(self, size: int) -> None:
            pass

    assert type_error(Foreign, own_arguments(Foreign)['size'], 'big', 'x') is None


def test_needed_arguments_are_those_that_no_builder_adds() -> None:
    assert missing_arguments(PARAM_SCHEDULERS.get('MultiStepLR'), PARAM_SCHEDULERS, ['gamma']) == ['milestones']
    assert missing_arguments(OPTIMIZERS.get('SGD'), OPTIMIZERS, ['lr']) == []
    assert missing_arguments(DATASETS.get('RepeatDataset'), DATASETS, []) == ['dataset', 'times']


def test_a_misspelling_is_told_from_an_argument_to_hand_on() -> None:
    assert misspelt('frozen_stage', TIMMBackbone, []) == 'frozen_stages'
    assert misspelt('frozen_stage', TIMMBackbone, ['frozen_stages']) is None
    assert misspelt('in_chans', TIMMBackbone, []) is None
