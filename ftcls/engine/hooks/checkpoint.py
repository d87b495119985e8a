"""Checkpoints of a run: apart from those of earlier runs, safe to load, exact to resume from, fitted to the model."""
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce_params, barrier, get_rank, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from ftcls.datasets.worker_seed import seed_workers, set_seeds
from ftcls.engine.mmengine_compat import (AtomicLocalBackend, checkpoint_source, drop_pretrained, is_resuming,
                                          is_training, keep_dataset_meta, make_plain, register_atomic_saving)
from ftcls.evaluation import resolve_rule
from ftcls.models.adapters import restart_adapter
from ftcls.registry import HOOKS
from ftcls.utils.checkpoint.adapter_files import add_base, check_base, drop_base, is_adapter
from ftcls.utils.checkpoint.folder import checkpoint_form, remove_drafts
from ftcls.utils.checkpoint.loading import checkpoint_meta, load_matched, not_finite, register_safe_loading
from ftcls.utils.checkpoint.matching import find_state_dict, match_state_dict, unwrap_model
from ftcls.utils.checkpoint.plain import from_plain
from ftcls.utils.checkpoint.report import LoadReport
from ftcls.utils.errors import CheckpointError
from ftcls.utils.log import warn
from ftcls.utils.names import enumerate_names
from ftcls.utils.types import Probability
from ..parameter_table import parameter_sources
from ..recording import REMEDY, DivergedError
from .disk_space import check_space
from .dry_run import DryRunHook

__all__ = ['CheckpointHook', 'SafeCheckpointHook']

