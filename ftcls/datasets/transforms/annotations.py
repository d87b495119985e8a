"""Reading masks, and packing pictures with them."""
import os
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from PIL import Image

from ftcls.registry import TRANSFORMS
from ftcls.utils import DataError, MissingFileError
from .base import BaseTransform
from .formatting import PackInputs

__all__ = ['LoadAnnotations', 'MASK_MODES', 'PackSegInputs', 'binary_mask', 'stored_mask']

#: Pillow's modes of pictures with one channel.
MASK_MODES = ('1', 'L', 'P', 'I', 'I;16', 'I;16B', 'F')


def stored_mask(path: str | os.PathLike, foreground: str | int = 'nonzero') -> np.ndarray:
    """Read a mask as (H, W); with a palette, 0 is black for 'nonzero', and the index counts for a value.

    Raises:
        MissingFileError: If there is no such file.
        DataError: If it cannot be read, or has several channels.
    """
    try:
        with Image.open(path) as img:
            if img.mode not in MASK_MODES:
                raise DataError(f'the mask {path} has several channels ({img.mode}); a mask has one: save it again as '
                                "grey, Image.open(path).convert('L').save(path) with Pillow")
            if img.mode == 'P' and foreground == 'nonzero':
                return np.asarray(img.convert('RGB')).max(axis=2)
            return np.asarray(img).astype(np.uint8) if img.mode == '1' else np.array(img)
    except FileNotFoundError as err:
        raise MissingFileError(f'no mask at {path}; check data_root, mask_dir and mask_name of the dataset') from err
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError) as err:
        raise DataError(f'the mask {path} cannot be read: it is broken or cut off; replace it') from err


def binary_mask(stored: np.ndarray, foreground: str | int = 'nonzero', ignore_value: int | None = None) -> np.ndarray:
    """Turn stored values (H, W) into uint8: 0 background, 1 foreground, 255 where it is ``ignore_value``."""
    mask = ((stored != 0) if foreground == 'nonzero' else (stored == foreground)).astype(np.uint8)
    if ignore_value is not None:
        mask[stored == ignore_value] = 255
    return mask


@TRANSFORMS.register_module()
class LoadAnnotations(BaseTransform):
    """Read a picture's mask.

    - reads: ``mask_path``; ``foreground`` and ``ignore_value``, as :class:`BinarySegDataset` gives them; ``img_shape`` (if
      there, to hold the mask against it)
    - adds: ``gt_mask`` (H, W) uint8: 0 background, 1 foreground, 255 to be ignored
    - removes: nothing

    Raises:
        MissingFileError: If there is no such file.
        DataError: If it cannot be read, has several channels, or another size than the picture.
    """

    REQUIRED_KEYS: ClassVar[tuple[str, ...]] = ('mask_path', )

    def transform(self, results: dict) -> dict:
        """Read the mask at ``mask_path``."""
        foreground = results.get('foreground', 'nonzero')
        stored = stored_mask(results['mask_path'], foreground)
        mask = binary_mask(stored, foreground, results.get('ignore_value'))
        size = results.get('img_shape')
        if size is not None and tuple(size) != mask.shape:
            raise DataError(f'{results.get("img_path")} is {size[1]}x{size[0]} pixels, its mask {results["mask_path"]} '
                            f'{mask.shape[1]}x{mask.shape[0]} (width x height); LoadAnnotations stands right after '
                            'LoadImageFromFile')
        results['gt_mask'] = mask
        return results


@TRANSFORMS.register_module()
class PackSegInputs(PackInputs):
    """Pack a picture and its mask for the model; :class:`PackInputs` that also keeps the mask's path.

    - reads: ``img``; ``gt_mask``, the ``algorithm_keys`` and the ``meta_keys``, as far as they are there
    - adds: ``inputs``, a tensor (C, H, W) of the image's dtype and channel order; ``data_samples``
    - removes: all other keys

    Args:
        input_key: As of :class:`PackInputs`.
        algorithm_keys: As of :class:`PackInputs`.
        meta_keys: As of :class:`PackInputs`.
    """

    DEFAULT_META_KEYS: ClassVar[tuple[str, ...]] = (*PackInputs.DEFAULT_META_KEYS, 'mask_path')

    def __init__(self,
                 input_key: str = 'img',
                 algorithm_keys: Sequence[str] = (),
                 meta_keys: Sequence[str] = DEFAULT_META_KEYS) -> None:
        super().__init__(input_key, algorithm_keys, meta_keys)
