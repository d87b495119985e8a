"""Drawings of a dataset as the network gets it; tools/browse_dataset.py calls it."""
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from ftcls.apis.inference.model_zoo import build_model
from ftcls.apis.training.loaders import build_datasets, build_loaders
from ftcls.apis.training.sanity_checks import config_errors, first_samples
from ftcls.apis.training.train import check_config
from ftcls.config.resolve import EvalOptions, resolve
from ftcls.datasets.worker_seed import set_seeds
from ftcls.structures import DataSample
from ftcls.utils import ConfigError
from ftcls.visualization import overlay_mask, plot_images

__all__ = ['browse_dataset', 'denormalised', 'three_channels']

_MAX_PARTS = 4  # of a mixed label


def browse_dataset(cfg: Config,
                   split: str = 'train',
                   number: int = 12,
                   out: str | os.PathLike = 'browse.png',
                   seed: int = 0) -> tuple[Path, list[str]]:
    """Draw samples of a dataset after all transforms and the data preprocessor, with their labels or masks.

    Args:
        cfg: The config; it is not changed.
        split: 'train', 'val' or 'test'; 'train' is drawn with its batch augmentations.
        number: How many samples, spread evenly over the dataset.
        out: The PNG file to write.
        seed: Of the random transforms.

    Returns:
        The path of the file, and sentences on what it shows.
    """
    if number < 1:
        raise ConfigError(f'--number {number}: must be at least 1')
    if Path(out).suffix.lower() != '.png':
        raise ConfigError(f'--out {out}: must end in .png')
    options = EvalOptions()
    cfg = resolve(check_config(cfg, options, f'{split}_dataloader', 'choose another --split'), options).cfg
    with config_errors('model'):
        preprocessor = build_model(cfg).data_preprocessor
    set_seeds(seed)
    datasets, report = build_datasets(cfg, [split])
    first_samples(datasets)
    dataset = datasets[split]
    chosen = np.linspace(0, len(dataset) - 1, min(number, len(dataset))).round().astype(int)
    images, samples = _preprocessed([dataset[int(i)] for i in chosen], preprocessor, split == 'train')
    drawings = list(map(_drawing, images, samples))
    titles = [_title(sample, report.classes) for sample in samples]
    path = plot_images(drawings, titles, out, f'{split}: {len(drawings)} of {len(dataset):,} samples')
    sizes = ', '.join(sorted({f'{image.shape[1]}x{image.shape[0]}' for image in images}))
    lines = report.describe(build_loaders(cfg, datasets))
    return path, [*lines, f'{len(drawings)} samples as the network gets them ({sizes}): {path}']


def _preprocessed(packed: Sequence[dict], preprocessor: nn.Module,
                  training: bool) -> tuple[list[np.ndarray], list[DataSample]]:
    """Apply the data preprocessor; return the images (H, W, C) uint8, RGB or grey, and the samples."""
    is_one_size = len({one['inputs'].shape for one in packed}) == 1
    images, samples = [], []
    for batch in [packed] if is_one_size else [[one] for one in packed]:
        data = preprocessor({key: [one[key] for one in batch] for key in ('inputs', 'data_samples')}, training)
        samples += data['data_samples']
        images += [denormalised(*pair, preprocessor) for pair in zip(data['inputs'], data['data_samples'])]
    return images, samples


def denormalised(pixels: torch.Tensor, sample: DataSample, preprocessor: nn.Module) -> np.ndarray:
    """Turn the network's input (C, H, W) float back into an image (H, W, 3 or 1) uint8, RGB or grey."""
    mean, std = getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None)
    is_rgb = getattr(preprocessor, 'to_rgb', False) or sample.metainfo.get('channel_order') == 'rgb'
    if norm := sample.metainfo.get('img_norm_cfg'):  # the pipeline has normalised
        mean, std = (torch.tensor(norm[key]).view(-1, 1, 1) for key in ('mean', 'std'))
        is_rgb = is_rgb or norm.get('to_rgb')
    if mean is not None:
        pixels = pixels * std + mean
    image = pixels.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    if image.shape[2] == 3 and not is_rgb:
        image = image[..., ::-1]
    return image


def three_channels(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, C) as (H, W, 3): its first three channels, or of one or two the first as grey."""
    return image[..., :3] if image.shape[2] > 2 else image[..., :1].repeat(3, axis=2)


def _drawing(image: np.ndarray, sample: DataSample) -> np.ndarray:
    """Return the image, with its mask beside it if it has one, (H, W, 3) uint8."""
    image = three_channels(image)
    if 'gt_mask' not in sample:
        return image
    mask = torch.as_tensor(sample.gt_mask).cpu().numpy()
    padding = [(0, image.shape[axis] - mask.shape[axis]) for axis in (0, 1)]  # by the preprocessor
    mask = np.pad(mask, padding, constant_values=255)
    return np.concatenate([image, overlay_mask(image, mask)], axis=1)


def _title(sample: DataSample, classes: Sequence[str] | None) -> str:
    if 'gt_mask' in sample:
        mask = torch.as_tensor(sample.gt_mask)
        name = Path(sample.metainfo.get('img_path') or '').name
        return f'{name} {100 * (mask == 1).sum() / max(int((mask != 255).sum()), 1):.1f} %'.strip()
    shares: dict[int, float] = {}
    if 'gt_score' in sample and (classes is None or len(sample.gt_score) <= len(classes)):
        shares = {i: share for i, share in enumerate(sample.gt_score.tolist()) if share > 0}
    elif 'gt_label' in sample:
        shares = dict.fromkeys(sample.gt_label.tolist(), 1)
    names = {i: str(i) for i in shares} | dict(enumerate(classes or ()))
    if set(shares.values()) - {1}:
        most = sorted(shares, key=shares.get, reverse=True)[:_MAX_PARTS]
        return ', '.join(f'{names[i]} {shares[i]:.2f}' for i in most)
    return ', '.join(map(names.get, shares)) or 'no label'
