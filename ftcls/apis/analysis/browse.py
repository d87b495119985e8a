"""Looking at a dataset as the network gets it; what tools/browse_dataset.py does."""
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from ftcls.apis.training.loaders import build_datasets, build_loaders
from ftcls.apis.training.sanity_checks import config_errors, first_samples
from ftcls.apis.training.train import check_config
from ftcls.config.resolve import EvalOptions, resolve
from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError
from ftcls.visualization import overlay_mask, plot_pictures

__all__ = ['browse_dataset']

_SHARES = 4  # so many parts of a mixed label are named at most


def browse_dataset(cfg: Config,
                   split: str = 'train',
                   number: int = 12,
                   out: str | os.PathLike = 'browse.png',
                   seed: int = 0) -> tuple[Path, list[str]]:
    """Draw samples of a dataset after all transforms and the data preprocessor, with their labels or masks.

    Args:
        cfg: The config; it is not changed.
        split: 'train', 'val' or 'test'; the batch augmentations of the training are drawn too.
        number: How many samples, spread evenly over the dataset.
        out: The PNG file to write.
        seed: Seed of the random transforms.

    Returns:
        The path of the file, and sentences on what is to be seen.

    Raises:
        UserError: If the config or the data is not as it says.
    """
    if number < 1:
        raise ConfigError(f'--number {number}: must be at least 1')
    if Path(out).suffix.lower() != '.png':
        raise ConfigError(f'--out {out}: must end in .png')
    options = EvalOptions()
    check_config(cfg, options)
    if not cfg.get(f'{split}_dataloader'):
        raise ConfigError(f'{split}_dataloader: missing; choose another --split')
    cfg = resolve(cfg, options).cfg
    settings = {**cfg.model}
    settings.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    with config_errors('model'):
        preprocessor = MODELS.build(settings).data_preprocessor
    np.random.seed(seed)
    torch.manual_seed(seed)
    datasets, report = build_datasets(cfg, [split])
    first_samples(datasets)
    dataset = datasets[split]
    chosen = np.linspace(0, len(dataset) - 1, min(number, len(dataset))).round().astype(int)
    images, samples = _preprocessed([dataset[int(i)] for i in chosen], preprocessor, split == 'train')
    drawings = [_drawing(image, sample) for image, sample in zip(images, samples)]
    titles = [_title(sample, report.classes) for sample in samples]
    path = plot_pictures(drawings, titles, out, f'{split}: {len(drawings)} of {len(dataset):,} samples')
    sizes = sorted({f'{image.shape[1]}x{image.shape[0]}' for image in images})
    return path, [*report.describe(build_loaders(cfg, datasets)), f'{len(drawings)} samples as the network gets them ({", ".join(sizes)}): {path}']


def _preprocessed(packed: Sequence[dict], preprocessor: nn.Module,
                  training: bool) -> tuple[list[np.ndarray], list[DataSample]]:
    """Send samples through the data preprocessor; return the pictures (H, W, C) uint8, RGB or grey, and the samples."""
    batches = [packed] if len({tuple(one['inputs'].shape) for one in packed}) == 1 else [[one] for one in packed]
    images, samples = [], []
    for batch in batches:
        data: dict[str, Any] = {key: [one[key] for one in batch] for key in ('inputs', 'data_samples')}
        data = preprocessor(data, training)
        for pixels, sample in zip(data['inputs'], data['data_samples']):
            images.append(_denormalised(pixels, sample, preprocessor))
            samples.append(sample)
    return images, samples


def _denormalised(pixels: torch.Tensor, sample: DataSample, preprocessor: nn.Module) -> np.ndarray:
    """Turn the network's input (C, H, W) float back into a picture (H, W, 3 or 1) uint8, RGB or grey."""
    mean, std = getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None)
    norm = sample.metainfo.get('img_norm_cfg')
    if norm is not None:  # the pipeline has normalised
        mean, std = (torch.tensor(norm[key]).view(-1, 1, 1) for key in ('mean', 'std'))
    if mean is not None:
        pixels = pixels * std + mean
    image = pixels.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    is_rgb = getattr(preprocessor, 'to_rgb', False) or sample.metainfo.get(
        'channel_order', 'bgr') == 'rgb' or (norm is not None and norm.get('to_rgb'))
    return image if image.shape[2] != 3 or is_rgb else image[..., ::-1]


def _drawing(image: np.ndarray, sample: DataSample) -> np.ndarray:
    """Return what is drawn of a sample, (H, W, 3) uint8: the picture, with its mask beside it where it has one."""
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    if 'gt_mask' not in sample:
        return image
    mask = torch.as_tensor(sample.gt_mask).cpu().numpy()
    below, right = image.shape[0] - mask.shape[0], image.shape[1] - mask.shape[1]
    mask = np.pad(mask, ((0, below), (0, right)), constant_values=255)  # what the preprocessor has padded
    return np.concatenate([image, overlay_mask(image, mask)], axis=1)


def _title(sample: DataSample, classes: Sequence[str] | None) -> str:
    """Return the labels, by name, or the share of foreground."""
    if 'gt_mask' in sample:
        mask = torch.as_tensor(sample.gt_mask)
        name = Path(sample.metainfo.get('img_path') or '').name
        return f'{name} {100 * (mask == 1).sum() / max(int((mask != 255).sum()), 1):.1f} %'.strip()
    named = [str(i) for i in range(10_000)] if classes is None else list(classes)
    if 'gt_score' in sample and len(sample.gt_score) <= len(named):
        shares = [(named[i], s) for i, s in enumerate(sample.gt_score.tolist()) if s > 0]
        if all(share == 1 for _, share in shares):
            return ', '.join(name for name, _ in shares) or 'no label'
        best = sorted(shares, key=lambda one: one[1], reverse=True)[:_SHARES]
        return ', '.join(f'{name} {share:.2f}' for name, share in best)
    if 'gt_label' in sample:
        return ', '.join(named[i] for i in sample.gt_label.tolist()) or 'no label'
    return 'no label'
