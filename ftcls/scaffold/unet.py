"""From a folder of images and masks to the config of a U-Net."""
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ftcls.config.loading import parse_override
from ftcls.datasets import BinarySegDataset
from ftcls.datasets.headers import ImageHeader, scan_headers
from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.registry import DATASETS
from ftcls.utils import DataError
from ftcls.utils.names import enumerate_names
from .folder_report import loading_arguments, spread
from .mask_folders import MaskFolder
from .template import VAL_FRACTION, call, fill

__all__ = ['NewUNet', 'write_unet_config']

_MOST_READ = 64  # images, for mean and standard deviation
# Device: channels of the first stage, learning rate, crop, longest side, batch size, steps, the config that uses them.
_RECIPES = {
    True: (64, 0.001, 256, 1024, 8, 1200, 'configs/unet/unet_carvana.py, for a GPU'),
    False: (8, 0.01, 128, 512, 4, 400, 'configs/unet/unet_membrane.py, for a CPU')
}


@dataclass(frozen=True)
class NewUNet:
    """A written config of a U-Net, and what it was made from.

    Attributes:
        path: The config.
        folder: Where the images and masks are.
        facts: What was found, one sentence per line.
        why: Value to the reason for it.
    """
    path: Path
    folder: MaskFolder
    facts: list[str]
    why: dict[str, str]

    def describe(self) -> list[str]:
        """Return what was found and what was chosen, one sentence per line."""
        return [*self.facts, *(f'{name}: {why}' for name, why in self.why.items()), f'wrote {self.path}']


def write_unet_config(path: Path, folder: MaskFolder, settings: Sequence[str], seed: int, gpu: bool) -> NewUNet:
    """Look at images and masks, and write a config that trains a U-Net from random weights.

    Args:
        path: The config to write.
        folder: Where the images and masks are.
        settings: Arguments of :class:`BinarySegDataset` about the masks, as ``'foreground=1'``.
        seed: Of the run, and of the drawn split if there is one.
        gpu: Whether to choose a network for a GPU.

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
                     f'{coding["mask_name"]} in {mask_dir or folder.root}')
        facts.append(f'{split}: {_masks(dataset)}')
    if folder.left_out:
        facts.append(f'WARNING folders without images and masks, left out: {enumerate_names(folder.left_out)}')
    sizes = [_size(header) for header in scan_headers([image for paths in images.values() for image in paths])]
    shown = enumerate_names((f'{width}x{height}' for width, height in sorted(set(sizes))), 3)
    loading, lines = _loading(images['train'])
    facts += [*lines, f'sizes: {shown} pixels']
    count = len(images['train'])
    if 'val' not in images:
        count = round(count * (1 - VAL_FRACTION))
    values, why = _choose(count, sizes, gpu)
    values |= _data_lines(folder, seed) | loading
    values |= dict(path=path.as_posix(), root=os.fspath(folder.root), why=why, seed=seed)
    values['settings'] = '\n'.join(f'{name}={value!r},' for name, value in coding.items())
    values['facts'] = '\n'.join('# ' + ' '.join(line.split()) for line in facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(fill('unet_template.txt', values), encoding='utf-8')
    return NewUNet(path, folder, facts, why)


def _masks(dataset: BinarySegDataset) -> str:
    """Return what the masks hold.

    Raises:
        DataError: With the option of new_config.py that says what the values mean.
    """
    try:
        values = dataset.check_masks()
        hint = ''
        if values.kinds[1] > values.kinds[0] and dataset.coding.foreground == 'nonzero':
            hint = '; foreground is the larger part: for the reverse give `--masks foreground=0`'
        return f'masks hold {values.describe()}{hint}'
    except DataError as err:
        raise DataError(
            f'{err}; give the setting with `--masks NAME=VALUE`, for example `--masks foreground=1`') from None


def _size(header: ImageHeader) -> tuple[int, int]:
    """Return width and height as the image is shown."""
    size = header.width, header.height
    return size[::-1] if header.orientation >= 5 and header.format != 'TIFF' else size


def _choose(count: int, sizes: Sequence[tuple[int, int]], gpu: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return sizes, rate and length of the training for so many images, and the reasons."""
    channels, lr, crop, longest, batch, steps, source = _RECIPES[gpu]
    batch = min(batch, max(1, count))
    epochs = max(10, math.ceil(steps / math.ceil(count / batch)))
    largest, resizing = max(map(max, sizes)), ''
    if largest > longest:
        # as ResizeEdge rounds
        sizes = [tuple(longest * side // max(size) for side in size) for size in sizes]
        resizing = f"# sides of up to {largest} pixels cost time and memory\n" \
            f"dict(type='ResizeEdge', scale={longest}, edge='long'),"
    crop = max(16, min(crop, 16 * (min(map(min, sizes)) // 16)))
    why = dict(
        base_channels=f'{channels} channels in the first stage, from random weights, as in {source}',
        crop=f'crops of {crop} pixels, a multiple of 16, as in {source}',
        masks='what the masks mean: by default each value that is not 0 is foreground; foreground=0 is the reverse',
        eval_batch='images of one size make a batch; of different sizes, one at a time',
        lr=f'{lr} for {channels} channels, as in {source}',
        epochs=f'{epochs} epochs: at least {steps} steps, one crop of each image per epoch')
    return dict(
        base_channels=channels,
        lr=lr,
        batch=batch,
        epochs=epochs,
        val_interval=max(1, epochs // 10),
        crop=crop,
        resizing=resizing,
        eval_batch=batch if len(set(sizes)) == 1 else 1), why


def _loading(paths: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return how the images are read, with their channels and statistics, and what is said of it."""
    arguments, lines = loading_arguments(paths)
    read = LoadImageFromFile(**arguments)
    pixels = [read(dict(img_path=path))['img'] for path in spread(paths, _MOST_READ)]
    if all((img == img[..., :1]).all() for img in pixels):
        arguments['color_type'] = 'grayscale'
        pixels = [img[..., :1] for img in pixels]
    flat = np.concatenate([img.reshape(-1, img.shape[2])[::max(1, img.size // 100_000)] for img in pixels])
    mean, std = (statistic(flat, axis=0)[::-1].round(2).tolist() for statistic in (np.mean, np.std))
    lines.append(f'images: read as {arguments.get("color_type", "color")}')
    std = [max(value, 1.) for value in std]
    return dict(
        loading=call('LoadImageFromFile', arguments), channels=len(mean), mean=mean, std=std,
        to_rgb=len(mean) == 3), lines


def _data_lines(folder: MaskFolder, seed: int) -> dict[str, Any]:
    lines: dict[str, Any] = dict(num_workers=min(4, os.cpu_count() or 1))
    for split, (img_dir, mask_dir) in folder.splits.items():
        lines[f'{split}_data'] = f'img_dir={img_dir!r},\nmask_dir={mask_dir!r},'
    if 'val' not in folder.splits:
        drawn = '# a part of the images is drawn by name and seed, always the same\n'
        for split in ('val', 'train'):
            lines[f'{split}_data'] = f'{lines["train_data"]}\n{drawn}split={split!r},\nval_fraction={VAL_FRACTION},\n' \
                f'split_seed={seed},'
    lines['test_dataloader'] = '# no test images: the validation images choose the checkpoint, so that their score ' \
        'is too high\ntest_dataloader = val_dataloader'
    if 'test' in folder.splits:
        data = lines['test_data'].replace('\n', ' ')
        lines['test_dataloader'] = f'test_dataloader = dict(\n    val_dataloader,\n    dataset=dict(dataset, {data} ' \
            'pipeline=test_pipeline),\n)'
    return lines
