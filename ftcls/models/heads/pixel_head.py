"""The head that predicts for each pixel whether it is foreground."""
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError
from ftcls.utils.tree import as_list
from ftcls.utils.types import Fraction, PositiveInt
from ..losses import CrossEntropyLoss, LabelSmoothLoss
from ..losses.base_loss import unreduced
from ..weight_init import InitCfg
from .cls_head import Feats, given_or_new, require

__all__ = ['PixelHead']

_IGNORED = 255  # in ``DataSample.gt_mask``
_PIPELINE = 'the pipeline must begin with LoadImageFromFile and LoadAnnotations and end with PackSegInputs'


def _short_names(losses: Sequence[nn.Module]) -> list[str]:
    """Return the names of losses in the log, each once: ``bce``, ``dice``, ``dice_2`` …"""
    names = [getattr(loss, 'short_name', '') or type(loss).__name__.removesuffix('Loss').lower() for loss in losses]
    counts = [names[:i].count(name) for i, name in enumerate(names, start=1)]
    return [f'{name}_{count}'.removesuffix('_1') for name, count in zip(names, counts)]


def _stack_masks(logits: torch.Tensor, data_samples: list[DataSample]) -> torch.Tensor:
    """Return the masks of the samples (N, H, W) uint8, on the device of logits (N, 1, H, W)."""
    height, width = logits.shape[-2:]
    masks = []
    for sample in data_samples:
        require(sample, 'gt_mask', _PIPELINE)
        mask = torch.as_tensor(sample.gt_mask)
        below, right = height - mask.shape[-2], width - mask.shape[-1]  # padded to the largest in the batch
        known = tuple(sample.metainfo.get('img_shape', mask.shape[-2:]))[:2]
        if mask.ndim != 2 or below < 0 or right < 0 or known != tuple(mask.shape):
            sizes = ['x'.join(map(str, shape)) for shape in (mask.shape, known)]
            raise DataError(f'the mask of {sample.get("img_path", "(no path)")} has size {sizes[0]}, its image '
                            f'after the pipeline {sizes[1]}: they must go through the same transforms')
        masks.append(F.pad(mask, (0, right, 0, below), value=_IGNORED))
    return torch.stack(masks).to(logits.device)


@MODELS.register_module()
class PixelHead(BaseModule):
    """Logit of foreground for each pixel, by a 1x1 convolution, named ``outc.conv`` as in public U-Net files.

    Args:
        in_channels: Channels of the features; an ``ImageSegmentor`` gives it.
        loss: The loss, or a list of them, whose sum is minimised and which are logged by name (``loss_bce``,
            ``loss_dice``). None for ``dict(type='BCEWithLogitsLoss')``.
        out_channels: Channels of the convolution. 1: the logit. 2, for files that were trained with two classes:
            background and foreground, the logit is their difference, whose sigmoid is the softmax over the two.
        threshold: Pixels with a higher probability are foreground.
        init_cfg: Where the weights come from; None for PyTorch's default.

    Example:
        >>> PixelHead(in_channels=8).predict((torch.rand(1, 8, 4, 4), ))[0].pred_prob.shape
        torch.Size([4, 4])
    """

    def __init__(self,
                 in_channels: PositiveInt | None = None,
                 loss: dict | nn.Module | Sequence[dict | nn.Module] | None = None,
                 out_channels: Literal[1, 2] = 1,
                 threshold: Fraction = 0.5,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg)
        if in_channels is None:
            raise ConfigError('PixelHead: in_channels is missing; an ImageSegmentor gives it')
        losses = as_list(dict(type='BCEWithLogitsLoss') if loss is None else loss)
        if not losses:
            raise ConfigError('PixelHead: loss=[]: at least one is needed')
        self.in_channels, self.threshold = in_channels, threshold
        self.outc = nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, out_channels, kernel_size=1)))
        self.loss_modules = nn.ModuleList(one if isinstance(one, nn.Module) else MODELS.build(one) for one in losses)
        for one in self.loss_modules:
            if type(one) in (CrossEntropyLoss, LabelSmoothLoss):  # By the very class: a subclass may take masks.
                raise ConfigError(f'PixelHead: loss={type(one).__name__} takes one class per image; use '
                                  'BCEWithLogitsLoss, DiceLoss, IoULoss, TverskyLoss, FocalLoss or BCEDiceLoss')
        self.loss_names = _short_names(self.loss_modules)

    def forward(self, feats: Feats) -> torch.Tensor:
        """Return the logits of foreground (N, 1, H, W) float of the last features, (N, C, H, W) float."""
        x = self.outc(feats[-1])
        return x[:, 1:] - x[:, :1] if x.shape[1] == 2 else x

    def loss(self, feats: Feats, data_samples: list[DataSample]) -> dict[str, torch.Tensor]:
        """Return each loss by its name, for example ``loss_bce``, () float32.

        Args:
            feats: Features; the last is used.
            data_samples: Samples with ``gt_mask``; smaller masks are padded with pixels that do not count.

        Raises:
            DataError: If a sample has no mask, or one of another size or other values.
        """
        logits = self(feats)
        target = _stack_masks(logits, data_samples)
        return {f'loss_{name}': loss(logits, target) for name, loss in zip(self.loss_names, self.loss_modules)}

    def loss_per_sample(self, feats: Feats, data_samples: list[DataSample]) -> torch.Tensor:
        """Return the sum of the losses of each sample, (N, ) float32, which does not depend on the batch.

        If a loss has no ``reduction_override``, each sample gets the loss of the batch.
        """
        logits = self(feats)
        target = _stack_masks(logits, data_samples)
        total = logits.new_zeros(len(logits), dtype=torch.float32)
        for loss in self.loss_modules:
            total = total + unreduced(loss, logits, target)
        return total

    def predict(self, feats: Feats, data_samples: list[DataSample | None] | None = None) -> list[DataSample]:
        """Return the samples (None for new ones) with ``pred_prob`` (H, W) float32 and ``pred_mask`` (H, W) uint8 set.

        Padding beyond the ``img_shape`` of a sample is cut off.
        """
        probs = self(feats).float().sigmoid()[:, 0]
        samples = given_or_new(data_samples, len(probs))
        for sample, prob in zip(samples, probs, strict=True):
            height, width = tuple(sample.metainfo.get('img_shape', prob.shape))[:2]
            prob = prob[:height, :width]
            sample.set_field(prob, 'pred_prob')
            sample.set_field((prob > self.threshold).to(torch.uint8), 'pred_mask')
        return samples
