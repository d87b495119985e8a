"""Which of two values of a metric is better: best checkpoint, curves, early stopping and search take it from its class."""
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.evaluator import BaseMetric

import ftcls.evaluation  # noqa: F401  (registers)
from ftcls.engine.hooks import CheckpointHook, EarlyStoppingHook
from ftcls.evaluation import higher_is_better, resolve_rule
from ftcls.experiments.tune import metric_of
from ftcls.registry import METRICS
from ftcls.utils import ConfigError
from ftcls.visualization import curves
from ftcls.visualization.records import metric_directions


class Fixed(BaseMetric):
    """Gives what it is told."""
    default_prefix = ''

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Do nothing."""

    def compute_metrics(self, results: list) -> dict:
        """Return nothing."""
        return {}


class Nll(Fixed):
    """Negative log likelihood: its name holds no word that tells that less is better."""
    higher_is_better = False


class Mae(Fixed):
    """Mean absolute error."""
    higher_is_better = False


class Undeclared(Fixed):
    """Does not say which is better."""


RESULTS = {
    'Accuracy': ['accuracy/top1', 'accuracy/top5_thr-0.50'],
    'SingleLabelMetric': ['single-label/precision', 'single-label/recall_micro', 'single-label/f1-score'],
    'MultiLabelMetric': ['multi-label/precision', 'multi-label/recall_top2', 'multi-label/f1-score_micro'],
    'AveragePrecision': ['multi-label/mAP'],
    'VOCMultiLabelMetric': ['multi-label/precision'],
    'VOCAveragePrecision': ['multi-label/mAP'],
    'DiceMetric': ['dice', 'dice_set'],
    'IoUMetric': ['iou', 'iou_set'],
    'LossMetric': ['loss'],
    'Nll': ['nll'],
    'Mae': ['mae'],
}
LESS = {'loss', 'nll', 'mae'}


@pytest.fixture(autouse=True)
def registered():
    for cls in (Nll, Mae, Undeclared):
        METRICS.register_module(module=cls, force=True)
    yield
    for cls in (Nll, Mae, Undeclared):
        METRICS.module_dict.pop(cls.__name__)


def test_every_metric_states_it():
    ours = {name for name, cls in METRICS.module_dict.items() if cls.__module__.startswith('ftcls.')}
    assert ours - {'ConfusionMatrix'} <= set(RESULTS)
    for name in ours:
        assert hasattr(METRICS.get(name), 'higher_is_better') == (name != 'ConfusionMatrix')


@pytest.mark.parametrize(('kind', 'name'), [(kind, name) for kind, names in RESULTS.items() for name in names])
def test_all_agree(kind, name, monkeypatch):
    metrics = [METRICS.build(dict(type=kind)), METRICS.build(dict(type='LossMetric'))]
    better = 'less' if name in LESS else 'greater'
    worst_to_best = [3., 2., 1.] if better == 'less' else [1., 2., 3.]

    saver = CheckpointHook(save_best=name)
    saver._metrics = metrics
    saver._init_rule(saver.rules, saver.key_indicators)
    assert saver.rules == [better] and saver.is_better_than[name](worst_to_best[2], worst_to_best[1])

    stopper = EarlyStoppingHook(name, patience=1, min_delta=0.)
    stopper._start(metrics)
    assert not any(stopper._check_stop_condition(value)[0] for value in worst_to_best)
    assert stopper._check_stop_condition(worst_to_best[0])[0] and stopper.best_score == worst_to_best[2]

    directions = {name: higher_is_better(name, metrics)}
    records = [
        dict(kind='val', epoch=i, step=i, higher_is_better=directions, **{name: value})
        for i, value in enumerate(worst_to_best, 1)
    ]
    assert metric_directions(records) == directions
    assert _starred(records, name, monkeypatch) == worst_to_best[2]

    cfg = Config(dict(val_dataloader=dict(batch_size=1), val_evaluator=[dict(type=kind)]))
    assert metric_of(cfg, name) == (name, better == 'less')


def _starred(records, name, monkeypatch):
    """The value that ``curves.png`` puts a star at."""
    figures = []
    monkeypatch.setattr(curves, '_save', lambda figure, out: figures.append(figure))
    curves.plot_curves(records, 'curves.png')
    stars = [line.get_ydata()[0] for axes in figures[0].axes for line in axes.lines if line.get_marker() == '*']
    assert len(stars) == 1
    return stars[0]


def test_a_class_that_does_not_say_needs_a_rule():
    metrics = [METRICS.build(dict(type='Undeclared')), METRICS.build(dict(type='LossMetric'))]
    assert higher_is_better('coverage', metrics) is None
    with pytest.raises(ConfigError, match="'coverage'.*`higher_is_better`.*rule='greater' or rule='less'"):
        resolve_rule('CheckpointHook', None, 'coverage', metrics)
    assert resolve_rule('CheckpointHook', 'less', 'coverage', metrics) == 'less'


def test_a_prefix_comes_before_a_metric_of_any_name():
    metrics = [dict(type='Nll'), dict(type='Accuracy', prefix='mine'), dict(type='LossMetric')]
    assert higher_is_better('mine/top1', metrics) is True
    assert higher_is_better('nll', metrics) is False and higher_is_better('loss', metrics) is False
    assert higher_is_better('x', [dict(type='Nll'), dict(type='Undeclared')]) is False
