"""Losses and metrics of `mmpretrain` or `ftcls` on the same random inputs, over all combinations of their arguments.

python peer_numbers.py mmpretrain     prints what the peer gives as JSON; the test calls `numbers('ftcls')`
"""
import importlib
import itertools
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch

N, C = 12, 5
CLASS_WEIGHT, POS_WEIGHT = [0.2, 1.0, 3.0, 0.5, 2.0], [1.0, 2.0, 0.5, 3.0, 1.5]


def options(**choices: list) -> Iterator[dict[str, Any]]:
    """Yield every combination of the choices, without those that are None."""
    for values in itertools.product(*choices.values()):
        yield {key: value for key, value in zip(choices, values) if value is not None}


def cases() -> Iterator[tuple[str, dict, list[str]]]:
    """Yield a loss, its arguments, and the kinds of label that the peer takes."""
    common = dict(class_weight=[None, CLASS_WEIGHT], reduction=['none', 'mean', 'sum'])
    yield from (('CrossEntropyLoss', one, ['index', 'soft']) for one in options(**common))
    yield from (('CrossEntropyLoss', one, ['soft']) for one in options(use_soft=[True], **common))
    for one in options(use_sigmoid=[True], pos_weight=[None, POS_WEIGHT], **common):
        yield 'CrossEntropyLoss', one, ['several', 'soft']
    smooth = dict(label_smooth_val=[0.1], num_classes=[None, C], **common)
    for one in options(mode=[None, 'classy_vision'], use_sigmoid=[None, True, False], **smooth):
        yield 'LabelSmoothLoss', one, ['index', 'soft']
    for one in options(mode=['multi_label'], use_sigmoid=[None, True, False], **smooth):
        yield 'LabelSmoothLoss', one, ['several']
    for one in options(mode=['multi_label'], pos_weight=[POS_WEIGHT], **smooth):
        yield 'LabelSmoothLoss', one, ['several']
    common.pop('class_weight')
    for one in options(gamma=[None, 0.0, 1.5], alpha=[None, 0.4], **common):
        yield 'FocalLoss', one, ['index', 'several', 'soft']
    gammas = dict(gamma_pos=[None, 1.0], gamma_neg=[None, 0.0, 2.0], clip=[None, 0.0, 0.2], use_sigmoid=[None, False])
    for one in options(**gammas, **common):
        yield 'AsymmetricLoss', one, ['index', 'several', 'soft']


def losses(package: str) -> dict[str, list[float]]:
    """Return what every loss gives, by the case."""
    module = importlib.import_module(f'{package}.models.losses')
    gen = torch.Generator().manual_seed(0)
    pred = 3 * torch.randn(N, C, generator=gen)
    soft = torch.rand(N, C, generator=gen)
    labels = dict(
        index=torch.randint(0, C, (N, ), generator=gen),
        soft=soft / soft.sum(1, keepdim=True),
        several=(soft > .6).float())
    weight, found = torch.rand(N, generator=gen), {}
    for name, arguments, kinds in cases():
        loss = getattr(module, name)(**arguments)
        for kind, call in itertools.product(kinds, options(weight=[None, weight], avg_factor=[None, 7])):
            if 'avg_factor' in call and arguments['reduction'] == 'sum':
                continue  # the peer raises
            for override in (None, 'none', 'mean'):
                value = loss(pred, labels[kind], reduction_override=override, **call)
                found[f'{name} {arguments} {kind} {sorted(call)} {override}'] = value.flatten().tolist()
    return found


def metrics(package: str) -> dict[str, list]:
    """Return what every metric gives, by the case."""
    module = importlib.import_module(f'{package}.evaluation')
    gen = torch.Generator().manual_seed(0)
    score = torch.rand(40, C, generator=gen).softmax(1)
    label = torch.randint(0, C - 1, (40, ), generator=gen)  # the last class does not occur
    guess, found = torch.randint(0, C - 1, (40, ), generator=gen), {}
    thrs = (0., 0.22, None)
    for topk in ((1, ), (1, 3)):
        found[f'Accuracy {topk}'] = module.Accuracy.calculate(score, label, topk, thrs)
    found['Accuracy of labels'] = module.Accuracy.calculate(guess, label)
    for average in ('macro', 'micro', None):
        found[f'SingleLabelMetric {average}'] = module.SingleLabelMetric.calculate(score, label, thrs, average)
        found[f'SingleLabelMetric of labels {average}'] = module.SingleLabelMetric.calculate(
            guess, label, average=average, num_classes=C)
    found['ConfusionMatrix'] = module.ConfusionMatrix.calculate(score, label)
    found['ConfusionMatrix of labels'] = module.ConfusionMatrix.calculate(guess, label, C)
    several = (torch.rand(40, C, generator=gen) > .6).long()
    several[0] = 1
    doubtful = several.masked_fill(torch.rand(40, C, generator=gen) > .8, -1)
    score = torch.rand(40, C, generator=gen)
    for average, how in itertools.product(('macro', 'micro', None), (dict(), dict(thr=.3), dict(topk=2))):
        for kind, truth in (('sure', several), ('doubtful', doubtful)):
            given = module.MultiLabelMetric.calculate(score, truth.clone(), average=average, **how)
            found[f'MultiLabelMetric {kind} {average} {how}'] = given
    for average in ('macro', None):
        for kind, truth in (('sure', several), ('doubtful', doubtful)):
            found[f'AveragePrecision {kind} {average}'] = module.AveragePrecision.calculate(score, truth, average)
    for name, flag in itertools.product(('VOCMultiLabelMetric', 'VOCAveragePrecision'), (None, True, False)):
        metric = getattr(module, name)(difficult_as_positive=flag)
        metric.process(None, [
            dict(
                pred_score=row,
                gt_label=torch.nonzero(truth == 1)[:, 0],
                gt_label_difficult=torch.nonzero(doubt != truth)[:, 0].tolist())
            for row, truth, doubt in zip(score, several, doubtful)
        ])
        found[f'{name} {flag}'] = list(metric.compute_metrics(metric.results).values())
    return {case: [float(number) for number in flat(value)] for case, value in found.items()}


def flat(value: Any) -> Iterator[float]:
    """Yield the numbers in nested lists of tensors."""
    if isinstance(value, list | tuple):
        for one in value:
            yield from flat(one)
    else:
        yield from torch.as_tensor(value).flatten().tolist()


def numbers(package: str) -> dict[str, list[float]]:
    """Return what the losses and the metrics of a package give, by the case."""
    return losses(package) | metrics(package)


if __name__ == '__main__':
    warnings.simplefilter('ignore')
    print(json.dumps(numbers(sys.argv[1])))
