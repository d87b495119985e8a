"""Staying close to the pretrained weights: L2-SP."""
from itertools import chain
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch.optim import Optimizer

from ftcls.engine.mmengine_compat import checkpoint_source, is_resuming
from ftcls.engine.optimizers.groups import Factor
from ftcls.engine.parameter_table import parameter_sources
from ftcls.registry import HOOKS
from ftcls.utils import CheckpointError, ConfigError
from ftcls.utils.checkpoint.matching import unwrap_model

__all__ = ['L2SPHook']

_KEY = 'l2sp_start'


@HOOKS.register_module()
class L2SPHook(Hook):
    """Pull pretrained weights to their starting point, and new ones to zero.

    L2-SP (Li, Grandvalet and Davoine 2018, `Explicit Inductive Bias for Transfer Learning
    <https://arxiv.org/abs/1802.01483>`_) is the penalty ``alpha / 2 * |w - w0|^2`` over the weights that were loaded
    from a file, with their values w0 there, and ``beta / 2 * |w|^2`` over the others. It replaces weight decay and
    acts where that does: its gradient, alpha * (w - w0), is added as the optimizer steps, once per step however many
    batches are accumulated, unscaled and after clipping, the same in all processes. The logged loss is without it.
    The starting point is kept in the checkpoints, so that a resumed run needs no pretrained file.

    Args:
        alpha: Strength of the pull to the starting point; 0 for none.
        beta: Strength of the pull to zero of what was not loaded.

    Raises:
        ConfigError: Before the first step, if nothing was loaded, or the optimizer decays weights too.
        CheckpointError: If the checkpoint to resume from was written without this hook.
    """
    priority = 'NORMAL'  # after SafeCheckpointHook, which turns plain types back and matches what is loaded

    def __init__(self, alpha: Factor = 0.01, beta: Factor = 0.01) -> None:
        self.alpha, self.beta = alpha, beta
        self._start: dict[str, torch.Tensor] | None = None
        self._pulled: dict[int, torch.Tensor] = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take the starting point of the run that is resumed."""
        if not is_resuming(runner):
            return
        if _KEY not in checkpoint:
            raise CheckpointError(f'{checkpoint_source(runner)} has no starting point for L2SPHook: written without it')
        self._start = checkpoint.pop(_KEY)

    def before_train(self, runner: Runner) -> None:
        """Remember the starting point, and act on each step of the optimizer from now on."""
        model, optim_wrapper = unwrap_model(runner.model), runner.optim_wrapper
        params = dict(model.named_parameters())
        if self._start is None:
            loaded = parameter_sources(model)
            self._start = {name: param.detach().clone() for name, param in params.items() if name in loaded}
        if not self._start:
            raise ConfigError('L2SPHook: nothing was loaded to start from; give model.backbone.init_cfg or load_from')
        if isinstance(optim_wrapper, OptimWrapperDict):
            raise ConfigError('L2SPHook: takes a single optimizer, not several')
        if decay := max(group.get('weight_decay') or 0. for group in optim_wrapper.param_groups):
            raise ConfigError(f'L2SPHook replaces weight decay {decay:g}: set optim_wrapper.optimizer.weight_decay=0')
        self._start = {name: value.to(params[name]) for name, value in self._start.items()}
        self._pulled = {id(params[name]): value for name, value in self._start.items()}
        optim_wrapper.optimizer.register_step_pre_hook(self._pull)

    @torch.no_grad()
    def _pull(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        """Add the penalty's gradient."""
        scale = getattr(optimizer, 'grad_scale', None)
        scale = 1. if scale is None else scale  # a fused optimizer divides by it
        for param in chain.from_iterable(group['params'] for group in optimizer.param_groups):
            if param.grad is None:
                continue
            if id(param) in self._pulled:
                param.grad += (param - self._pulled[id(param)]) * (self.alpha * scale)
            else:
                param.grad += param * (self.beta * scale)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep the starting point in checkpoints that can be resumed from."""
        if self._start is not None and 'optimizer' in checkpoint:
            checkpoint[_KEY] = {name: value.cpu() for name, value in self._start.items()}

    def preflight(self, runner: Runner) -> list[str]:
        """Return the line for :class:`PreflightHook`."""
        loaded, total = len(self._start), len(list(unwrap_model(runner.model).parameters()))
        strength = f'{self.alpha:g}/2 |w - w0|² over {loaded} loaded tensors'
        return [f'L2-SP: {strength}, {self.beta:g}/2 |w|² over {total - loaded} others']
