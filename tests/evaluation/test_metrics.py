"""The metrics against scikit-learn, for any batch size and number of processes."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from sklearn import metrics as sklearn_metrics

from ftcls.apis import close_distributed
from ftcls.evaluation import Accuracy, ConfusionMatrix, LossMetric, SingleLabelMetric
from ftcls.registry import METRICS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError

NUM_CLASSES = 7


def _scores(number: int = 101, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random probabilities, (N, 7), of which class 6 is never the best, and true classes, of which 5 never occurs."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(number, NUM_CLASSES, generator=generator)
    target = torch.randint(0, 5, (number, ), generator=generator)
    logits[torch.arange(number), target] += 0.8
    logits[:, 6] = -9
    return logits.softmax(1), target


def _samples(score: torch.Tensor, target: torch.Tensor) -> list[DataSample]:
    samples = []
    for index, (row, label) in enumerate(zip(score, target)):
        sample = DataSample(metainfo=dict(img_path=f'{index}.png')).set_gt_label(label).set_pred_score(row)
        sample.set_field(torch.tensor(index % 10 / 10), 'loss')
        samples.append(sample.set_pred_label(row.argmax()))
    return samples


def _evaluate(metrics: list, samples: list[DataSample], batch_size: int = 16) -> dict:
    evaluator = Evaluator(metrics)
    for start in range(0, len(samples), batch_size):
        evaluator.process(samples[start:start + batch_size])
    return evaluator.evaluate(len(samples))


def test_accuracy_equals_scikit_learn() -> None:
    score, target = _scores()
    result = _evaluate([Accuracy(topk=(1, 3))], _samples(score, target))
    assert list(result) == ['accuracy/top1', 'accuracy/top3']
    for k in (1, 3):
        expected = sklearn_metrics.top_k_accuracy_score(target, score.numpy(), k=k, labels=range(NUM_CLASSES))
        assert result[f'accuracy/top{k}'] == pytest.approx(100 * expected, rel=1e-6)


def test_accuracy_thresholds() -> None:
    score, target = _scores()
    result = _evaluate([Accuracy(thrs=(0.5, None))], _samples(score, target))
    right = score.argmax(1) == target
    assert result == {
        'accuracy/top1_thr-0.50': pytest.approx(100 * float((right & (score.amax(1) > 0.5)).float().mean())),
        'accuracy/top1_no-thr': pytest.approx(100 * float(right.float().mean())),
    }


def test_accuracy_calculate_as_mmpretrain_returns_it() -> None:
    assert torch.equal(Accuracy.calculate([0, 2, 1, 3], [0, 1, 2, 3]), torch.tensor([50.]))
    assert torch.equal(Accuracy.calculate(np.array([0, 1]), np.array([0, 1])), torch.tensor([100.]))
    nested = Accuracy.calculate(torch.eye(3), [0, 1, 0], topk=(1, 3), thrs=(0., None))
    assert [[t.shape for t in row] for row in nested] == [[(1, ), (1, )], [(1, ), (1, )]]
    assert [[round(t.item(), 3) for t in row] for row in nested] == [[66.667, 66.667], [66.667, 100.]]


def test_accuracy_breaks_ties_by_the_lower_index_and_counts_nan_as_wrong() -> None:
    equal = torch.full((2, 4), 0.25)
    assert Accuracy.calculate(equal, [0, 1], topk=(1, 2))[0][0].item() == 50.
    assert Accuracy.calculate(equal, [0, 1], topk=(1, 2))[1][0].item() == 100.
    assert Accuracy.calculate(torch.full((2, 4), torch.nan), [0, 1], topk=(1, 4), thrs=None) == [[0.], [0.]]
    assert torch.equal(Accuracy.calculate(equal.half(), [0, 0])[0][0], torch.tensor([100.]))


def test_topk_beyond_the_classes_is_refused_at_the_first_batch() -> None:
    score, target = _scores(2)
    with pytest.raises(ConfigError, match=r'`topk=9` of Accuracy: the model scores 7 classes'):
        Evaluator([Accuracy(topk=(1, 9))]).process(_samples(score, target))
    with pytest.raises(ConfigError, match='topk=9'):
        Accuracy.calculate(score, target, topk=9)
    for wrong in (0, (), (1.5, )):
        with pytest.raises(ConfigError, match='topk'):
            METRICS.build(dict(type='Accuracy', topk=wrong))


@pytest.mark.parametrize('average', ['macro', 'micro', None])
def test_single_label_equals_scikit_learn(average: str | None) -> None:
    score, target = _scores()
    items = ('precision', 'recall', 'f1-score', 'support')
    result = _evaluate([SingleLabelMetric(items=items, average=average)], _samples(score, target))
    expected = sklearn_metrics.precision_recall_fscore_support(
        target, score.argmax(1), labels=range(NUM_CLASSES), average=average, zero_division=0)
    suffix = {'macro': '', 'micro': '_micro', None: '_classwise'}[average]
    assert list(result) == [f'single-label/{item}{suffix}' for item in items]
    for item, value in zip(items[:3], expected):
        assert np.allclose(result[f'single-label/{item}{suffix}'], 100 * value, rtol=1e-6)
    support = result[f'single-label/support{suffix}']
    assert support == (expected[3].tolist() if average is None else len(target))


def test_single_label_of_labels_and_thresholds() -> None:
    values = SingleLabelMetric.calculate([0, 1, 1, 3], [0, 2, 1, 3], num_classes=4)
    assert [round(v.item(), 4) for v in values] == [62.5, 75., 66.6667, 4]
    score, target = _scores()
    several = SingleLabelMetric.calculate(score, target, thrs=(None, 0.5), average=None)
    # What stays below the threshold is taken for no class at all; scikit-learn knows that as one more label.
    label = torch.where(score.amax(1) > 0.5, score.argmax(1), torch.tensor(NUM_CLASSES))
    expected = sklearn_metrics.precision_recall_fscore_support(
        target, label, labels=range(NUM_CLASSES), zero_division=0)
    for value, wanted in zip(several[1], expected):
        assert np.allclose(value, wanted * (1 if wanted.dtype.kind == 'i' else 100), rtol=1e-6)
    keys = _evaluate([SingleLabelMetric(thrs=(0.5, None), items='recall')], _samples(score, target))
    assert list(keys) == ['single-label/recall_thr-0.50', 'single-label/recall_no-thr']


def test_single_label_arguments_are_checked() -> None:
    with pytest.raises(ConfigError, match="'f1score'.*'f1-score'"):
        METRICS.build(dict(type='SingleLabelMetric', items=('f1score', )))
    with pytest.raises(ConfigError, match="average='weighted'.*'macro'"):
        METRICS.build(dict(type='SingleLabelMetric', average='weighted'))
    with pytest.raises(ConfigError, match='`num_classes`'):
        SingleLabelMetric.calculate([0, 1], [0, 1])


def test_confusion_matrix_equals_scikit_learn() -> None:
    score, target = _scores()
    result = _evaluate([ConfusionMatrix()], _samples(score, target))['confusion_matrix/result']
    expected = sklearn_metrics.confusion_matrix(target, score.argmax(1), labels=range(NUM_CLASSES))
    assert result.dtype == torch.int64 and np.array_equal(result, expected)
    assert torch.equal(ConfusionMatrix.calculate(score.argmax(1), target, NUM_CLASSES), result)
    with pytest.raises(ConfigError, match='`num_classes`'):
        ConfusionMatrix.calculate([0, 1], [0, 1])


def test_confusion_matrix_plot(tmp_path: Path) -> None:
    matrix = torch.tensor([[5, 1], [0, 4]])
    figure = ConfusionMatrix.plot(matrix, True, classes=['ants', 'bees'], show=False, out=tmp_path / 'matrix.png')
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ['5', '1', '0', '4']
    assert [label.get_text() for label in axes.get_yticklabels()] == ['ants', 'bees']
    assert (axes.get_xlabel(), axes.get_ylabel()) == ('predicted class', 'true class')
    assert (tmp_path / 'matrix.png').stat().st_size > 1000
    ConfusionMatrix.plot(matrix)  # no display here: `show` must neither fail nor warn
    with pytest.raises(ValueError, match='3 names'):
        ConfusionMatrix.plot(matrix, classes=['a', 'b', 'c'])


def test_loss_is_the_mean_over_samples() -> None:
    score, target = _scores(25)
    samples = _samples(score, target)
    assert _evaluate([LossMetric()], samples) == {'loss': pytest.approx(np.mean([s.loss.item() for s in samples]))}
    with pytest.raises(DataError, match='without a loss .*somewhere.png'):
        LossMetric().process(None, [dict(img_path='somewhere.png')])
    # a model of a user's may predict without a loss
    metric = LossMetric(is_optional=True)
    metric.process(None, [dict(img_path='somewhere.png')])
    assert metric.compute_metrics(metric.results) == {}


@pytest.mark.parametrize('metric', [Accuracy, SingleLabelMetric, ConfusionMatrix])
def test_samples_that_cannot_be_judged_are_named(metric: type) -> None:
    score = torch.tensor([0.5, 0.5])
    with pytest.raises(DataError, match=r'needs the true label of every sample, and one has none \(a.png\)'):
        metric().process(None, [dict(pred_score=score, img_path='a.png')])
    with pytest.raises(DataError, match=r'one label per image, got \[0, 1\]'):
        metric().process(None, [dict(pred_score=score, gt_label=torch.tensor([0, 1]))])
    with pytest.raises(DataError, match='label 2 is outside of the 2 classes'):
        metric().process(None, [dict(pred_score=score, gt_label=torch.tensor([2]))])
    with pytest.raises(ConfigError, match='neither `pred_score` nor `pred_label`'):
        metric().process(None, [dict(gt_label=torch.tensor([1]))])
    with pytest.raises(DataError, match='no sample to evaluate'):
        metric().compute_metrics([])


def _all_metrics() -> list:
    configs = [
        dict(type='Accuracy', topk=(1, 3)),
        dict(type='SingleLabelMetric', items=('precision', 'recall', 'f1-score', 'support')),
        dict(type='ConfusionMatrix'),
        dict(type='LossMetric'),
        dict(type='AveragePrecision'),
        dict(type='MultiLabelMetric', thr=0.2),
    ]
    return [METRICS.build(config) for config in configs]


def _plain(result: dict) -> dict:
    return {key: value.tolist() if isinstance(value, torch.Tensor) else value for key, value in result.items()}


def test_the_batch_size_does_not_matter() -> None:
    samples = _samples(*_scores())
    results = [_plain(_evaluate(_all_metrics(), samples, batch_size)) for batch_size in (1, 7, 101)]
    assert results[0] == results[1] == results[2]


def test_the_number_of_processes_does_not_matter(tmp_path: Path) -> None:
    """101 samples on two processes: one is padded with a sample that must not be counted twice."""
    environment = dict(os.environ, WORLD_SIZE='2', OMP_NUM_THREADS='1')
    processes = []
    for rank in range(2):
        command = [sys.executable, __file__, str(tmp_path / f'{rank}.json')]
        processes.append(subprocess.Popen(command, env=dict(environment, RANK=str(rank), LOCAL_RANK=str(rank))))
    try:
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    alone = _plain(_evaluate(_all_metrics(), _samples(*_scores())))
    for rank in range(2):
        assert json.loads((tmp_path / f'{rank}.json').read_text()) == alone


def _evaluate_a_share(out: str) -> None:
    """Evaluate this process's share of the samples, as MMEngine's sampler deals them, and write the result."""
    rank, world = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    meeting_point = Path(out).with_name('meeting_point').as_uri()
    torch.distributed.init_process_group('gloo', init_method=meeting_point, rank=rank, world_size=world)
    samples = _samples(*_scores())
    padded = samples + samples[:-len(samples) % world]
    evaluator = Evaluator(_all_metrics())
    share = padded[rank::world]
    for start in range(0, len(share), 16):
        evaluator.process(share[start:start + 16])
    Path(out).write_text(json.dumps(_plain(evaluator.evaluate(len(samples)))))
    close_distributed()


if __name__ == '__main__':
    _evaluate_a_share(sys.argv[1])
