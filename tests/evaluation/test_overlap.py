"""Dice and IoU against scikit-learn."""
import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from sklearn.metrics import f1_score, jaccard_score

from ftcls.engine.hooks import CheckpointHook
from ftcls.evaluation import DiceMetric, IoUMetric
from ftcls.registry import METRICS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError


def samples(count: int = 7, seed: int = 0) -> list[DataSample]:
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        truth = (rng.random((9, 11 + i)) < 0.3).astype(np.uint8)
        truth[rng.random(truth.shape) < 0.1] = 255
        prob = torch.tensor(rng.random(truth.shape), dtype=torch.float32)
        sample = DataSample(gt_mask=torch.tensor(truth), pred_prob=prob, pred_mask=(prob > 0.5).to(torch.uint8))
        out.append(sample)
    return out


def measure(data: list[DataSample], batch: int = 3, **kwargs) -> dict[str, float]:
    evaluator = Evaluator([DiceMetric(**kwargs), IoUMetric(**kwargs)])
    for start in range(0, len(data), batch):
        evaluator.process(data_samples=data[start:start + batch])
    return evaluator.evaluate(len(data))


@pytest.mark.parametrize('threshold', [None, 0.2, 0.9])
def test_agrees_with_scikit_learn(threshold):
    data = samples()
    pairs = []
    for sample in data:
        known = sample.gt_mask != 255
        pairs.append((sample.gt_mask[known].numpy(), (sample.pred_prob > (threshold
                                                                          or 0.5))[known].numpy().astype(int)))
    whole = [np.concatenate(side) for side in zip(*pairs)]
    expected = {
        'dice': np.mean([f1_score(*pair, zero_division=1) for pair in pairs]), 'dice_set': f1_score(*whole),
        'iou': np.mean([jaccard_score(*pair, zero_division=1) for pair in pairs]), 'iou_set': jaccard_score(*whole)
    }  # yapf: disable
    found = measure(data, threshold=threshold)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(100 * value, abs=1e-9), name


def test_whatever_the_batch_size():
    data = samples()
    assert measure(data, 1) == measure(data, 2) == measure(data, 7)


def test_empty_masks():
    empty, full = torch.zeros(4, 4, dtype=torch.uint8), torch.ones(4, 4, dtype=torch.uint8)
    perfect = DataSample(gt_mask=empty, pred_mask=empty)
    assert measure([perfect]) == dict(dice=100., dice_set=100., iou=100., iou_set=100.)
    for truth, predicted in ((empty, full), (full, empty)):
        assert set(measure([DataSample(gt_mask=truth, pred_mask=predicted)]).values()) == {0.}
    ignored = DataSample(gt_mask=torch.full((4, 4), 255, dtype=torch.uint8), pred_mask=full)
    assert set(measure([ignored]).values()) == {100.}


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_nothing_overflows(dtype):
    """32 masks of 512 x 512, all foreground: 8,388,608 pixels, where float16 ends at 65,504."""
    full = torch.ones(512, 512, dtype=torch.uint8)
    data = [DataSample(gt_mask=full, pred_prob=torch.ones(512, 512, dtype=dtype)) for _ in range(32)]
    assert measure(data, 32, threshold=0.5) == dict(dice=100., dice_set=100., iou=100., iou_set=100.)


def test_says_what_is_missing():
    mask = torch.zeros(4, 4, dtype=torch.uint8)
    with pytest.raises(DataError, match='LoadAnnotations'):
        measure([DataSample(pred_mask=mask)])
    with pytest.raises(ConfigError, match='pred_mask'):
        measure([DataSample(gt_mask=mask)])
    with pytest.raises(DataError, match='pixels'):
        measure([DataSample(gt_mask=mask, pred_mask=mask[:2])])
    with pytest.raises(ConfigError, match='threshold'):
        METRICS.build(dict(type='DiceMetric', threshold=2))
    with pytest.raises(DataError, match='empty'):
        DiceMetric().compute_metrics([])


def test_auto_keeps_the_best_dice():
    hook = CheckpointHook(save_best='auto')
    hook._metrics = [DiceMetric()]
    hook._init_rule(hook.rules, [next(iter(measure(samples())))])
    assert hook.key_indicators == ['dice'] and hook.rules == ['greater']