_POINTER = 'last_checkpoint'


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's, which keeps a run's checkpoints apart from those of an earlier run in the same folder.

    Those that a run finds there, and does not resume from, are moved to ``earlier_run_1`` (``_2`` …), with a warning:
    otherwise an old ``best_….pth`` beside the new one, or an old ``last_checkpoint``, is taken for its own. A run that
    resumes moves only what was written past its point. Nothing is moved by a dry run, or on remote storage.

    A checkpoint (also the best one) is removed after the next one is whole; ``last_checkpoint`` is written in between.
    What a killed process left half-written or superseded is removed by the run that resumes.

    Whether more of the ``save_best`` metric is better is what the metric's class states (``higher_is_better``).

    Args: those of ``mmengine.hooks.CheckpointHook`` (``interval``, ``max_keep_ckpts``, ``save_best``, ``rule`` …), and
        adapter_only: Save a model with an adapter without the frozen weights of its backbone; what loads such a file,
            also to resume, takes them from where ``init_cfg`` says, and checks that they are the same.

    Raises:
        ConfigError: Before the first step, if ``rule`` contradicts the metric's class, or neither says it.
        CheckpointError: Before the first step, if not even one checkpoint fits on the disk.
    """
    _metrics: Sequence[BaseMetric] | None = None
    saved_step = -1  # the iteration of the last checkpoint

    def __init__(self, *args: Any, adapter_only: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.adapter_only = adapter_only

    def _init_rule(self, rules: Sequence[str | None], key_indicators: Sequence[str]) -> None:
        """Resolve the rule of each metric, once the metrics are known."""
        if len(rules) == 1:
            rules = list(rules) * len(key_indicators)
        if self._metrics is None or key_indicators == ['auto']:
            self.rules, self.key_indicators = list(rules), key_indicators
            return
        resolved = [resolve_rule('CheckpointHook', *pair, self._metrics) for pair in zip(rules, key_indicators)]
        super()._init_rule(resolved, key_indicators)

    def before_run(self, runner: Runner) -> None:
        """Give a Runner that ``ftcls.apis`` did not build the hook that makes its checkpoints load."""
        if not any(isinstance(hook, SafeCheckpointHook) for hook in runner.hooks):
            runner.logger.warning('not run by ftcls.apis: the config is not checked, and there is no preflight')
            hook = SafeCheckpointHook()
            runner.register_hook(hook)
            hook.before_run(runner)

    def before_train(self, runner: Runner) -> None:
        """Make way for the checkpoints of this run."""
        if self.save_best:
            self._metrics = [] if runner.val_loop is None else runner.val_loop.evaluator.metrics
            self._init_rule(self.rules, self.key_indicators)
        is_dry = any(isinstance(hook, DryRunHook) for hook in runner.hooks)
        if is_dry:  # MMEngine would remove those that are more than max_keep_ckpts
            runner.message_hub.runtime_info.pop('keep_ckpt_ids', None)
        if self.adapter_only and not is_resuming(runner):
            model = unwrap_model(runner.model)
            check_base(model, {} if checkpoint_source(runner) else parameter_sources(model))
        super().before_train(runner)
        self.file_backend = _LateRemoval(self.file_backend, runner.message_hub.runtime_info.get('superseded', ()))
        if '://' in str(self.out_dir):
            return
        barrier()  # `load_from` may be in this folder; all processes have read it now
        if is_main_process():
            self._make_way(runner, is_dry)
            check_space(runner, self, self._written(runner))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Leave out the weights beneath an adapter."""
        if self.adapter_only:
            drop_base(unwrap_model(runner.model), checkpoint)

    def save_now(self, runner: Runner, validating: bool = False) -> str:
        """Save where the run is: after an iteration, also within an epoch, or within the validation that follows it.

        A file beside those by epochs (``iter_N.pth``) is removed when the next one is whole.

        Returns:
            The path of the checkpoint.
        """
        step = runner.iter + (not validating)
        meta = dict(epoch=runner.epoch, iter=step, validation_due=True)
        if self.saved_step != step and not self.by_epoch:
            self._save_checkpoint_with_step(runner, step, meta)
        elif self.saved_step != step:
            self.file_backend.remove(f'iter_{step}.pth')  # once there is another
            self._write(runner, f'iter_{step}.pth', meta)
        return self.last_ckpt

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save a checkpoint, then remove the one that is more than ``max_keep_ckpts``."""
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                self.file_backend.remove(self.filename_tmpl.format(self.keep_ckpt_ids[0]))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self._write(runner, self.filename_tmpl.format(step), meta)

    def _write(self, runner: Runner, name: str, meta: dict) -> None:
        """Write a checkpoint, then the pointer to it, then remove what it supersedes."""
        _share_pending(runner)
        if stream := getattr(runner.train_loop, 'stream', None):  # of our loops
            meta = dict(validation_due=stream.before_validation is None) | meta
            meta['position'] = stream.position(meta['validation_due'])
        self.last_ckpt, self.saved_step = self.file_backend.join_path(self.out_dir, name), meta['iter']
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.message_hub.update_info('superseded', sorted(self.file_backend.superseded))
        settings = dict(save_optimizer=self.save_optimizer, save_param_scheduler=self.save_param_scheduler, **self.args)
        runner.save_checkpoint(
            self.out_dir, name, self.file_client_args, meta=meta, backend_args=self.backend_args, **settings)
        if is_main_process():
            AtomicLocalBackend().put(self.last_ckpt.encode(), Path(runner.work_dir) / _POINTER)
        self._remove_superseded(runner)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Save the best checkpoint so far, then remove the one before."""
        super()._save_best_checkpoint(runner, metrics)
        if self.save_best:
            self._remove_superseded(runner)

    def _remove_superseded(self, runner: Runner) -> None:
        """Remove what MMEngine or we noted for it, unless it is now the last or a best checkpoint."""
        info = runner.message_hub.runtime_info.items()
        keep = {Path(str(path)).name for key, path in info if key.startswith(('best_ckpt', 'last_ckpt'))}
        if is_main_process():
            self.file_backend.remove_noted(self.out_dir, keep)

    def _make_way(self, runner: Runner, is_dry: bool) -> None:
        """Move the checkpoints of an earlier run aside, and remove what a killed process left of this one."""
        folder, pointer = Path(self.out_dir), Path(runner.work_dir) / _POINTER
        source = checkpoint_source(runner) if is_resuming(runner) else None
        continues = source is not None and Path(source).resolve().parent == folder.resolve()
        whose, hint = 'of an earlier run', 'another --work-dir keeps runs apart, and --resume continues that run'
        if continues:
            whose, hint = f'past {Path(source).stem}, where this run resumes', 'another --work-dir keeps runs apart'
        moved = [file for file, is_past in self._written(runner).items() if is_past or not continues]
        latest = max((file for file in moved if not file.name.startswith('best_')), key=os.path.getmtime, default=None)
        if pointer.is_file() and (moved or not continues):
            moved.append(pointer)
        if not is_dry:
            remove_drafts(folder)
            self._remove_superseded(runner)
        if not moved:
            return
        aside = next(path for n in itertools.count(1) if not (path := folder / f'earlier_run_{n}').exists())
        names = enumerate_names([file.name for file in moved], most=4)
        text = f'{folder} has {len(moved)} checkpoint files {whose} ({names})'
        if is_dry:
            runner.logger.warning(f'{text}; the run would move them to {aside} ({hint})')
            return
        if latest is not None and not continues:
            hint = f'--resume {aside / latest.name} with another --work-dir continues that run'
        aside.mkdir()
        for file in moved:
            file.rename(aside / file.name)
        if continues and pointer in moved:
            AtomicLocalBackend().put(str(source).encode(), pointer)
        runner.logger.warning(f'{text}; they are moved to {aside}, so that none is taken for one of this run ({hint})')

    def _written(self, runner: Runner) -> dict[Path, bool]:
        """Return the run's own files of checkpoints, each with whether it is past the point where the run is."""
        form, written = checkpoint_form(self.filename_tmpl), {}
        for file in sorted(Path(self.out_dir).glob('*.pth')):
            if match := form.fullmatch(file.name):
                unit = match['unit'] or {True: 'epoch', False: 'iter'}[self.by_epoch]
                written[file] = int(match['own'] or match['number']) > getattr(runner, unit)
        return written


