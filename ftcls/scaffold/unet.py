"""From a folder of images and masks to the config of a U-Net."""
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftcls.config.loading import parse_override
from ftcls.datasets import BinarySegDataset
from ftcls.datasets.headers import scan_headers
from ftcls.datasets.survey import spread
from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.registry import DATASETS
from ftcls.utils import DataError
from ftcls.utils.names import enumerate_names
from .folder_report import loading_arguments
from .mask_folders import MaskFolder
from .template import VAL_FRACTION, write_config

__all__ = ['write_unet_config']

_MOST_READ = 64  # images, for mean and standard deviation
_RECIPES = dict(
    cpu=dict(channels=16, lr=0.003, crop=192, side=512, batch=4, steps=1500, source='configs/unet/unet_membrane.py'),
    cuda=dict(channels=64, lr=0.001, crop=256, side=1024, batch=8, steps=1200, source='configs/unet/unet_carvana.py'))


def write_unet_config(path: Path, folder: MaskFolder, settings: Sequence[str], seed: int, device: str) -> list[str]:
    """Look at images and masks, write a config that trains a U-Net from random weights, and return what was found.

    Args:
        path: The config to write.
        folder: Where the images and masks are.
        settings: Arguments of :class:`BinarySegDataset` about the masks, as ``'foreground=1'``.
        seed: Of the run, and of the drawn split if there is one.
        device: 'cpu', or another that is taken for a GPU.

    Raises:
        DataError: If an image has no mask, or the masks' values do not say what is foreground.
    """
    coding = {'mask_name': folder.mask_name, **dict(parse_override(setting) for setting in settings)}
    facts, images = [], {}
    for split, (img_dir, mask_dir) in folder.splits.items():
        place = dict(type='BinarySegDataset', data_root=os.fspath(folder.root), img_dir=img_dir, mask_dir=mask_dir)
        dataset = DATASETS.build(place | coding)
        images[split] = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
        facts.append(f'{split}: {len(dataset)} images in {img_dir or folder.root}, with masks '
                     f'{coding["mask_name"]} in {mask_dir or folder.root}, which hold {_held(dataset)}')
    if folder.left_out:
        facts.append(f'WARNING folders without images and masks, left out: {enumerate_names(folder.left_out)}')
    values = _RECIPES.get(device, _RECIPES['cuda']) | _statistics(images['train'], facts)
    sizes = {header.shown for paths in images.values() for header in scan_headers(paths)}
    _fit(values, sizes, len(images['train']))
    facts.append('sizes: {} pixels'.format(enumerate_names((f'{w}x{h}' for w, h in sorted(sizes)), 3)))
    facts.append('U-Net of {channels} channels in the first stage, from random weights: {epochs} epochs, '
                 'at rate {lr}, at least {steps} steps, in batches of {batch} crops of {crop} pixels; channels, rate '
                 'and batches are those of {source}'.format_map(values))
    values |= dict(folder=os.fspath(folder.root), splits=folder.splits, coding=coding, facts=facts, seed=seed)
    write_config(path, 'unet_template.txt', **values)
    return facts


def _held(dataset: BinarySegDataset) -> str:
    """Return what the masks hold, or raise a DataError with the option of new_config.py that gives a setting."""
    try:
        values = dataset.check_masks()
    except DataError as err:
        raise DataError(f'{err}; give it by `--masks NAME=VALUE`, for example `--masks foreground=1`') from None
    is_default = dataset.coding.foreground == 'nonzero' and dataset.coding.threshold is None
    if is_default and values.kinds[1] > values.kinds[0]:
        return f'{values.describe()}, the larger part: for the reverse give `--masks foreground=0`'
    return values.describe()


def _fit(values: dict[str, Any], sizes: set[tuple[int, int]], count: int) -> None:
    """Fit the crop, batches and epochs of a recipe to (width, height) of the images and to their number."""
    largest, side = max(map(max, sizes)), values['side']
    if largest > side:
        sizes = {tuple(side * length // max(size) for length in size) for size in sizes}  # as ResizeEdge rounds
    epochs = max(10, math.ceil(values['steps'] * values['batch'] / (count * (1 - VAL_FRACTION))))
    crop = max(16, min(values['crop'], min(map(min, sizes)) // 16 * 16))
    values |= dict(largest=largest, eval_batch={1: values['batch']}.get(len(sizes), 1), epochs=epochs, crop=crop)


def _statistics(paths: Sequence[str], facts: list[str]) -> dict[str, Any]:
    """Return how the images are read, with their channels and statistics; add to the facts."""
    arguments, lines = loading_arguments(paths)
    read = LoadImageFromFile(**arguments)
    images = [read(dict(img_path=path))['img'] for path in spread(paths, _MOST_READ)]
    if all((img == img[..., :1]).all() for img in images):
        arguments['color_type'] = 'grayscale'
        images = [img[..., :1] for img in images]
    pixels = np.concatenate([img.reshape(-1, img.shape[2])[::max(1, img.size // 100_000)] for img in images])
    mean, std = pixels.mean(0)[::-1].round(2), pixels.std(0)[::-1].round(2).clip(1)
    facts += [*lines, f'images: read as {arguments.get("color_type", "color")}']
    return dict(loading=arguments, channels_in=len(mean), mean=mean.tolist(), std=std.tolist(), to_rgb=len(mean) == 3)
