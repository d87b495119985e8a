"""Test-time augmentation: averaging the predictions for several views of each picture."""
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.hooks import PrepareTTAHook
from mmengine.runner import Runner

from ftcls.evaluation import LossMetric
from ftcls.utils import ConfigError
from .loaders import dataset_configs

__all__ = ['first_view', 'prepare_tta', 'with_tta']

_FLIPS = [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)]


def prepare_tta(cfg: Config) -> None:
    """Write into a config that its test sees several views of each picture.

    The config's ``tta_pipeline`` takes the place of the test's pipeline. Where there is none, the test's own pipeline is
    used for two views, the picture and its mirror image. ``tta_model`` says how their predictions become one; where there
    is none, ``AverageClsScoreTTA``.

    Raises:
        ConfigError: If ``tta_pipeline`` makes no views.
    """
    cfg.setdefault('tta_model', dict(type='AverageClsScoreTTA'))
    given = cfg.get('tta_pipeline')
    if given and not (isinstance(given[-1], Mapping) and given[-1].get('type') == 'TestTimeAug'):
        raise ConfigError('tta_pipeline: must end with dict(type=\'TestTimeAug\', transforms=[…]), the last step in it '
                          '[dict(type=\'PackInputs\')]')
    for dataset in dataset_configs((cfg.get('test_dataloader') or {}).get('dataset')):
        *steps, pack = dataset.get('pipeline') or [None]
        dataset['pipeline'] = given or [*steps, dict(type='TestTimeAug', transforms=[_FLIPS, [pack]])]


def with_tta(runner: Runner, cfg: Config) -> None:
    """Let a Runner's test merge the views' predictions; the loss, which only each view has, is not measured."""
    runner.register_hook(PrepareTTAHook(tta_cfg=dict(cfg.tta_model)))
    metrics = runner.test_evaluator.metrics
    metrics[:] = [metric for metric in metrics if not isinstance(metric, LossMetric)]


def first_view(sample: dict[str, Any]) -> dict[str, Any]:
    """Return the first view in a sample of several, as a sample."""
    return {key: value[0] for key, value in sample.items()}
