"""What a model predicts for the images of a test set, drawn in folders; their features."""
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from mmengine.config import Config
from torch.utils.data import Dataset

from ftcls.apis.inference.features import FeatureExtractor
from ftcls.apis.inference.inferencer import ValidationPipeline
from ftcls.apis.training.loaders import build_datasets
from ftcls.apis.training.train import check_config
from ftcls.config.resolve import EvalOptions
from ftcls.datasets.samplers import sample_labels
from ftcls.evaluation.predictions import Predictions
from ftcls.structures import DataSample
from ftcls.utils import DataError
from ftcls.utils.tree import as_list
from ftcls.visualization import UniversalVisualizer
from .predictions import predictions_of

__all__ = ['draw_results', 'read_results', 'sample_features']


def read_results(cfg: Config, result: str | os.PathLike) -> Predictions:
    """Return the predictions for the test set, else the validation set, of one label for each image.

    Args:
        cfg: The config that was tested.
        result: A checkpoint, or a ``.pkl`` that ``tools/test.py --out`` wrote.

    Raises:
        DataError: If the file belongs to another test set, or images do not have exactly one label.
    """
    if Path(result).suffix not in ('.pkl', '.pickle'):
        found = predictions_of(cfg, result, _split(cfg))
    else:
        (dataset, classes), found = _test_set(cfg), Predictions.from_pkl(result)
        if (len(found.paths), len(found.classes)) != (len(dataset), len(classes)):
            raise DataError(f'{result} has {len(found.paths):,} images, {len(found.classes)} classes; the '
                            f'{_split(cfg)} set {len(dataset):,}, {len(classes)}: give the config that was tested')
        found = replace(found, classes=list(classes))
    if found.labels.ndim != 1 or not found.scores.size or found.labels.min() < 0:
        raise DataError(f'{result}: each image must have one label, and a score for each class')
    return found


def draw_results(cfg: Config,
                 result: str | os.PathLike,
                 out_dir: str | os.PathLike,
                 topk: int = 20,
                 rescale_factor: float | None = None) -> dict[str, list[dict]]:
    """Draw the surest right predictions into the folder ``success``, and the surest wrong ones into ``fail``.

    Args:
        cfg, result: See :func:`read_results`.
        out_dir: The folder of both.
        topk: How many of each.
        rescale_factor: Of the images.

    Returns:
        Path, label, prediction and scores of all right (``success``) and wrong (``fail``) images, the surest first.
    """
    found, pipeline = read_results(cfg, result), ValidationPipeline(cfg)
    dataset, _ = _test_set(cfg, found.classes)
    order = np.argsort(-found.scores.max(axis=1), kind='stable')
    right = (found.predicted == found.labels)[order]
    kinds = dict(success=order[right], fail=order[~right])
    for name, indices in kinds.items():
        for rank, index in enumerate(indices[:topk], start=1):
            image = pipeline.read_to_draw(*_image(dataset, index))
            sample = DataSample().set_gt_label(found.labels[index]).set_pred_label(found.predicted[index])
            sample.set_pred_score(found.scores[index])
            file = Path(out_dir, name, f'{rank:03d}_{Path(found.paths[index]).stem or index}.png')
            drawn = dict(classes=found.classes, rescale_factor=rescale_factor, out_file=file)
            UniversalVisualizer().visualize_cls(image, sample, **drawn)
    rows = found.rows()
    return {name: [rows[index] for index in indices] for name, indices in kinds.items()}


def sample_features(extractor: FeatureExtractor,
                    stage: str = 'neck',
                    class_idx: Sequence[int] | None = None,
                    max_num_class: int = 20,
                    max_num_samples: int = 100) -> dict[str, np.ndarray]:
    """Return the features of some images of the test set, (N, C) float32 for the name of each class.

    Args:
        extractor: The model, and how its images are prepared.
        stage: 'backbone' (the mean of its last map), 'neck' or 'pre_logits'.
        class_idx: The numbers of the classes; None for the first ``max_num_class``. A class without images is left out.
        max_num_samples: Images of each class, the first ones.
    """
    dataset, names = _test_set(extractor.config, extractor.classes)
    labels = np.array([next(iter(several), -1) for several in sample_labels(dataset)])
    features = {}
    for label in [label for label in class_idx or range(len(names))[:max_num_class] if label in labels]:
        images, orders = zip(*(_image(dataset, index) for index in np.flatnonzero(labels == label)[:max_num_samples]))
        found = extractor(images, batch_size=32, channel_order=orders[0], stage=stage)
        maps = np.array([as_list(one)[-1].cpu().float().numpy() for one in found])
        features[names[label]] = maps.reshape(*maps.shape[:2], -1).mean(axis=2)
    return features


def _split(cfg: Config) -> str:
    return 'test' if cfg.get('test_dataloader') else 'val'


def _test_set(cfg: Config, classes: Sequence[str] | None = None) -> tuple[Dataset, Sequence[str]]:
    split = _split(cfg)
    datasets, report = build_datasets(check_config(cfg, EvalOptions()), [split], classes)
    return datasets[split], report.classes or ()


def _image(dataset: Dataset, index: int) -> tuple[str | np.ndarray, str | None]:
    """Return an image of a dataset, or its file, and the order of its channels."""
    info = dataset.get_data_info(int(index))
    return info.get('img', info.get('img_path')), info.get('channel_order')
