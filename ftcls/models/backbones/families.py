"""Base of the networks that bear MMClassification's names and that torchvision or timm builds."""
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ftcls.utils import ConfigError, DataError
from ftcls.utils.checkpoint.aligning import TensorOrder
from ftcls.utils.types import Size
from ..layers import build_norm
from . import wrapping
from .base_backbone import BaseBackbone, Stage, check_out_indices

__all__ = ['FamilyBackbone', 'arch_values']

_OUTPUT_NORMS = ('norm0', 'norm1', 'norm2', 'norm3')  # on what a stage gives out; MMClassification's names


def arch_values(arch: str | dict, archs: dict[str, tuple], keys: Sequence[str]) -> tuple:
    """Return the numbers of an architecture: of a name in ``archs``, or of a dict that must have all ``keys``."""
    if isinstance(arch, str):
        return archs[arch]
    if arch.keys() != set(keys):
        raise ConfigError(f'arch={arch!r}: a dict must have {", ".join(keys)}')
    return tuple(arch[key] for key in keys)


class FamilyBackbone(BaseBackbone):
    """Base of a family of networks: MMClassification's arguments and stages over another library's modules.

    A subclass builds the library's network and hands it to :meth:`take`, with the names of the modules of each stage.
    The weights of OpenMMLab, torchvision and timm load, whatever their names, see :class:`TensorOrder`.

    ``frozen_stages`` counts as in every backbone here: 0 the stem, k the stem and the first k stages.

    Attributes:
        first_output: What 0 in ``out_indices`` is, as in MMClassification's class of this name: 0 the stem, 1 the first
            stage after it.
        img_size: Sides of images that the network takes, in pixels.
    """

    first_output: ClassVar[int] = 1
    tensor_order: ClassVar[TensorOrder] = TensorOrder()
    img_size: Size = 64
    model: nn.Module

    def take(self,
             network: nn.Module,
             stage_names: Sequence[Sequence[str]],
             out_indices: int | Sequence[int] | None,
             frozen_stages: int,
             norm_cfg: dict | None = None,
             with_cp: bool = False,
             in_channels: int = 3,
             output_norm: Callable[[int], nn.Module] | None = None) -> None:
        """Keep the modules of a network that make its feature maps.

        Args:
            network: The library's network.
            stage_names: Names of the modules of the stem and of each stage, in the order in which they run.
            out_indices, frozen_stages, norm_cfg, with_cp, in_channels: The backbone's arguments.
            output_norm: Builds the layer on what the stage of an index gives out, which the next stage does not get.
        """
        for child in [name for name, _ in network.named_children()]:
            if not any(f'{name}.'.startswith(f'{child}.') for names in stage_names for name in names):
                delattr(network, child)
        network.is_init = True  # MMEngine would call a method `init_weights` of timm's, over what `init_cfg` says
        self.model = network
        self._stage_names = stage_names
        if norm_cfg:
            self._set_norms(norm_cfg)
        out_indices = -1 if out_indices is None else out_indices
        self.out_indices = check_out_indices(out_indices, len(stage_names) - self.first_output, type(self).__name__)
        for i in self.out_indices if output_norm else ():
            network.add_module(f'norm{i}', output_norm(i))
            stage_names[i + 1].append(f'norm{i}')
        _, shapes = wrapping.output_shapes(self, {}, wrapping.image_shape(in_channels, self.img_size))
        self.out_channels = tuple(map(wrapping.channels_of, shapes))
        if with_cp:
            self.checkpoint_gradients()
        self.freeze_stages(frozen_stages)

    def check_choice(self, key: str, value: Any, allowed: Sequence) -> None:
        """Raise a ConfigError if ``value`` is none of ``allowed``, the values that the library's network can have."""
        if value not in allowed:
            raise ConfigError(f'{key}={value!r}: {type(self).__name__} takes {" or ".join(map(repr, allowed))} only')

    def check_unset(self, **settings: Any) -> None:
        """Raise a ConfigError if one of the arguments is set, which the library's network does not have."""
        for key, value in settings.items():
            if value:
                raise ConfigError(f'{key}={value!r}: {type(self).__name__} has no such setting here; remove it')

    def check_size(self, images: torch.Tensor, least: int, scale: int) -> None:
        """Raise a DataError if a side of ``images`` is shorter than ``least`` pixels, with the remedy."""
        height, width = images.shape[2:]
        if min(height, width) < least:
            raise DataError(f'{type(self).__name__} takes images of at least {least} pixels here, got '
                            f"{height}x{width}; add dict(type='Resize', scale={scale}) to the pipeline")

    def _set_norms(self, norm_cfg: dict) -> None:
        """Give all BatchNorm layers the settings of ``norm_cfg``."""
        wanted = build_norm(norm_cfg, 1)
        if type(wanted) is not nn.BatchNorm2d:
            raise ConfigError(f"norm_cfg={norm_cfg!r}: {type(self).__name__} takes type='BN' only")
        for layer in self.modules():
            if isinstance(layer, _BatchNorm):
                layer.eps = wanted.eps
                layer.momentum = wanted.momentum
                layer.requires_grad_(wanted.weight.requires_grad)

    def stages(self) -> list[Stage]:
        """Return the modules from the input on: the stem, then each stage; see :class:`BaseBackbone`."""
        return wrapping.resolve(self.model, self._stage_names)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the feature maps (N, C, H', W') float of ``out_indices``, for images (N, C, H, W) float."""
        outs = []
        for i, names in enumerate(self._stage_names, start=-self.first_output):
            for name in names:
                if name not in _OUTPUT_NORMS:
                    x = self.model.get_submodule(name)(x)
            if i in self.out_indices:
                outs.append(self.output(i, x))
        return tuple(outs)

    def output(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Return what is given out of a stage's output ``x``, which goes on to the next stage as it is."""
        return x