class _LateRemoval:
    """A file backend of MMEngine that removes a file when the next one is whole, not before."""

    def __init__(self, backend: Any, superseded: Iterable[str]) -> None:
        self._backend, self.superseded = backend, set(superseded)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def isfile(self, path: str) -> bool:
        """Let MMEngine call :meth:`remove`."""
        return True

    def remove(self, path: str) -> None:
        """Note the name of a file."""
        self.superseded.add(Path(path).name)

    def remove_noted(self, folder: str, keep: set[str]) -> None:
        """Remove the noted files from a folder, apart from those to keep."""
        for name in self.superseded - keep:
            path = self.join_path(folder, name)
            if self._backend.isfile(path):
                self._backend.remove(path)
        self.superseded &= keep


class _MakePlainLast(Hook):
    """Turns into plain types also what other hooks put into the checkpoint, and lets no broken weights be saved."""
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._expected: set[str] = set()

    def before_train(self, runner: Runner) -> None:
        self._expected = set(not_finite(unwrap_model(runner.model).state_dict()))  # a mask of -inf, for example

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if broken := [name for name in not_finite(checkpoint['state_dict']) if name not in self._expected]:
            at = f'at iteration {checkpoint["meta"]["iter"]} ({broken[0]} …)'
            raise DivergedError(f'{len(broken)} weights are NaN or infinite {at}; the last checkpoint stays. {REMEDY}')
        make_plain(checkpoint)


