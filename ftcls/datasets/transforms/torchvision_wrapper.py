"""Every transform of ``torchvision.transforms.v2``, under the name ``torchvision/<Name>``.

This module is imported when a config names one of them, because importing torchvision takes a second.
"""
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError, did_you_mean
from .base import IGNORED, BaseTransform, in_rgb, with_image

__all__ = ['AugMix', 'TORCHVISION_TRANSFORMS', 'TorchvisionTransform', 'TrivialAugmentWide']

# These work on batches, on boxes or key points, need a function that a config cannot contain, or give several images.
_LEFT_OUT = frozenset('CutMix MixUp Lambda ToTensor Transform LinearTransformation FiveCrop TenCrop ClampBoundingBoxes '
                      'ClampKeyPoints ConvertBoundingBoxFormat RandomIoUCrop SanitizeBoundingBoxes SanitizeKeyPoints '
                      'SetClampingMode UniformTemporalSubsample'.split())


class TorchvisionTransform(BaseTransform):
    """Runs a torchvision v2 transform on image and mask together.

    torchvision gets the image as an RGB tensor (C, H, W), whatever the sample's order, and the mask as one of its
    masks; the sample gets them back in its own layout. Where an image is filled (``fill``), the mask gets 255:
    ignored. Strings are turned into torch dtypes and interpolation modes, and nested transforms are dicts with a
    ``type``, with or without ``torchvision/``. An image of Pillow (after
    :class:`NumpyToPIL`) stays one.

    - reads: ``img``, ``channel_order`` ('bgr' if absent), ``gt_mask`` (if there)
    - changes: ``img``, ``gt_mask``
    - adds: ``img_shape``; after ``torchvision/Normalize`` also ``img_norm_cfg``
    - removes: nothing
    """

    wrapped: Callable  #: The torchvision class; each registered subclass has its own.

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        arguments = {key: _from_config(key, value) for key, value in kwargs.items()}
        signature = inspect.signature(self.wrapped)
        if 'fill' in signature.parameters and not isinstance(arguments.get('fill'), dict):
            fill = arguments.get('fill', signature.parameters['fill'].default)
            arguments['fill'] = {tv_tensors.Mask: IGNORED, 'others': fill}
        try:
            self.t = self.wrapped(*args, **arguments)
        except (TypeError, ValueError) as err:
            name = self.wrapped.__name__
            raise ConfigError(f'torchvision/{name}({kwargs}): {err}; its arguments are {signature}') from err
        bins = getattr(self.t, 'num_magnitude_bins', None)
        if bins is not None and not 0 <= getattr(self.t, 'magnitude', 0) < bins:
            raise ConfigError(f'{self.wrapped.__name__}.magnitude={self.t.magnitude}: must be from 0 to {bins - 1}')

    def transform(self, results: dict) -> dict:
        """Run the transform on the sample."""
        img, mask = results['img'], results.get('gt_mask')
        if isinstance(img, Image.Image):  # after NumpyToPIL
            results['img'] = self._run([img])
            return results

        def change(img: np.ndarray) -> np.ndarray:
            inputs = [tv_tensors.Image(torch.tensor(np.ascontiguousarray(img.transpose(2, 0, 1))))]
            if mask is not None:
                inputs.append(tv_tensors.Mask(torch.tensor(mask)[None]))
            outputs = self._run(inputs)
            if mask is not None:
                outputs, moved = outputs
                results['gt_mask'] = moved[0].numpy().astype(mask.dtype)
            if not isinstance(outputs, torch.Tensor):
                outputs = F.pil_to_tensor(outputs)
            return outputs.numpy().transpose(1, 2, 0)

        out = in_rgb(results, change)
        if self.wrapped is v2.Normalize:
            results['img_norm_cfg'] = {'mean': self.t.mean, 'std': self.t.std, 'to_rgb': False}
        return with_image(results, np.ascontiguousarray(out))

    def _run(self, inputs: list[tv_tensors.TVTensor]) -> Any:
        """Call torchvision; some transforms refuse masks, some leave them as they are with a warning in each call."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings('ignore', message='.*currently passing through inputs')
                return self.t(*inputs)
        except (TypeError, ValueError, RuntimeError) as err:
            raise ConfigError(f'torchvision/{type(self).__name__} cannot be used on this sample: {err}') from err

    def __repr__(self) -> str:
        return f'torchvision/{self.t!r}'


def _from_config(key: str, value: Any) -> Any:
    """Turn what a config can contain into what torchvision takes."""
    modes = v2.InterpolationMode
    enums = {'interpolation': modes, 'interpolations': modes, 'policy': v2.AutoAugmentPolicy}
    if key in enums and isinstance(value, str):
        members = {member.value: member for member in enums[key]}
        if value.lower() not in members:
            raise ConfigError(f'{key}={value!r}: must be one of {", ".join(members)}{did_you_mean(value, members)}')
        return members[value.lower()]
    if key == 'dtype' and isinstance(value, str):
        dtype = getattr(torch, value.removeprefix('torch.'), None)
        if not isinstance(dtype, torch.dtype):
            raise ConfigError(f'dtype={value!r}: must be a torch dtype: uint8, float32, float16 …')
        return dtype
    if isinstance(value, dict) and 'type' in value:
        return _build_nested(value)
    if isinstance(value, list | tuple) and any(isinstance(item, dict) and 'type' in item for item in value):
        return [_from_config('', item) for item in value]
    return value


def _build_nested(config: dict) -> Any:
    """Build the torchvision transform inside a Compose, RandomApply …"""
    arguments = dict(config)
    name = str(arguments.pop('type')).removeprefix('torchvision/')
    if name not in TORCHVISION_TRANSFORMS:
        raise ConfigError(f'torchvision/{name} cannot be nested{did_you_mean(name, TORCHVISION_TRANSFORMS)}')
    return TORCHVISION_TRANSFORMS[name](**arguments).t


def _register_all() -> dict[str, type[TorchvisionTransform]]:
    """Register a subclass for each transform; return them by torchvision's name."""
    registered = {}
    for name, wrapped in sorted(vars(v2).items()):
        if not (inspect.isclass(wrapped) and issubclass(wrapped, v2.Transform)) or name in _LEFT_OUT:
            continue
        doc = f'``torchvision.transforms.v2.{name}`` on a sample.\n\n{inspect.getdoc(TorchvisionTransform)}'
        members = dict(wrapped=wrapped, __doc__=doc, __module__=__name__, __signature__=inspect.signature(wrapped))
        registered[name] = type(name, (TorchvisionTransform, ), members)
        TRANSFORMS.register_module(name=f'torchvision/{name}', module=registered[name])
    return registered


TORCHVISION_TRANSFORMS = _register_all()  #: The registered classes, by torchvision's own name.

TrivialAugmentWide, AugMix = (  # These also have a name of their own.
    TRANSFORMS.register_module(name=name, module=TORCHVISION_TRANSFORMS[name])
    for name in ('TrivialAugmentWide', 'AugMix'))
