"""Reading masks."""
import os
from typing import ClassVar

import numpy as np
from PIL import Image

from ftcls.registry import TRANSFORMS
from ftcls.utils import DataError, MissingFileError
from .base import IGNORED, BaseTransform

__all__ = ['LoadAnnotations', 'MASK_MODES', 'binary_mask', 'many_channels', 'stored_mask']

#: Pillow's modes of images with one channel.
MASK_MODES = ('1', 'L', 'P', 'I', 'I;16', 'I;16B', 'F')


@TRANSFORMS.register_module()
class LoadAnnotations(BaseTransform):
    """Read an image's mask.

    - reads: ``mask_path``; ``foreground`` and ``ignore_value``, as :class:`BinarySegDataset` gives them;
      ``img_shape`` (if there, to compare the mask with it)
    - adds: ``gt_mask`` (H, W) uint8: 0 background, 1 foreground, 255 to be ignored
    - removes: nothing

    Raises:
        MissingFileError: If the file does not exist.
        DataError: If it cannot be read, has several channels, or another size than the image.
    """

    REQUIRED_KEYS: ClassVar[tuple[str, ...]] = ('mask_path', )

    def transform(self, results: dict) -> dict:
        """Read the mask at ``mask_path``."""
        foreground = results.get('foreground', 'nonzero')
        stored = stored_mask(results['mask_path'], foreground)
        results['gt_mask'] = binary_mask(stored, foreground, results.get('ignore_value'))
        size = results.get('img_shape')
        if size is not None and tuple(size) != stored.shape:
            raise DataError(f'{results.get("img_path")} has shape {tuple(size)}, its mask {results["mask_path"]} '
                            f'{stored.shape}; put LoadAnnotations right after LoadImageFromFile')
        return results


def stored_mask(path: str | os.PathLike, foreground: str | int = 'nonzero') -> np.ndarray:
    """Read a mask as (H, W); with a palette, 0 is black for 'nonzero', and the index counts for a value.

    Raises:
        MissingFileError: If the file does not exist.
        DataError: If it cannot be read, or has several channels.
    """
    try:
        with Image.open(path) as img:
            if img.mode not in MASK_MODES:
                raise many_channels(path, img.mode)
            if img.mode == 'P' and foreground == 'nonzero':
                return np.asarray(img.convert('RGB')).max(axis=2)
            return np.array(img, dtype=np.uint8 if img.mode == '1' else None)
    except FileNotFoundError as err:
        raise MissingFileError(f'no mask at {path}; check data_root, mask_dir and mask_name') from err
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError) as err:
        raise DataError(f'the mask {path} cannot be read: it is broken or cut off; replace it') from err


def many_channels(path: str | os.PathLike, mode: str) -> DataError:
    """Return the error on a mask with several channels."""
    return DataError(f'the mask {path} has several channels ({mode}); a mask has one: save it again as grey, '
                     "Image.open(path).convert('L').save(path) with Pillow")


def binary_mask(stored: np.ndarray, foreground: str | int = 'nonzero', ignore_value: int | None = None) -> np.ndarray:
    """Turn stored values (H, W) into uint8: 0 background, 1 foreground, 255 at ``ignore_value``."""
    is_foreground = stored != 0 if foreground == 'nonzero' else stored == foreground
    mask = is_foreground.astype(np.uint8)
    if ignore_value is not None:
        mask[stored == ignore_value] = IGNORED
    return mask
