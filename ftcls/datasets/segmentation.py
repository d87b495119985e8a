"""Images with masks of foreground and background."""
import os
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, MissingFileError, did_you_mean
from .base_dataset import BaseDataset
from .headers import IMAGE_SUFFIXES, ImageHeader, is_image, scan_headers
from .list_files import missing_hint
from .mask_values import MaskValues, count_values
from .transforms.mask_loading import MaskCoding, MaskValue

__all__ = ['BinarySegDataset', 'CarvanaDataset']


@DATASETS.register_module()
class BinarySegDataset(BaseDataset):
    """Images in one folder, their masks in another (or the same), one mask per image: ::

        data/membrane/              data_root='data/membrane'
        ├── images/                 img_dir
        │   └── 0.png               JPEG, PNG, GIF, BMP, TIFF, WebP
        └── masks/                  mask_dir
            └── 0_mask.png          mask_name='{stem}_mask.png'

    A split is drawn by the images' names, see :meth:`BaseDataset.draw_split`. :meth:`check_masks` compares
    all images with their masks, and the masks with what they are said to mean.

    Args:
        data_root: Folder that the others are relative to.
        img_dir: Folder of the images.
        mask_dir: Folder of the masks.
        mask_name: File name of an image's mask; ``{stem}`` is the image's name without its ending.
        foreground: 'nonzero' (any pixel that is not 0 or black), or one or several values. A value is an integer, which
            is an index in a mask with a palette, or a colour such as '#ff0000'.
        ignore_value: The value that is neither, which losses and metrics leave out; None for none.
        threshold: Pixels above it are foreground (with ``foreground=0``, the others), for soft or lossy masks; of a
            colour, the brightness counts. None compares the values as they are.
        alpha: True takes the mask from the alpha channel, False leaves that out; None stops if they differ.
        mask_orientation: How masks without an EXIF orientation lie whose image has one: 'image' turns them as it turns
            the image, 'own' leaves them. None decides by their size, and stops where both fit.
        **kwargs: The other arguments of :class:`BaseDataset`; ``classes`` gives the two other names, ``val_fraction``
            is 0.3 by default.

    Raises:
        MissingFileError: If a folder does not exist.
        DataError: If a folder has no images, an image no mask, or a mask no image.
        ConfigError: If ``mask_name`` has no ``{stem}``, or the settings of the masks contradict each other.
    """

    METAINFO = {'classes': ('background', 'foreground')}

    def __init__(self,
                 data_root: str = '',
                 img_dir: str = 'images',
                 mask_dir: str = 'masks',
                 mask_name: str = '{stem}_mask.png',
                 foreground: MaskValue | Annotated[Sequence[MaskValue], MinLen(1)] = 'nonzero',
                 ignore_value: MaskValue | None = None,
                 threshold: float | None = None,
                 alpha: bool | None = None,
                 mask_orientation: Literal['image', 'own'] | None = None,
                 **kwargs: Any) -> None:
        if mask_name.count('{stem}') != 1 or mask_name.count('{') != 1:
            raise ConfigError(f"mask_name={mask_name!r}: must contain {{stem}} once, such as '{{stem}}_mask.png'")
        self.mask_name = mask_name
        self.coding = MaskCoding(foreground, threshold, ignore_value, alpha, mask_orientation)
        if kwargs.get('split') is not None:
            kwargs.setdefault('val_fraction', 0.3)
        else:
            kwargs |= dict(val_fraction=None, split_seed=0)
        super().__init__('', data_root=data_root, data_prefix=dict(img_path=img_dir, mask_path=mask_dir), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return a dict of ``img_path``, ``mask_path`` and the fields of :class:`MaskCoding` for every image."""
        if len(self.CLASSES) != 2:
            raise ConfigError(f'classes={list(self.CLASSES)}: there must be two, background and foreground')
        coding = self.coding
        color_types = [getattr(step, 'color_type', '') for step in self.pipeline.transforms]
        if any(kind == 'unchanged' or kind.endswith('ignore_orientation') for kind in color_types):
            coding = replace(coding, mask_orientation='stored')  # not as EXIF says that they are shown
        return [dict(img_path=image, mask_path=mask, **vars(coding)) for image, mask in self._pairs()]

    def check_masks(self, headers: Mapping[str, ImageHeader] | None = None) -> MaskValues:
        """Compare all images with their masks by their headers, and count the masks' values.

        Args:
            headers: Path to header, if they have been read already.

        Raises:
            DataError: If a file cannot be read, two sizes differ, it is not clear which way up a mask lies, or the
                values do not fit what the settings say.
        """
        infos = [self.get_data_info(index) for index in range(len(self))]
        images, masks = [info['img_path'] for info in infos], [info['mask_path'] for info in infos]
        headers = headers or dict(zip(images + masks, scan_headers(images + masks)))
        way = infos[0]['mask_orientation']
        faults = [_pair_fault(headers[image], headers[mask], way) for image, mask in zip(images, masks)]
        if faults := list(filter(None, faults)):
            raise DataError(f'{faults[0]}{_more(faults)}')
        # the indices of a GIF whose greys are in order are its grey levels
        with_palette = [mask for mask in masks if headers[mask].mode == 'P' and headers[mask].format != 'GIF']
        if isinstance(self.coding.foreground, int) and 0 < len(with_palette) < len(masks):
            raise DataError(f'foreground={self.coding.foreground}: {with_palette[0]} has a palette, other masks grey '
                            'levels, and these are other numbers; save all in the same way, or give a colour')
        values = count_values(masks, self.coding)
        if fault := values.fault():
            raise DataError(f'{self.data_prefix["mask_path"]}: {fault}')
        return values

    def image_names(self, data_list: Iterable[dict]) -> list[str]:
        """Return the file name of each image without its ending: what a split is drawn by."""
        return [Path(info['img_path']).stem for info in data_list]

    def _pairs(self) -> list[tuple[str, str]]:
        """Return the paths of each image and its mask, sorted."""
        folder, mask_folder = self.data_prefix['img_path'], self.data_prefix['mask_path']
        images, masks = self._files(folder, 'img_dir'), self._files(mask_folder, 'mask_dir')
        before, after = self.mask_name.split('{stem}')
        if os.path.realpath(folder) == os.path.realpath(mask_folder):
            masks = [name for name in masks if name.startswith(before) and name.endswith(after)]
            images = sorted(set(images) - set(masks))
        image_of: dict[str, str] = {}
        for name in images:
            other = image_of.setdefault(f'{before}{Path(name).stem}{after}', name)
            if other != name:
                raise DataError(f'{folder}: {other!r} and {name!r} would have the same mask; rename or remove one')
        missing = sorted(set(image_of) - set(masks))
        orphans = sorted(set(masks) - set(image_of))
        if missing:
            image, mask = os.path.join(folder, image_of[missing[0]]), os.path.join(mask_folder, missing[0])
            hint = f'{did_you_mean(missing[0], orphans)}{_more(missing)}'
            raise DataError(f'{image} has no mask {mask!r}{hint}; add one, or change mask_name={self.mask_name!r}')
        if orphans:
            mask = os.path.join(mask_folder, orphans[0])
            raise DataError(f'{mask} is a mask without an image in {folder}{_more(orphans)}; add or remove one')
        return [(os.path.join(folder, image), os.path.join(mask_folder, mask)) for mask, image in image_of.items()]

    def _files(self, folder: str, argument: str) -> list[str]:
        """Return the names of the images in a folder, sorted."""
        if not os.path.isdir(folder):
            raise MissingFileError(f'no folder {folder!r}{missing_hint(folder)}; correct data_root or {argument}')
        names = sorted(n for n in os.listdir(folder) if not n.startswith('.') and is_image(os.path.join(folder, n)))
        if not names:
            raise DataError(f'{folder!r} has no images ({", ".join(IMAGE_SUFFIXES)}); correct data_root or {argument}')
        return names

    def class_counts(self) -> None:
        """Return None: images are not counted by class."""

    def extra_repr(self) -> list[str]:
        """Lines of ``repr`` about where the data is."""
        folder = self.data_prefix['mask_path']
        return [f'images: {self.img_prefix}', f'masks: {folder}, {self.mask_name}, {self.coding}']


@DATASETS.register_module()
class CarvanaDataset(BinarySegDataset):
    """Cars and their outlines (Kaggle's carvana-image-masking-challenge): 5,088 images of 1918x1280. ::

        data/carvana/               or, as public U-Nets have it
        ├── train/*.jpg             ├── imgs/*.jpg
        └── train_masks/*_mask.gif  └── masks/*_mask.gif

    Args:
        data_root: Folder of the two folders.
        img_dir: Folder of the images; None for the one of the two layouts that exists.
        mask_dir: Folder of the masks; None as for ``img_dir``.
        mask_name: See :class:`BinarySegDataset`.
        **kwargs: The other arguments of :class:`BinarySegDataset`.
    """

    def __init__(self,
                 data_root: str = '',
                 img_dir: str | None = None,
                 mask_dir: str | None = None,
                 mask_name: str = '{stem}_mask.gif',
                 **kwargs: Any) -> None:
        folders = ('imgs', 'masks')
        if os.path.isdir(os.path.join(os.path.expanduser(data_root), 'train_masks')):
            folders = ('train', 'train_masks')
        super().__init__(data_root, img_dir or folders[0], mask_dir or folders[1], mask_name, **kwargs)


def _more(names: Sized) -> str:
    return f' (and {len(names) - 1} more of this kind)' if len(names) > 1 else ''


def _pair_fault(image: ImageHeader, mask: ImageHeader, orientation: str | None) -> str | None:
    """Return why a mask does not fit its image; None if it does."""
    for header in (image, mask):
        if header.fault:
            return f'{header.path} {header.fault}'
    size, expected, stored = mask.shown, image.shown, (image.width, image.height)
    if orientation == 'stored':
        size, expected = (mask.width, mask.height), stored
    elif image.orientation != 1 and mask.orientation == 1 and orientation != 'own':
        if orientation is None and size == expected == stored:
            return (f'{image.path} has the EXIF orientation {image.orientation}, its mask {mask.path} none, and both '
                    "ways fit; set mask_orientation='image' for masks of the stored pixels, 'own' for images as shown")
        if orientation == 'image' or size != expected:
            expected = stored  # the mask is turned with the image
    if size != expected:
        turned = f' by its EXIF orientation {image.orientation}' if image.orientation != 1 else ''
        return (f'{image.path} is {expected[0]}x{expected[1]} pixels (width x height){turned}, its mask {mask.path} '
                f'{size[0]}x{size[1]}; resize one of them')
    return None
