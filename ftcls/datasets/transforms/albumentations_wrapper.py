"""Transforms of the package albumentations, which is optional."""
import inspect
import os
import random
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError, did_you_mean
from .base import IGNORED, BaseTransform, in_rgb, with_image

__all__ = ['Albumentations']

_KEYMAP = {'img': 'image', 'gt_mask': 'mask'}


@TRANSFORMS.register_module(name=['Albumentations', 'Albu'])
class Albumentations(BaseTransform):
    """Runs transforms of `albumentations <https://albumentations.ai>`_, 2.0 or newer, on image and mask together.

    albumentations gets the image in RGB, whatever the sample's order, and draws from NumPy's global generator. Where an
    image is filled, the mask gets 255 (ignored), unless the config sets ``fill_mask``.

    - reads: ``img``, ``channel_order`` ('bgr' if absent), ``gt_mask`` (if there)
    - changes: ``img``, ``gt_mask``
    - adds: ``img_shape``; after ``Normalize`` also ``img_norm_cfg``
    - removes: nothing

    Args:
        transforms: Dicts of ``type``, albumentations' name, and its arguments, which may be such dicts again.
        keymap: Name in the sample to albumentations' name of what is transformed; None for
            ``dict(img='image', gt_mask='mask')``.

    Raises:
        ConfigError: If albumentations is not installed, or has no such transform or argument.
    """

    builds_own_parts: ClassVar[bool] = True  #: the types inside are checked here, not with the config

    def __init__(self, transforms: Sequence[dict], keymap: dict | None = None) -> None:
        self.transforms, self.keymap = transforms, dict(keymap or _KEYMAP)
        if self.keymap.get('img') != 'image':
            raise ConfigError(f"Albumentations(keymap={keymap!r}): must have img='image'")
        self._normalizes = False
        library = _import_library()
        self._compose = library.Compose(self._build_all(library, transforms))

    def _build_all(self, library: ModuleType, configs: Any) -> list:
        if not isinstance(configs, Sequence) or isinstance(configs, str):
            raise ConfigError(f'Albumentations: transforms={configs!r} must be a list of dicts with a `type`')
        return [self._build(library, config) for config in configs]

    def _build(self, library: ModuleType, config: Any) -> Any:
        """Build one transform of albumentations; it would only warn of an unknown argument."""
        bases = (library.BasicTransform, library.BaseCompose)
        known = dict(inspect.getmembers(library, lambda one: inspect.isclass(one) and issubclass(one, bases)))
        arguments = dict(config) if isinstance(config, Mapping) else {}
        name = arguments.pop('type', None)
        if name not in known:
            raise ConfigError(f'Albumentations: {config!r} must be a dict whose `type` is one of its transforms'
                              f'{did_you_mean(str(name), known)}')
        accepted = inspect.signature(known[name]).parameters
        for key in arguments:
            if key not in accepted:
                raise ConfigError(f'Albumentations: {name} takes no argument {key!r}{did_you_mean(key, accepted)}')
        if 'transforms' in arguments:
            arguments['transforms'] = self._build_all(library, arguments['transforms'])
        if 'fill_mask' in accepted:
            arguments.setdefault('fill_mask', IGNORED)
        self._normalizes |= name == 'Normalize'
        try:
            return known[name](**arguments)
        except (TypeError, ValueError) as err:
            raise ConfigError(f'Albumentations: {name}({arguments}): {err}') from err

    def transform(self, results: dict) -> dict:
        """Run the transforms on the sample."""
        if 'gt_mask' in results and 'gt_mask' not in self.keymap:
            raise ConfigError(f"Albumentations(keymap={self.keymap!r}): the sample has a mask; add gt_mask='mask'")
        # albumentations seeds itself from the system; its parts share one generator, or they would draw equal numbers
        seed = int(np.random.randint(2**31))
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        others = {key: target for key, target in self.keymap.items() if key in results and key != 'img'}

        def change(img: np.ndarray) -> np.ndarray:
            out = self._compose(image=img, **{target: results[key] for key, target in others.items()})
            results.update({key: out[target] for key, target in others.items()})
            if not isinstance(out['image'], np.ndarray):
                raise ConfigError('Albumentations: leave out ToTensorV2; PackInputs makes the tensor')
            return np.atleast_3d(out['image'])

        img = in_rgb(results, change)
        if self._normalizes:
            results['img_norm_cfg'] = {'by': 'albumentations'}
        return with_image(results, img)


def _import_library() -> ModuleType:
    """Import albumentations, which is optional."""
    os.environ.setdefault('NO_ALBUMENTATIONS_UPDATE', '1')  # its import would look for updates on the internet
    try:
        import albumentations
    except ImportError as err:
        raise ConfigError('Albumentations: run `pip install albumentations` (with opencv-python-headless, which shares '
                          f'its folder with opencv-python) [{err}]') from err
    if not hasattr(albumentations.Compose, 'set_random_state'):
        raise ConfigError("Albumentations: the installed version is too old; run `pip install 'albumentations>=2.0'`")
    return albumentations
