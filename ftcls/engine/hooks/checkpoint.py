"""Saving checkpoints, the best by any of our metrics among them."""
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook

from ftcls.registry import HOOKS

__all__ = ['CheckpointHook', 'GREATER_IS_BETTER']

#: Parts of metrics' names that tell that more of them is better; MMEngine's and those of our own metrics.
GREATER_IS_BETTER = (*MMEngineCheckpointHook._default_greater_keys, 'dice', 'iou', 'recall', 'f1-score')


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's, which for ``save_best='auto'`` also knows that more Dice and IoU are better.

    Args: those of ``mmengine.hooks.CheckpointHook`` (``interval``, ``max_keep_ckpts``, ``save_best``, ``rule`` …).
    """
    _default_greater_keys = list(GREATER_IS_BETTER)
