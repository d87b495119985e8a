"""Any classification network of torchvision as a backbone."""
import warnings
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError, did_you_mean
from ftcls.utils.types import PositiveInt
from ..weight_init import InitCfg
from . import wrapping
from .base_backbone import BaseBackbone, Stage, check_out_indices

__all__ = ['TorchvisionBackbone', 'build_torchvision', 'set_in_channels']

_LAST = 'last features'  # The key of the point where the classifier was cut off; a name of a module never has a space.


def build_torchvision(model_name: str, model_args: dict | None) -> nn.Module:
    """Build a classification network of torchvision with random weights; raise a ConfigError if there is none."""
    from torchvision import models as tv_models
    names = tv_models.list_models(module=tv_models)
    if model_name not in names:
        raise ConfigError(f'model_name={model_name!r}: torchvision has no such classification network'
                          f'{did_you_mean(str(model_name), names)}')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)  # GoogLeNet, Inception: of a change of their initialization
            return tv_models.get_model(model_name, weights=None, **(model_args or {}))
    except TypeError as err:
        raise ConfigError(f"model_args={model_args!r}: torchvision's {model_name} does not take them: {err}") from None


def set_in_channels(model: nn.Module, in_channels: int) -> None:
    """Replace the first convolution by one for images of ``in_channels`` channels."""
    name, old = next((name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d))
    if in_channels != old.in_channels:
        shape = old.out_channels, old.kernel_size, old.stride, old.padding
        model.set_submodule(name, nn.Conv2d(in_channels, *shape, bias=old.bias is not None))


def _cut_classifier(model: nn.Module) -> tuple[str, bool]:
    """Cut off the classifier; return the child whose input or output are the features, and whether it is the input.

    The classifier begins at the first linear layer or convolution of the last child that has parameters. If the layers
    before it in that child have parameters (ConvNeXt's norm), they are kept: their output are the features. Otherwise
    they are the feature map before the pooling, or, without a pooling layer, the input of the classifier.
    """
    name, child = [(n, c) for n, c in model.named_children() if list(c.parameters())][-1]
    if isinstance(child, nn.Sequential):
        kept = nn.Sequential(*takewhile(lambda layer: not isinstance(layer, (nn.Linear, nn.Conv2d)), child))
        if list(kept.parameters()):
            setattr(model, name, kept)
            return name, False
    setattr(model, name, nn.Identity())
    pools = [n for n, c in model.named_children() if isinstance(c, nn.AdaptiveAvgPool2d)]
    return [name, *pools][-1], True


@MODELS.register_module()
class TorchvisionBackbone(BaseBackbone):
    """A classification network of torchvision without its classifier.

    It returns feature maps (N, C, H, W); the last stage of networks that pool without a layer (DenseNet, MobileNetV2,
    ShuffleNet, MNASNet, ConvNeXt, MaxViT, ViT) is a vector (N, C), which :class:`GlobalAveragePooling` does not change.
    The stages are found by resolution, see :func:`ftcls.models.backbones.wrapping.find_stages`; in a ViT each block is
    one.

    Weights come through ``init_cfg``: ``dict(type='Pretrained', checkpoint='torchvision://resnet50')`` or a file. The
    parameters are torchvision's, under the prefix ``model.``.

    Args:
        model_name: Name of the network, as in ``torchvision.models.list_models()``.
        out_indices: Stages whose output is returned, 0 the first after the stem, -1 the last.
        frozen_stages, norm_eval, init_cfg: See :class:`BaseBackbone`.
        in_channels: Channels of the images.
        model_args: Further arguments of the network's constructor, for example ``dict(image_size=32)`` of a ViT.

    Example:
        >>> TorchvisionBackbone('mobilenet_v3_small')(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 576, 2, 2])
    """

    def __init__(self,
                 model_name: str,
                 out_indices: int | Sequence[int] = (-1, ),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 init_cfg: InitCfg = None,
                 model_args: dict | None = None,
                 in_channels: PositiveInt = 3) -> None:
        super().__init__(init_cfg, norm_eval=norm_eval)
        self.model = build_torchvision(model_name, model_args)
        set_in_channels(self.model, in_channels)
        last_point = _cut_classifier(self.model)

        points = {_LAST: (self.model.get_submodule(last_point[0]), last_point[1])}
        size = getattr(self.model, 'image_size', (model_args or {}).get('input_size', 224))  # ViT and MaxViT fix it
        self._stage_names, shapes, _ = wrapping.find_stages(self.model, wrapping.image_shape(in_channels, size), points)
        last = len(self._stage_names) - 2
        self.out_indices = check_out_indices(out_indices, last + 1, f"torchvision's {model_name}")
        self._points, self._shapes = {}, {}
        for i in self.out_indices:
            end = [name for name in self._stage_names[i + 1] if name in shapes][-1]  # the last unit that runs
            self._points[i], self._shapes[i] = (end, False), shapes[end]
        if last in self._points:
            self._points[last], self._shapes[last] = last_point, shapes[_LAST]
        self.out_channels = tuple(wrapping.channels_of(self._shapes[i]) for i in self.out_indices)
        self.freeze_stages(frozen_stages)

    def compile(self, **options: Any) -> None:
        """Raise a ConfigError: the feature maps are taken by hooks, where ``torch.compile`` breaks off."""
        raise ConfigError('compile: TorchvisionBackbone cannot be compiled; remove it, or use TIMMBackbone or ResNet')

    def stages(self) -> list[Stage]:
        """Return the modules from the input on: the stem, then each stage; see :class:`BaseBackbone`."""
        return wrapping.resolve(self.model, self._stage_names)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return feature maps (N, C, H', W') float, or (N, C) of some last stages, of images (N, C, H, W) float."""
        points = {i: (self.model.get_submodule(name), is_input) for i, (name, is_input) in self._points.items()}
        with wrapping.recorded(points) as kept:
            self.model(x)
        return tuple(wrapping.images_first(kept[i], self._shapes[i]) for i in self.out_indices)
