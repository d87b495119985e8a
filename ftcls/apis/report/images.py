"""The images of a report as the network gets them: mistakes and their cause, masks, images that are there twice."""
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import torch
from mmengine.config import Config
from torch.utils.data import Dataset

from ftcls.apis.analysis.browse import denormalised, three_channels
from ftcls.apis.inference.model_zoo import get_model
from ftcls.apis.training.data_checks import MOST_COMPARED
from ftcls.apis.training.loaders import build_datasets
from ftcls.datasets.duplicates import Image, find_doubles, images_of, same_content
from ftcls.engine.hooks import data_digest
from ftcls.evaluation import DiceMetric, IoUMetric
from ftcls.evaluation.predictions import Predictions
from ftcls.utils import DataError, UserError
from ftcls.utils.names import command
from .contents import Example, Segment
from .judging import example_of, image_scores, is_known

__all__ = ['SplitImages', 'count_validation_images']

_MOST = 12  # mistakes
_MOST_DRAWN = 6  # masks


class SplitImages:
    """The images of predictions, found in their dataset.

    Args:
        cfg: The config of the run.
        checkpoint: Whose predictions they are.
        predictions: Of a split.

    Attributes:
        names: The path of each image, or what it is called.

    Raises:
        UserError: If the data or the weights are not there.
    """

    def __init__(self, cfg: Config, checkpoint: str, predictions: Predictions) -> None:
        self.cfg, self.predictions, split = cfg, predictions, predictions.split
        self.dataset = build_datasets(cfg, [split], predictions.classes or None)[0][split]
        if (size := len(self.dataset)) != (before := len(predictions.paths)):
            raise DataError(f'{split}_dataloader.dataset has {size:,} images now, and had {before:,}')
        self.model = get_model(cfg, checkpoint)
        self.names = [path or f'{split} sample {number}' for number, path in enumerate(predictions.paths)]

    def image_of(self, number: int) -> np.ndarray | None:
        """Return an image of the predictions by number, (H, W, 3) uint8, RGB; None if it cannot be read any more."""
        with suppress(UserError, OSError):
            return self._prepare(number)[2]
        return None

    def _prepare(self, number: int) -> tuple[dict, torch.Tensor, np.ndarray]:
        """Return the batch that an image makes before the data preprocessor, and after it as input and as an image."""
        packed = self.dataset[number]
        if (path := packed['data_samples'].get('img_path') or '') != self.predictions.paths[number]:
            raise DataError(f'{path} is where {self.predictions.paths[number]} was')
        batch = {key: [packed[key]] for key in ('inputs', 'data_samples')}
        data = self.model.data_preprocessor(batch, False)
        image = denormalised(data['inputs'][0], data['data_samples'][0], self.model.data_preprocessor)
        return batch, data['inputs'], three_channels(image)

    def mistakes(self) -> dict[int, Example]:
        """Return the mistakes that the model is most sure of, by their number in the predictions."""
        found = self.predictions
        sure = found.scores.max(axis=1, initial=0)
        if found.labels.ndim == 2:  # of several labels, the worst one counts
            sure = np.abs(found.scores - found.labels).max(axis=1)
        wrong = np.flatnonzero(is_known(found) & (image_scores(found)[1] < 100))
        numbers = wrong[np.argsort(-sure[wrong], kind='stable')][:_MOST].tolist()
        return {number: example_of(found, number, self.image_of(number)) for number in numbers}

    def explained(self, examples: dict[int, Example]) -> list[Example]:
        """Return examples of one label each with the class activation of their prediction.

        Raises:
            ConfigError: If the network has none.
        """
        from ftcls.visualization.cam import class_activation
        inputs = torch.cat([self._prepare(number)[1] for number in examples])
        maps = class_activation(self.model, inputs, self.predictions.predicted[list(examples)].tolist())
        return [example._replace(cam=cam) for example, cam in zip(examples.values(), maps)]

    @torch.no_grad()
    def segments(self) -> list[Segment]:
        """Return the Dice coefficient and the intersection over union of each mask, the worst first."""
        rows = []
        for number in np.argsort(image_scores(self.predictions)[1], kind='stable').tolist():
            drawn = ()
            if len(rows) < _MOST_DRAWN:
                batch, _, image = self._prepare(number)
                sample = self.model.val_step(batch)[0]
                height, width = sample.pred_mask.shape  # without what the preprocessor pads
                drawn = image[:height, :width], sample.pred_mask.cpu().numpy(), sample.gt_mask.cpu().numpy()
            counts = self.predictions.counts[number].tolist()
            scores = (100 * metric.score(*counts) for metric in (DiceMetric, IoUMetric))
            rows.append(Segment(self.names[number], *scores, *drawn))
        return rows

    def duplicates(self) -> list[tuple[str, str, str]]:
        """Return the images that are training images too ('shared') or are there with two labels ('conflict').

        Raises:
            DataError: If they are too many to compare.
        """
        train = build_datasets(self.cfg, ['train'], self.predictions.classes or None)[0]['train']
        found = []
        groups = _same_images({'train': train, self.predictions.split: self.dataset})
        for (kind, _), pairs in find_doubles(groups).items():
            if kind != 'copy':
                found += [(kind, image.name, first.name) for image, first in pairs]
        return found


def count_validation_images(cfg: Config, predictions: Predictions) -> int:
    """Return how many images of a test set are validation images too, by content; 0 if it is no test set.

    Raises:
        DataError: If they are too many to compare.
    """
    if predictions.split != 'test' or not cfg.get('val_dataloader'):
        return 0
    if predictions.data == data_digest(cfg, 'val'):
        return len(predictions.paths)
    groups = _same_images(build_datasets(cfg, ['val', 'test'], predictions.classes or None)[0])
    splits = ([image.split for image in group] for group in groups)
    return sum(names.count('test') for names in splits if 'val' in names)


def _same_images(datasets: Mapping[str, Dataset]) -> list[list[Image]]:
    """Return the groups of images of some splits that have the same content."""
    if sum(map(len, datasets.values())) > MOST_COMPARED:
        raise DataError(f'more than {MOST_COMPARED:,} images; {command("check_data")} compares them')
    return same_content([image for split, dataset in datasets.items() for image, _ in images_of(dataset, split)])
