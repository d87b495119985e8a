"""RegNetX (Radosavovic et al., `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`_)."""
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from ftcls.registry import MODELS
from ftcls.utils.types import PositiveInt
from ..weight_init import InitCfg
from .families import arch_values
from .resnet_blocks import Bottleneck
from .resnet_cifar import ResNet_CIFAR

__all__ = ['RegNet']

_KEYS = 'w0', 'wa', 'wm', 'group_w', 'depth', 'bot_mul'
# Width of the first block, slope and quantization of the widths, channels of a group, blocks, bottleneck.
_ARCHS = {'regnetx_400mf': (24, 24.48, 2.54, 16, 22, 1.0), 'regnetx_800mf': (56, 35.73, 2.28, 16, 16, 1.0)}
_ARCHS |= {'regnetx_1.6gf': (80, 34.01, 2.25, 24, 18, 1.0), 'regnetx_3.2gf': (88, 26.31, 2.25, 48, 25, 1.0)}
_ARCHS |= {'regnetx_4.0gf': (96, 38.65, 2.43, 40, 23, 1.0), 'regnetx_6.4gf': (184, 60.83, 2.07, 56, 17, 1.0)}
_ARCHS |= {'regnetx_8.0gf': (80, 49.56, 2.88, 120, 23, 1.0), 'regnetx_12gf': (168, 73.36, 2.37, 112, 19, 1.0)}


@MODELS.register_module()
class RegNet(ResNet_CIFAR):
    """RegNetX, with OpenMMLab's parameter names (``layer1.0.conv1`` …); torchvision's and timm's files load too.

    Args:
        arch: The size, or a dict of ``w0``, ``wa``, ``wm``, ``group_w``, ``depth`` and ``bot_mul``, as in the paper.
        base_channels: Not used, as in MMClassification.
        deep_stem: False; there is no other stem.
        others: See :class:`ResNet`; one value of ``strides`` and ``dilations`` for each stage, 4 in all sizes.

    Example:
        >>> RegNet('regnetx_400mf')(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 384, 2, 2])
    """

    default_init: ClassVar[tuple[dict, ...]] = ()
    stem_stride: ClassVar[int] = 2

    def __init__(self,
                 arch: Literal['regnetx_400mf', 'regnetx_800mf', 'regnetx_1.6gf', 'regnetx_3.2gf', 'regnetx_4.0gf',
                               'regnetx_6.4gf', 'regnetx_8.0gf', 'regnetx_12gf'] | dict,
                 in_channels: PositiveInt = 3,
                 stem_channels: PositiveInt = 32,
                 base_channels: PositiveInt = 32,
                 strides: Sequence[PositiveInt] = (2, 2, 2, 2),
                 dilations: Sequence[PositiveInt] = (1, 1, 1, 1),
                 out_indices: int | Sequence[int] = (3, ),
                 style: Literal['pytorch', 'caffe'] = 'pytorch',
                 deep_stem: Literal[False] = False,
                 avg_down: bool = False,
                 frozen_stages: int = -1,
                 conv_cfg: dict | None = None,
                 norm_cfg: dict | None = None,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 zero_init_residual: bool = True,
                 init_cfg: InitCfg = None) -> None:
        w0, wa, wm, group_width, depth, ratio = arch_values(arch, _ARCHS, _KEYS)
        steps = np.round(np.log1p(np.arange(depth) * wa / w0) / np.log(wm))
        widths, blocks = np.unique(np.round(w0 * wm**steps / 8) * 8, return_counts=True)
        self._groups = np.minimum(group_width, widths * ratio).astype(int)
        self._inner = (np.round(widths * ratio / self._groups) * self._groups).astype(int)
        self.stage_widths = (self._inner / ratio).astype(int).tolist()
        self.arch_settings = {depth: (Bottleneck, tuple(blocks.tolist()))}
        options = dict(in_channels=in_channels, stem_channels=stem_channels, base_channels=base_channels, style=style)
        options |= dict(strides=strides, dilations=dilations, out_indices=out_indices, avg_down=avg_down)
        options |= dict(frozen_stages=frozen_stages, conv_cfg=conv_cfg, norm_cfg=norm_cfg, norm_eval=norm_eval)
        options |= dict(with_cp=with_cp, zero_init_residual=zero_init_residual, init_cfg=init_cfg)
        super().__init__(depth, deep_stem, expansion=1, num_stages=len(blocks), **options)

    def _planes(self, stage: int) -> int:
        return self.stage_widths[stage]

    def _block_width(self, stage: int) -> dict:
        return dict(width=int(self._groups[stage]), groups=int(self._inner[stage] // self._groups[stage]))
