"""What a model predicted for each image of a split: kept by a run in one file, read by all that judge the run."""
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from ftcls.utils import DataError
from ftcls.utils.checkpoint.folder import whole
from ftcls.utils.checkpoint.restricted_pickle import RestrictedUnpickler
from ftcls.utils.names import command
from .metrics.overlap import count_pixels

__all__ = ['OUT_OF_FOLD', 'PredictionRecorder', 'Predictions', 'predictions_file']

OUT_OF_FOLD = 'out_of_fold'  #: the split of predictions of a fold's images by the run that has not seen them


def predictions_file(work_dir: str | os.PathLike, split: str) -> Path:
    """Return where a run keeps its predictions for ``split``: ``<work_dir>/predictions/<split>.npz``."""
    return Path(work_dir, 'predictions', f'{split}.npz')


@dataclass
class Predictions:
    """Labels and predictions for the N images of a split, in the order of the dataset; C classes.

    If datasets are joined, or parts of others, it is the order of the predictions. An image has one label, any number
    of labels, or a mask. Of masks only the counts of pixels are kept.

    Attributes:
        split: 'val', 'test' or 'out_of_fold'.
        checkpoint: Whose predictions they are: the path of the file from the work dir, '' if it is not known.
        data: Digest of the dataset's settings, '' if it is not known.
        classes: C names, a number where there is none.
        paths: N paths, '' for an image in memory.
        sample_idx: (N, ) int64, the numbers that the innermost dataset gives its images; -1 if there is none.
        labels: (N, ) int64, the true class, -1 if it is not known. If images have any number of labels, (N, C) int8 of
            0 and 1, or -1.
        predicted: What the model decided, in the form of ``labels``.
        scores: (N, C) float32, probabilities; (N, 0) if there are none.
        counts: (N, 3) int64, pixels that are foreground rightly (TP), wrongly (FP) and wrongly not (FN); (N, 0) if the
            images have no masks.

    Example:
        >>> sample = dict(gt_label=[1], pred_label=[0], pred_score=[.9, .1], img_path='a.png')
        >>> Predictions.from_samples([sample], classes=['cat', 'dog']).rows()[0]['predicted']
        'cat'
    """
    split: str
    checkpoint: str
    data: str
    classes: list[str]
    paths: list[str]
    sample_idx: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray
    counts: np.ndarray

    @classmethod
    def from_samples(cls,
                     samples: Iterable[Mapping | tuple],
                     split: str = '',
                     checkpoint: str = '',
                     classes: Sequence[str] = (),
                     data: str = '') -> 'Predictions':
        """Gather what a model made of images: a dict of a :class:`.DataSample` each, or what a recorder kept of it.

        Raises:
            DataError: If there is no sample.
        """
        kept = [sample if isinstance(sample, tuple) else _reduced(sample) for sample in samples]
        if not kept:
            raise DataError(f'{split or "predictions"}: there is no sample')
        if sorted(sample[1] for sample in kept) == list(range(len(kept))):
            kept.sort(key=itemgetter(1))
        paths, numbers, labels, predicted, scores, counts = zip(*kept)
        given = [label for label in (*labels, *predicted) if label is not None]
        width = max([len(scores[0]), len(classes), *(label.max(initial=-1) + 1 for label in given)])
        several = any(len(label) != 1 for label in given)
        names = [*classes, *map(str, range(len(classes), width))]
        encoded = (_encoded(some, width, several) for some in (labels, predicted))
        arrays = (np.array(numbers), *encoded, np.stack(scores), np.array(counts))
        return cls(split, checkpoint, data, names, list(paths), *arrays)

    @classmethod
    def from_pkl(cls, path: str | os.PathLike) -> 'Predictions':
        """Read what ``tools/test.py --out result.pkl`` wrote, mmpretrain's too; nothing in it is run.

        Raises:
            DataError: If it does not hold predictions, or there is no such file.
        """
        try:
            with open(path, 'rb') as file:
                return cls.from_samples(RestrictedUnpickler(file).load())
        except Exception as err:  # a damaged file can lead to any error
            raise DataError(f'{path} cannot be read ({err}); `{command("test")} … --out` writes predictions') from err

    @classmethod
    def load(cls, path: str | os.PathLike) -> 'Predictions':
        """Read a file of :meth:`save`; a damaged or missing one leads to various errors."""
        with np.load(path, allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
        texts = ('split', 'checkpoint', 'data', 'classes', 'paths')
        return cls(**values | {name: values[name].tolist() for name in texts})

    @classmethod
    def joined(cls, parts: Sequence['Predictions']) -> 'Predictions':
        """Return the predictions of several models for different images as one."""
        arrays = zip(*((p.sample_idx, p.labels, p.predicted, p.scores, p.counts) for p in parts))
        paths = sum((part.paths for part in parts), [])
        return cls(parts[0].split, '', '', parts[0].classes, paths, *map(np.concatenate, arrays))

    def save(self, path: Path) -> None:
        """Write all of it into one ``.npz`` file of plain arrays; others see the old file until it is complete."""
        with whole(path) as draft, draft.open('wb') as file:
            np.savez(file, **{key: np.asarray(value) for key, value in vars(self).items()})

    def name_of(self, label: np.ndarray) -> str:
        """Return the names of a row of ``labels`` or ``predicted``, joined by ``;``, '' if it is not known."""
        indices = np.flatnonzero(label == 1) if label.ndim else [label]
        return ';'.join(self.classes[index] for index in indices if index >= 0)

    def rows(self) -> list[dict[str, str]]:
        """Return a row of text for each image: path, number, label, prediction and the score of each class."""
        rows = []
        for path, number, *decided, scores in zip(self.paths, self.sample_idx, self.labels, self.predicted,
                                                  self.scores):
            label, predicted = map(self.name_of, decided)
            row = dict(img_path=path, sample_idx=str(number).replace('-1', ''), label=label, predicted=predicted)
            rows.append(row | {f'score {name}': f'{score:.6g}' for name, score in zip(self.classes, scores)})
        return rows


class PredictionRecorder(BaseMetric):
    """Gathers, beside an evaluator's metrics, what :class:`Predictions` keeps; it has no result of its own.

    The samples of all processes come in the order of the dataset, those that fill up the last batch left out.

    Attributes:
        samples: Those of the first evaluation since it was emptied, on the main process only.
    """
    default_prefix = ''  # An empty string and not None: for None, MMEngine warns that there is no prefix.
    samples: Sequence[tuple] = ()

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Keep what is needed of the samples of a batch; nothing of what is no sample, as a user's model may return."""
        self.results += [_reduced(sample) for sample in data_samples if isinstance(sample, Mapping)]

    def compute_metrics(self, results: list) -> dict:
        """Keep the samples of all processes."""
        self.samples = self.samples or results  # the trained weights may be measured after the averaged ones
        return {}


def _reduced(sample: Mapping) -> tuple:
    """Return what is kept of a sample: path, number, labels, predicted labels, scores (C, ), counts of pixels."""
    label, predicted, score = (_array(sample.get(key)) for key in ('gt_label', 'pred_label', 'pred_score'))
    if predicted is None and score is not None:
        predicted = score.argmax(keepdims=True)
    counts: Sequence[int] = ()
    if sample.get('pred_mask') is not None and sample.get('gt_mask') is not None:
        counts = count_pixels(*(torch.as_tensor(sample[key]) for key in ('gt_mask', 'pred_mask')))
    path, number = sample.get('img_path') or '', sample.get('sample_idx', -1)
    return str(path), int(number), label, predicted, np.float32([]) if score is None else score, counts


def _array(value: Any) -> np.ndarray | None:
    """Return labels or scores of an image as an array (k, )."""
    if value is None:
        return None
    array = torch.as_tensor(value).detach().cpu().reshape(-1)
    return array.float().numpy() if array.is_floating_point() and len(array) else array.numpy().astype(int)


def _encoded(labels: Sequence[np.ndarray | None], width: int, several: bool) -> np.ndarray:
    """Return labels in the form of :attr:`Predictions.labels`."""
    if not several:
        return np.array([-1 if label is None else label[0] for label in labels])
    rows = [np.full(width, -1) if label is None else np.isin(range(width), label) for label in labels]
    return np.array(rows, np.int8)
