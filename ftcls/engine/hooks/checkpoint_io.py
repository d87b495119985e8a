"""Checkpoints of a run: written so that they load safely, read safely, fitted to the model."""
import logging
import random
from collections import OrderedDict

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from ftcls.datasets.worker_seed import seed_workers
from ftcls.engine.mmengine_compat import (checkpoint_source, drop_pretrained, is_resuming, is_training,
                                          keep_dataset_meta, make_plain, register_atomic_saving)
from ftcls.registry import HOOKS
from ftcls.utils.checkpoint.loading import (check_finite, check_report, find_state_dict, log_report, match_state_dict,
                                            register_safe_loading, unwrap_model)
from ftcls.utils.checkpoint.plain import from_plain
from ftcls.utils.checkpoint.report import LoadReport, fold_names
from ftcls.utils.errors import CheckpointError
from .pending_gradients import are_pending, average_pending, pending_gradients, restore_gradients

__all__ = ['SafeCheckpointHook']


class _MakePlainLast(Hook):
    """Turns into plain types also what other hooks put into the checkpoint."""
    priority = 'LOWEST'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        make_plain(checkpoint)


@HOOKS.register_module()
class SafeCheckpointHook(Hook):
    """Makes a run's checkpoints load under ``torch.load(weights_only=True)``, and what is loaded fit the model.

    - Saving: log histories, NumPy values and the like are turned into plain types, after all other hooks; the file
      appears whole or not at all.
    - Loading: everything goes through :func:`ftcls.utils.checkpoint.read_checkpoint`, which runs no code. On resuming the plain
      types are turned back, and a checkpoint that is not of this very model is refused; the model's ``Pretrained``
      weights are not fetched, since the checkpoint replaces them. ``load_from`` takes files from anywhere
      (torchvision's, timm's, a bare state dict, ``module.`` before all names): names are fitted to the model's, with a
      report kept as ``model.load_report``; too little of it stops the run. Testing and validation ask for all of the
      model, the classifier's weights too.
    - Every epoch starts from random numbers given by seed, epoch and rank, in the processes that load pictures too, so that
      dropout and augmentation in a resumed run go on as they would have without the break. (In a loop by iterations that
      holds for the start only.) Gradients that were accumulated and not used yet are kept.

    Args:
        allow_partial: Go on where ``load_from`` gives less than ``min_loaded`` of the model or holds a deeper network, or a
            test has untrained weights.
        min_loaded: Share of the model's tensors, classifier apart, that ``load_from`` must give (0 to 1).
        reseed: Set the random numbers at the start of each epoch.
    """
    # Before EMAHook and all others that look into a checkpoint that was loaded.
    priority = 'VERY_HIGH'

    def __init__(self, allow_partial: bool = False, min_loaded: float = 0.95, reseed: bool = True) -> None:
        self.allow_partial = allow_partial
        self.min_loaded = min_loaded
        self.reseed = reseed
        register_safe_loading()
        register_atomic_saving()

    def before_run(self, runner: Runner) -> None:
        """Add the part that must come last on saving; drop ``Pretrained`` where a checkpoint will replace it."""
        if not any(isinstance(hook, _MakePlainLast) for hook in runner.hooks):
            runner.register_hook(_MakePlainLast(), priority='LOWEST')
        if is_resuming(runner) and checkpoint_source(runner):
            drop_pretrained(unwrap_model(runner.model))

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the random numbers from seed, epoch and rank."""
        if not self.reseed:
            return
        # 1,000,003 is prime: no two epochs and ranks of a run share a seed.
        seed = (runner.seed + 1_000_003 * (runner.epoch + 1) + 7919 * get_rank()) % 2**32
        seed_workers(runner.train_dataloader.dataset, seed)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    def after_train_epoch(self, runner: Runner) -> None:
        """Let all processes agree on the gradients that wait for their step, before a checkpoint is written."""
        if are_pending(runner.optim_wrapper):
            average_pending(unwrap_model(runner.model))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn the checkpoint into plain types (once more after the other hooks, see :class:`_MakePlainLast`)."""
        if 'optimizer' in checkpoint and are_pending(runner.optim_wrapper):
            checkpoint['pending_gradients'] = pending_gradients(unwrap_model(runner.model))
        make_plain(checkpoint)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn plain types back, and fit the weights to the model, both in the dict that MMEngine then uses.

        Raises:
            CheckpointError: If the checkpoint cannot be resumed from, or too little of it fits the model.
        """
        model = unwrap_model(runner.model)
        source = checkpoint_source(runner) or 'the checkpoint'
        tensors, container = find_state_dict(checkpoint)
        for key in [k for k in checkpoint if k not in ('state_dict', 'ema_state_dict')]:
            checkpoint[key] = from_plain(checkpoint[key])
        if is_resuming(runner) and is_training(runner):
            _check_resumable(checkpoint, tensors, model, source)
            keep_dataset_meta(runner, checkpoint)
            restore_gradients(model, checkpoint.pop('pending_gradients', None) or {})
            return
        matched, report = match_state_dict(tensors, model)
        report.source, report.container = source, container
        if not self.allow_partial:
            if not is_training(runner) and not report.complete:
                raise CheckpointError(_untrained(report))
            check_report(report, tensors, model, self.min_loaded, 'SafeCheckpointHook(allow_partial=True)')
        check_finite(matched, source, allow=self.allow_partial)
        # What the file has not is filled in with the model's own values, so that MMEngine's loader finds all names.
        whole = OrderedDict(model.state_dict())
        whole.update(matched)
        checkpoint['state_dict'] = whole
        model.load_report = report
        log_report(report)


def _untrained(report: LoadReport) -> str:
    lines = [f'{report.source} lacks weights that the model has, and testing untrained ones means nothing:']
    lines += [
        f'  {name}: {report.mismatched.get(name) or report.expected.get(name, "not in the file")}'
        for name in report.absent[:6]
    ]
    if len(report.absent) > 6:
        lines.append(f'  and {len(report.absent) - 6} more: {fold_names(report.absent)}')
    lines.append('  train the model first, or give the checkpoint that this config trained; to go on all the same: '
                 'SafeCheckpointHook(allow_partial=True)')
    return '\n'.join(lines)


def _check_resumable(checkpoint: dict, tensors: dict[str, torch.Tensor], model: nn.Module, source: str) -> None:
    """Raise a CheckpointError unless the checkpoint was written by a run of this very model."""
    lacking = [k for k in ('meta', 'message_hub') if k not in checkpoint]
    if lacking or 'epoch' not in checkpoint['meta']:
        raise CheckpointError(
            f'{source} holds weights but not the state of a run (no {", ".join(lacking) or "epoch"}): it '
            'cannot be resumed from. To start a new run from its weights give it as load_from, without '
            'resume')
    if 'optimizer' not in checkpoint:  # MMEngine's best_….pth
        print_log(
            f'{source} holds no state of the optimizer: momentum and the like start afresh',
            logger='current',
            level=logging.WARNING)
    hub = checkpoint['message_hub']
    for key in ('log_scalars', 'runtime_info', 'resumed_keys'):
        hub.setdefault(key, {})
    _, report = match_state_dict(tensors, model)
    report.source = source
    if report.missing or report.mismatched or report.unexpected or report.expected or report.prefix:
        raise CheckpointError(
            'the checkpoint to resume from was written by another model than the config describes:\n'
            f'{report.summary()}\n  resume with the config it was made with, or give it as load_from to '
            'start a new run from its weights')
    model.load_report = report