@HOOKS.register_module()
class SafeCheckpointHook(Hook):
    """Makes a run's checkpoints load under ``torch.load(weights_only=True)``, and what is loaded fit the model.

    - Saving: log histories, NumPy values and the like are turned into plain types, after all other hooks; the file
      appears complete or not at all.
    - Loading: everything is read by :func:`ftcls.utils.checkpoint.reading.read_checkpoint`, which runs no code. On
      resuming, the plain types are turned back, a checkpoint of another model is refused, and the model's
      ``Pretrained`` weights are not fetched, because the checkpoint replaces them. ``load_from`` takes files from
      anywhere (torchvision's, timm's, a bare state dict, ``module.`` before all names): names are matched to the
      model's, with a report in ``model.load_report``; a run that loads too little of it stops. Validation and testing
      need all of the model.
    - Every epoch starts with random numbers given by seed, epoch and rank, also in the processes that load images; a
      checkpoint within one has them. Dropout and augmentation in a resumed run are those of an uninterrupted one.
      Gradients that were accumulated and not used yet are kept.
    - Weights that became NaN or infinite are not saved: the run ends.

    Args:
        allow_partial: Continue where ``load_from`` gives less than ``min_loaded`` of the model or has a deeper
            network, or a test has untrained weights.
        min_loaded: Share of the model's tensors, classifier apart, that ``load_from`` must give.
        reseed: Set the random numbers at the start of each epoch.
    """
    priority = 'VERY_HIGH'  # before EMAHook and all others that look into a checkpoint that was loaded

    def __init__(self, allow_partial: bool = False, min_loaded: Probability = 0.95, reseed: bool = True) -> None:
        self.allow_partial, self.min_loaded, self.reseed = allow_partial, min_loaded, reseed
        register_safe_loading()
        register_atomic_saving()

    def before_run(self, runner: Runner) -> None:
        """Add the part that must come last on saving; drop ``Pretrained`` where a checkpoint will replace it."""
        if not any(isinstance(hook, _MakePlainLast) for hook in runner.hooks):
            runner.register_hook(_MakePlainLast(), priority='LOWEST')
        adapter_only = any(getattr(hook, 'adapter_only', False) for hook in runner.hooks)
        if is_resuming(runner) and checkpoint_source(runner) and not adapter_only:
            drop_pretrained(unwrap_model(runner.model))

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the random numbers from seed, epoch and rank."""
        if not self.reseed:
            return
        seed = (runner.seed + 1_000_003 * (runner.epoch + 1) + 7919 * get_rank()) % 2**32  # 1,000,003 is prime
        seed_workers(runner.train_dataloader.dataset, seed)
        set_seeds(seed)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add gradients that wait for their step, and turn the checkpoint into plain types."""
        if 'optimizer' in checkpoint and _are_pending(runner.optim_wrapper):
            gradients = {name: param.grad for name, param in unwrap_model(runner.model).named_parameters()}
            checkpoint['pending_gradients'] = {k: v.cpu().clone() for k, v in gradients.items() if v is not None}
        make_plain(checkpoint)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn plain types back, and fit the weights to the model, both in the dict that MMEngine then uses.

        Raises:
            CheckpointError: If the checkpoint cannot be resumed from, or too little of it fits the model.
        """
        model = unwrap_model(runner.model)
        source = checkpoint_source(runner) or 'the checkpoint'
        add_base(model, checkpoint)
        tensors, container = find_state_dict(checkpoint)
        for key in checkpoint.keys() - {'state_dict', 'ema_state_dict'}:
            checkpoint[key] = from_plain(checkpoint[key])
        if is_resuming(runner) and is_training(runner):
            _check_resumable(checkpoint, tensors, model, source)
            keep_dataset_meta(runner, checkpoint)
            runner.train_loop.resumed = checkpoint['meta']  # for our loops
            gradients = checkpoint.pop('pending_gradients', None) or {}
            for name, param in model.named_parameters():
                if name in gradients and param.requires_grad:
                    param.grad = gradients[name].to(param)
            return
        matched, report = match_state_dict(tensors, model)
        report.source, report.container = source, container
        if not (self.allow_partial or is_training(runner) or report.complete):
            raise CheckpointError(_untrained(report))
        way_on = 'SafeCheckpointHook(allow_partial=True)'
        load_matched(model, tensors, matched, report, self.allow_partial, self.min_loaded, way_on)
        if not any(map(is_adapter, matched)):
            restart_adapter(getattr(model, 'backbone', None))
        checkpoint['state_dict'] = model.state_dict()  # MMEngine's loader finds all names


def _are_pending(optim_wrapper: OptimWrapper) -> bool:
    """Tell whether there are gradients that no optimizer step has used yet."""
    return isinstance(optim_wrapper, OptimWrapper) and not optim_wrapper.should_update()


def _share_pending(runner: Runner) -> None:
    """Give all processes the mean of the gradients that wait for their step, so that one process can save them."""
    if _are_pending(runner.optim_wrapper):
        params = unwrap_model(runner.model).parameters()
        gradients = [param.grad for param in params if param.requires_grad and param.grad is not None]
        all_reduce_params(gradients, coalesce=False, op='mean')


def _untrained(report: LoadReport) -> str:
    reasons = report.expected | report.mismatched
    absent = [f'{name}: {reasons.get(name, "not in the file")}' for name in report.absent]
    return (f'{report.source} lacks weights that the model has: {enumerate_names(absent, 6)}. Give the checkpoint that '
            'this config trained, or set SafeCheckpointHook(allow_partial=True)')


def _check_resumable(checkpoint: dict, tensors: dict[str, torch.Tensor], model: nn.Module, source: str) -> None:
    """Raise a CheckpointError unless the checkpoint was written by a run of this very model."""
    missing = [key for key in ('meta', 'message_hub') if key not in checkpoint]
    if missing or 'epoch' not in checkpoint_meta(checkpoint):
        raise CheckpointError(f'{source} cannot be resumed from: it has no {", ".join(missing) or "epoch"} of a run. '
                              'To start a new run from its weights, give it as load_from, without --resume')
    if 'optimizer' not in checkpoint:  # MMEngine's best_….pth
        warn(f'{source} has no state of the optimizer: momentum starts from zero')
    for key in ('log_scalars', 'runtime_info', 'resumed_keys'):
        checkpoint['message_hub'].setdefault(key, {})
    _, report = match_state_dict(tensors, model)
    report.source = source
    changed = report.prefix or report.renamed
    if report.missing or report.mismatched or report.unexpected or report.expected or changed:
        raise CheckpointError(f'{source} was written by another model than the config describes:\n{report.summary()}\n'
                              'Resume with its own config, or start a new run from its weights with load_from')
    model.load_report = report
