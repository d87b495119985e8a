"""Whether a model can take the labels that batch augmentation mixes."""
import copy
from typing import Any

import torch
from torch import nn

from ftcls.models.headed_model import HeadedModel
from ftcls.utils import ConfigError, UserError
from ftcls.utils.errors import unwrapped

__all__ = ['check_soft_labels']

_WHAT = ('data_preprocessor.batch_augments (or model.train_cfg) mixes labels into scores (N, classes), ')
_FIX = ("; take CrossEntropyLoss, LabelSmoothLoss(mode='original') or another loss of shares of classes, or remove "
        'batch_augments')
# The first class's share of a label, the last one has the rest: whole, most and least of it.
_SHARES = (1., 0.75, 0.25)


def check_soft_labels(model: HeadedModel, batch: Any) -> None:
    """Try, in eval mode and without drawing anything, whether head and loss heed labels that are shares of classes.

    Args:
        model: A model with a head; one without batch augmentation passes.
        batch: A batch as the dataloader gives it; it is not changed.

    Raises:
        ConfigError: If there are no scores, the loss cannot take them, or it gives the same for other shares.
    """
    if getattr(model.data_preprocessor, 'batch_augments', None) is None:
        return
    try:
        with torch.no_grad():
            data = model.data_preprocessor(copy.deepcopy(batch), training=False)
            feats = model.extract_feat(data['inputs'])
    except (UserError, RuntimeError, ValueError, IndexError):
        return  # the pass that comes next fails too, and says why; that is no matter of mixing
    samples = data['data_samples'] or []
    if not samples or any(sample is None or 'gt_score' not in sample for sample in samples):
        raise ConfigError(f'{_WHAT}but the training samples have no class as their label (masks cannot be mixed); '
                          'remove batch_augments')
    classes = len(samples[0].gt_score)
    if classes < 2:
        return
    try:
        with torch.no_grad():
            for sample in samples:
                sample.set_gt_score(_label(0.75, classes).to(sample.gt_score))
            model.head.loss(feats, samples)
            losses = _losses(getattr(model.head, 'loss_module', None), classes, data['inputs'].device)
    except torch.OutOfMemoryError:
        raise
    except (UserError, RuntimeError, ValueError, IndexError, TypeError) as err:
        said = unwrapped(err) if isinstance(err, UserError) else f'{type(err).__name__}: {err}'
        raise ConfigError(f'{_WHAT}which the head or its loss cannot take: {said}{_FIX}') from err
    if len(set(losses)) < len(losses):
        raise ConfigError(
            f'{_WHAT}but {type(model.head.loss_module).__name__} gives the same loss whatever share a class '
            f'has{_FIX}')


def _label(share: float, classes: int) -> torch.Tensor:
    """Return (classes, ) float with the share of the first class, and of the last what is left."""
    return torch.tensor([share] + [0.] * (classes - 2) + [1 - share])


def _losses(loss: nn.Module | None, classes: int, device: torch.device) -> list[float]:
    """Return the loss for each of the shares, with logits that differ by class; [] where the head has its own way."""
    if loss is None:
        return []
    logits = torch.linspace(-1, 1, classes, device=device)[None]
    return [round(float(loss(logits, _label(s, classes)[None].to(device), avg_factor=1)), 6) for s in _SHARES]
