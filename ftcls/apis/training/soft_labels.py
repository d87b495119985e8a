"""Whether a model can learn from the labels that batch augmentation mixes."""
import copy
from typing import Any

import torch

from ftcls.models.headed_model import HeadedModel
from ftcls.utils import ConfigError, UserError
from ftcls.utils.errors import describe_error

__all__ = ['check_soft_labels']

_WHAT = 'data_preprocessor.batch_augments (or model.train_cfg) mixes labels into scores (N, classes), '
_FIX = "; use CrossEntropyLoss, LabelSmoothLoss(mode='original') or another loss of shares, or remove batch_augments"
_SHARES = (1., 0.75, 0.25)  # shares of the first class in a label; the last class has the rest


@torch.no_grad()
def check_soft_labels(model: HeadedModel, batch: Any) -> None:
    """Check, in eval mode and without drawing anything, that head and loss use labels that are shares of classes.

    Args:
        model: A model with a head; one without batch augmentation passes.
        batch: A batch of the dataloader; it is not changed.

    Raises:
        ConfigError: If there are no scores, the loss cannot take them, or it gives the same for other shares.
    """
    if getattr(model.data_preprocessor, 'batch_augments', None) is None:
        return
    try:
        data = model.data_preprocessor(copy.deepcopy(batch), training=False)
        feats = model.extract_feat(data['inputs'])
    except (UserError, RuntimeError, ValueError, IndexError):
        return  # the pass that comes next fails too, and tells why
    samples = data['data_samples'] or []
    if not samples or any(sample is None or 'gt_score' not in sample for sample in samples):
        raise ConfigError(f'{_WHAT}but the training samples have no class (masks do not mix); remove batch_augments')
    if (classes := len(samples[0].gt_score)) < 2:
        return
    loss = getattr(model.head, 'loss_module', None)
    logits = torch.linspace(-1, 1, classes, device=data['inputs'].device)[None]
    try:
        for sample in samples:
            sample.set_gt_score(_label(0.75, classes).to(sample.gt_score))
        model.head.loss(feats, samples)
        labels = [_label(share, classes)[None].to(logits) for share in _SHARES]
        losses = [round(float(loss(logits, one, avg_factor=1)), 6) for one in labels if loss is not None]
    except torch.OutOfMemoryError:
        raise
    except (UserError, RuntimeError, ValueError, IndexError, TypeError) as err:
        raise ConfigError(f'{_WHAT}which the head or its loss cannot take: {describe_error(err)}{_FIX}') from err
    if len(set(losses)) < len(losses):
        raise ConfigError(f'{_WHAT}but {type(loss).__name__} gives the same loss for any shares{_FIX}')


def _label(share: float, classes: int) -> torch.Tensor:
    """Return (classes, ) float: the share of the first class, and the rest for the last."""
    return torch.tensor([share] + [0.] * (classes - 2) + [1 - share])
