"""Averaged weights, measured instead of the trained ones, or beside them."""
from typing import Any

import torch
from mmengine.hooks import EMAHook as MMEngineEMAHook
from mmengine.runner import BaseLoop, Runner
from mmengine.runner.amp import autocast

from ftcls.engine.mmengine_compat import is_training
from ftcls.registry import HOOKS
from ftcls.utils.types import NonNegativeInt

__all__ = ['EMAHook']


@HOOKS.register_module()
class EMAHook(MMEngineEMAHook):
    """MMEngine's, with a choice of the weights that validations and tests measure.

    A checkpoint has the averaged weights as its weights, whatever is measured, and the trained ones beside them. With
    both choices the metrics of the trained weights are called ``accuracy/top1_origin``.

    Args:
        ema_type: The registered model that averages, ``'ExponentialMovingAverage'`` or another one of MMEngine.
        strict_load: Whether the averaged weights of a checkpoint must have the same names.
        begin_iter: Iteration to begin at; before it the average is the trained weights.
        begin_epoch: Epoch to begin at, instead.
        evaluate_on_ema: Measure the averaged weights.
        evaluate_on_origin: Measure the trained weights; always without ``evaluate_on_ema``.
        **kwargs: Arguments of ``ema_type``, for example ``momentum``, ``interval`` and ``update_buffers``.

    Example:
        >>> EMAHook(momentum=0.001, evaluate_on_origin=True).evaluate_on_ema
        True
    """

    def __init__(self,
                 ema_type: str = 'ExponentialMovingAverage',
                 strict_load: bool = False,
                 begin_iter: NonNegativeInt = 0,
                 begin_epoch: NonNegativeInt = 0,
                 evaluate_on_ema: bool = True,
                 evaluate_on_origin: bool = False,
                 **kwargs: Any) -> None:
        super().__init__(ema_type, strict_load, begin_iter, begin_epoch, **kwargs)
        self.evaluate_on_ema, self.evaluate_on_origin = evaluate_on_ema, evaluate_on_origin or not evaluate_on_ema

    def _swap_ema_parameters(self) -> None:
        """Exchange averaged and trained weights around a validation or a test, where the averaged are measured."""
        if self.evaluate_on_ema:
            super()._swap_ema_parameters()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Put the trained weights back, and measure them too if asked."""
        self._measure_origin(runner, runner.val_loop, 'val', metrics)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Put the trained weights back, and measure them too if asked."""
        self._measure_origin(runner, runner.test_loop, 'test', metrics)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take up the average; also in a test, so that it can measure the trained weights."""
        super().after_load_checkpoint(runner, checkpoint)
        if not is_training(runner) and 'ema_state_dict' in checkpoint:
            self._swap_ema_state_dict(checkpoint)

    @torch.no_grad()
    def _measure_origin(self, runner: Runner, loop: BaseLoop, split: str, metrics: dict[str, float] | None) -> None:
        self._swap_ema_parameters()
        if metrics is None or not (self.evaluate_on_ema and self.evaluate_on_origin):
            return
        with autocast(enabled=loop.fp16):
            for batch in loop.dataloader:
                loop.evaluator.process(data_samples=runner.model.test_step(batch), data_batch=batch)
        for name, value in loop.evaluator.evaluate(len(loop.dataloader.dataset)).items():
            metrics[f'{name}_origin'] = value
            runner.message_hub.update_scalar(f'{split}/{name}_origin', value)
