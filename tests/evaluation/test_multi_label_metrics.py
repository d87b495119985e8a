"""The metrics of several labels a picture against scikit-learn, for any batch size; processes: see test_metrics.py."""
import logging

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from sklearn import metrics as sklearn_metrics

from ftcls.evaluation import AveragePrecision, MultiLabelMetric, VOCAveragePrecision, VOCMultiLabelMetric
from ftcls.registry import METRICS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError

CLASSES = ('a', 'b', 'c', 'd', 'e')


def scores_and_truth(number: int = 83, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of two digits, so that many are equal, and labels of which the last never occurs; (N, 5) each."""
    generator = torch.Generator().manual_seed(seed)
    truth = (torch.rand(number, 5, generator=generator) < torch.tensor([0.6, 0.3, 0.2, 0.05, 0.])).long()
    noise = torch.rand(number, 5, generator=generator)
    return ((truth + 1.5 * noise) / 2.5).mul(20).round().div(20), truth


def samples(score: torch.Tensor, truth: torch.Tensor) -> list[DataSample]:
    return [DataSample().set_gt_label(torch.nonzero(t)[:, 0]).set_pred_score(s) for s, t in zip(score, truth)]


def evaluate(metric: object, batch_size: int = 16, gt_scores: bool = False) -> dict:
    score, truth = scores_and_truth()
    given = samples(score, truth)
    if gt_scores:
        given = [DataSample().set_gt_score(t.float()).set_pred_score(s) for s, t in zip(score, truth)]
    evaluator = Evaluator([metric])
    evaluator.dataset_meta = dict(classes=CLASSES)
    for start in range(0, len(given), batch_size):
        evaluator.process(given[start:start + batch_size])
    return evaluator.evaluate(len(given))


def test_average_precision_equals_scikit_learn() -> None:
    score, truth = scores_and_truth()
    wanted = [sklearn_metrics.average_precision_score(truth[:, k], score[:, k]) for k in range(4)]
    result = evaluate(AveragePrecision())
    assert result == {'multi-label/mAP': pytest.approx(100 * np.mean(wanted), rel=1e-6)}
    for batch_size in (1, 7, 83):
        assert evaluate(AveragePrecision(), batch_size) == result
    assert evaluate(AveragePrecision(), gt_scores=True) == result
    classwise = evaluate(AveragePrecision(average=None))['multi-label/AP_classwise']
    assert np.allclose(classwise, 100 * np.array([*wanted, 0.]), rtol=1e-6)


def test_average_precision_does_not_hang_on_the_order_of_equal_scores() -> None:
    score, truth = torch.full((6, 1), 0.5), torch.tensor([[1], [0], [0], [1], [0], [0]])
    assert AveragePrecision.calculate(score, truth).item() == pytest.approx(100 / 3)
    assert AveragePrecision.calculate(score, truth.flip(0)).item() == pytest.approx(100 / 3)
    ignored = torch.tensor([[1], [-1], [-1], [1], [0], [-1]])
    assert AveragePrecision.calculate(score, ignored).item() == pytest.approx(200 / 3)
    assert AveragePrecision.calculate(torch.tensor([[torch.nan], [0.1]]), [[1], [0]]).item() == pytest.approx(50.)


def test_a_class_without_positives_is_left_out_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    metric = AveragePrecision()
    logger = MMLogger.get_instance('test_multi_label')
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.WARNING):
            first, second = evaluate(metric), evaluate(metric)
    finally:
        logger.removeHandler(caplog.handler)
    assert first == second
    said = [record.getMessage() for record in caplog.records if 'left out of the mean' in record.getMessage()]
    assert said == ['AveragePrecision: no image has the label e: left out of the mean']
    assert AveragePrecision.calculate(torch.rand(3, 2), torch.zeros(3, 2)).item() == 0.


@pytest.mark.parametrize('average', ['macro', 'micro', None])
@pytest.mark.parametrize(('chosen', 'suffix'), [(dict(), ''), (dict(thr=0.5), ''), (dict(thr=0.3), '_thr-0.30'),
                                                (dict(thr=0.), '_thr-0.00'), (dict(topk=2), '_top2')])
def test_multi_label_metric_equals_scikit_learn(average: str | None, chosen: dict, suffix: str) -> None:
    score, truth = scores_and_truth()
    items = ('precision', 'recall', 'f1-score', 'support')
    result = evaluate(MultiLabelMetric(items=items, average=average, **chosen))
    if 'topk' in chosen:
        order = np.argsort(-score.numpy(), axis=1, kind='stable')[:, :2]
        predicted = np.zeros_like(truth.numpy())
        np.put_along_axis(predicted, order, 1, axis=1)
    else:
        predicted = (score >= chosen.get('thr', 0.5)).long().numpy()
    wanted = sklearn_metrics.precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
    suffix += {'macro': '', 'micro': '_micro', None: '_classwise'}[average]
    assert list(result) == [f'multi-label/{item}{suffix}' for item in items]
    for item, value in zip(items[:3], wanted):
        assert np.allclose(result[f'multi-label/{item}{suffix}'], 100 * value, rtol=1e-6)
    support = result[f'multi-label/support{suffix}']
    assert support == (wanted[3].tolist() if average is None else int(truth.sum()))
    assert evaluate(MultiLabelMetric(items=items, average=average, **chosen), batch_size=5) == result


def test_calculate_of_lists_of_classes() -> None:
    predicted, truth = [[0], [1], [0, 1], [3]], [[0, 3], [0, 2], [1], [3]]
    values = MultiLabelMetric.calculate(predicted, truth, pred_indices=True, target_indices=True, num_classes=4)
    assert [round(v.item(), 4) for v in values] == [50., 50., 45.8333, 6]
    empty = MultiLabelMetric.calculate([[], [1]], [[], [1]], pred_indices=True, target_indices=True, num_classes=2)
    assert [v.item() for v in empty] == [50., 50., 50., 1]
    rows = MultiLabelMetric.calculate(list(torch.eye(2)), np.eye(2))
    assert [v.item() for v in rows] == [100., 100., 100., 2]


def test_wrong_arguments_and_samples() -> None:
    with pytest.raises(ConfigError, match="average='micro'.*'macro'"):
        METRICS.build(dict(type='AveragePrecision', average='micro'))
    with pytest.raises(ConfigError, match="items.*'f1'"):
        METRICS.build(dict(type='MultiLabelMetric', items=('f1', )))
    with pytest.raises(ConfigError, match='topk'):
        METRICS.build(dict(type='MultiLabelMetric', topk=0))
    with pytest.raises(ConfigError, match='only 2 classes'):
        MultiLabelMetric.calculate(torch.eye(2), torch.eye(2), topk=3)
    with pytest.raises(ConfigError, match='`num_classes`'):
        MultiLabelMetric.calculate([[0]], [[0]], True, True)
    with pytest.raises(ValueError, match=r'\(N, num_classes\)'):
        AveragePrecision.calculate(torch.rand(3, 2), torch.zeros(3, 3))
    score = torch.tensor([0.5, 0.5])
    for metric in (AveragePrecision(), MultiLabelMetric()):
        with pytest.raises(DataError, match=r'no labels \(a.png\).*empty list'):
            metric.process(None, [dict(pred_score=score, img_path='a.png')])
        with pytest.raises(DataError, match='label 2 is outside of the 2 classes'):
            metric.process(None, [dict(pred_score=score, gt_label=torch.tensor([0, 2]))])
        with pytest.raises(DataError, match='3 labels do not fit 2 scores'):
            metric.process(None, [dict(pred_score=score, gt_score=torch.zeros(3))])
        with pytest.raises(ConfigError, match='no `pred_score`'):
            metric.process(None, [dict(gt_label=torch.tensor([1]))])
        with pytest.raises(DataError, match='no sample to evaluate'):
            metric.compute_metrics([])


@pytest.mark.parametrize('flag, recall, precision', [(None, 50., 100.), (True, 200 / 3, 100.), (False, 50., 50.)])
def test_difficult_objects(flag: bool | None, recall: float, precision: float) -> None:
    """Two images of a dog, found in one; in the other a cat is found that is difficult, beside a difficult dog."""
    given = [
        DataSample(metainfo=dict(gt_label_difficult=difficult)).set_gt_label([0]).set_pred_score(torch.tensor(score))
        for difficult, score in (([], [.9, .1]), ([0, 1], [.2, .8]))
    ]
    evaluator = Evaluator([VOCMultiLabelMetric(average='micro', difficult_as_positive=flag)])
    evaluator.process(given)
    assert evaluator.evaluate(2) == pytest.approx({
        'multi-label/precision_micro':
        precision,
        'multi-label/recall_micro':
        recall,
        'multi-label/f1-score_micro':
        2 * precision * recall / (precision + recall)
    })
    metric = METRICS.build(dict(type='VOCAveragePrecision', average=None, difficult_as_positive=flag))
    assert isinstance(metric, VOCAveragePrecision) and metric.average is None
    metric.process(None, [sample.to_dict() for sample in given])
    assert metric.results[1][1].tolist() == [1., {None: -1., True: 1., False: 0.}[flag]]
    with pytest.raises(ConfigError, match='averag'):
        METRICS.build(dict(type='VOCAveragePrecision', averag=None))
    with pytest.raises(ConfigError, match='gt_label_difficult.*meta_keys'):
        metric.process(None, [DataSample().set_gt_label([0]).set_pred_score(torch.rand(2)).to_dict()])
