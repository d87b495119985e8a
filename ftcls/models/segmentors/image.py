"""The segmentor of images."""
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ..freezing import NormPolicy
from ..headed_model import HeadedModel, build_part, check_channels, check_word
from ..weight_init import InitCfg

__all__ = ['ImageSegmentor']


@MODELS.register_module()
class ImageSegmentor(HeadedModel):
    """A backbone, a decoder that returns to the image's size, a head that separates foreground from background.

    Images of any size are taken: the border is repeated below and at the right up to the next size that the backbone
    takes, and the predictions there are cut off again.

    Args:
        backbone: The backbone, or its config: ``UNet``, which needs no decoder, or any other that returns feature maps.
        decoder: The decoder, ``dict(type='UNetDecoder')``; None for none. Its ``in_channels`` are by default the
            backbone's ``out_channels``.
        head: The head, ``dict(type='PixelHead')``; its ``in_channels`` are by default the channels of what it gets.
        train_cfg: Must be empty: batch augmentations mix labels, not masks.
        data_preprocessor, freeze, norm_policy, init_cfg, adapter: See :class:`ImageClassifier`.

    Raises:
        ConfigError: If the parts do not fit together, or there is nothing to freeze.

    Example:
        >>> model = MODELS.build(dict(
        ...     type='ImageSegmentor', backbone=dict(type='UNet', base_channels=8), head=dict(type='PixelHead')))
        >>> model(torch.rand(2, 3, 50, 70)).shape
        torch.Size([2, 1, 50, 70])
    """

    truth_fields = ('gt_mask', )
    head_example: ClassVar[dict] = dict(type='PixelHead')

    def __init__(self,
                 backbone: dict | nn.Module,
                 decoder: dict | nn.Module | None = None,
                 head: dict | nn.Module | None = None,
                 data_preprocessor: dict | nn.Module | None = None,
                 train_cfg: dict | None = None,
                 freeze: str | Sequence[str] | None = None,
                 norm_policy: NormPolicy | Mapping[str, NormPolicy] = 'train',
                 init_cfg: InitCfg = None,
                 adapter: dict | None = None) -> None:
        if train_cfg:
            raise ConfigError(f'model.train_cfg={train_cfg!r}: batch augmentations are for classifiers; remove it')
        super().__init__(init_cfg, data_preprocessor)
        self.backbone = build_part(backbone, 'backbone')
        self.decoder = build_part(decoder, 'decoder', in_channels=self.backbone.out_channels)
        last = self.backbone if self.decoder is None else self.decoder
        self.head = build_part(head, 'head', in_channels=last.out_channels[-1])
        self.size_divisor = getattr(self.backbone, 'size_divisor', 32)  # the coarsest map of most encoders is a 32nd
        check_channels('decoder', self.decoder, self.backbone, self.backbone.out_channels)
        check_channels('head', self.head, last, last.out_channels[-1])
        self.freeze(freeze, norm_policy)
        self.adapt(adapter)

    def extract_feat(self, inputs: torch.Tensor, stage: str = 'decoder') -> tuple[torch.Tensor, ...]:
        """Return features of images (N, C, H, W) float.

        Args:
            inputs: (N, C, H, W) float.
            stage: 'backbone': the backbone's maps, of the padded images; 'decoder': one map of the size of the images,
                (N, C, H, W) float, what the head gets.
        """
        check_word('stage', stage, ('backbone', 'decoder'))
        height, width = inputs.shape[-2:]
        below, right = -height % self.size_divisor, -width % self.size_divisor
        padded = inputs
        if below or right:
            padded = F.pad(inputs, (0, right, 0, below), mode='replicate')
        feats = self.backbone(padded)
        if stage == 'backbone':
            return feats
        if self.decoder is not None:
            feats = self.decoder(feats)
        x = feats[-1]
        if x.ndim != 4:
            kind = type(self.backbone).__name__
            raise ConfigError(f'model.backbone: {kind} returns {tuple(x.shape)}; it needs feature maps (N, C, H, W)')
        if x.shape[-2:] != padded.shape[-2:]:
            # The head's 1x1 convolution gives the same before and after the interpolation.
            x = F.interpolate(x, size=padded.shape[-2:], mode='bilinear', align_corners=False)
        return (x[..., :height, :width], )
