"""Work-arounds of MMEngine 0.10.7: every private access, and every fault of it that we mend, in one place.

=============================  =====================================================================================
name                           fault of MMEngine 0.10.7
=============================  =====================================================================================
:func:`unlocked_on_error`      a constructor that raises leaves the lock on all global instances held
:func:`quiet_run`              loggers, their files and the workers of a run stay open until the process ends
:class:`AtomicLocalBackend`    a checkpoint is written straight to its final name; a kill leaves half a file there
:func:`make_plain`             checkpoints pickle ``HistoryBuffer`` and NumPy scalars, which safe loading refuses
:func:`keep_dataset_meta`      a resumed run compares descriptions of the data by their pickles, and warns for nothing
:func:`drop_pretrained`        ``Pretrained`` weights are fetched also where a checkpoint replaces them
:class:`CompatRunner`          runs of one name and second share their log; the log opens with 150 lines on hooks;
                               a test overwrites the config of the training; a compiled step breaks at each sample;
                               every step calls hooks that do nothing; every checkpoint formats the config again;
                               ``sync_bn`` takes the activation from timm's BatchNorm layers, which contain it
:class:`LazyVisualizer`        every run imports matplotlib and makes a figure before anything is drawn
:class:`.LightMessageHub`      every step copies all values logged so far, and waits for the GPU
:func:`build_late_parts`       loops, optimizer and schedulers are built late, after the data and the hooks
:func:`ddp_config`             the default wrapper passes GPU ids on the CPU, and an argument that torch 2.13 renamed
:func:`wrap_again`             a model cannot be wrapped a second time, around another set of trained parameters
=============================  =====================================================================================

What lower floors need is mended there: ``ftcls.utils.plain_files`` and ``ftcls.config.reading`` (JSON, YAML and
annotations that run code), ``register_safe_loading`` (checkpoints that do, and ``Runner.resume`` with their config),
``ftcls/__init__.py`` (``import mmengine.optim`` imports ``transformers``).

``is_resuming``, ``checkpoint_source``, ``is_training``, ``accumulative_counts``, ``step_after_every_batch`` and
``set_test_loop`` stand for attributes that MMEngine has no public name for.
"""
import contextlib
import copy
import functools
import gc
import inspect
import io
import itertools
import logging
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger, print_log
from mmengine.runner import BaseLoop, Runner, find_latest_checkpoint
from mmengine.utils import manager
from mmengine.visualization import Visualizer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ftcls.utils.checkpoint.folder import whole
from ftcls.utils.checkpoint.matching import unwrap_model
from ftcls.utils.checkpoint.plain import to_plain
from ftcls.utils.errors import CheckpointError, ConfigError
from ftcls.utils.log import warn
from ftcls.utils.tree import as_list
from .message_hub import LightMessageHub

__all__ = [
    'ENDLESS', 'LOOP_TYPES', 'AtomicLocalBackend', 'CompatRunner', 'accumulative_counts', 'build_late_parts',
    'checkpoint_source', 'ddp_config', 'drop_pretrained', 'is_resuming', 'is_training', 'keep_dataset_meta',
    'log_level', 'make_plain', 'quiet_run', 'register_atomic_saving', 'restart_sampler', 'set_test_loop',
    'step_after_every_batch', 'unlocked_on_error', 'wrap_again'
]

ENDLESS = 10**8  # MMEngine's INF for a schedule without an end is 10**9
LOOP_TYPES = {True: 'EpochBasedTrainLoop', False: 'IterBasedTrainLoop'}  # by ``by_epoch``
_RUNS = itertools.count()  # Counts the runs of this process.


@contextmanager
def unlocked_on_error() -> Iterator[None]:
    """Release, on an error, the lock on MMEngine's loggers, visualizers and scopes.

    ``ManagerMixin.get_instance`` keeps it where a constructor raises (also in onedl-mmengine 0.10.12). All other
    threads would then wait forever, because every line of the log and every look into a registry takes it.
    """
    try:
        yield
    except BaseException:
        with contextlib.suppress(AttributeError, RuntimeError):  # no lock; this thread does not hold it any more
            while True:
                manager._lock.release()
        raise


@contextmanager
def quiet_run() -> Iterator[None]:
    """Keep the log of a run off the terminal (its work dir has it), and close what the run opened."""
    MMLogger.get_current_instance()  # created here, where it gets the terminal
    before = set(MMLogger._instance_dict)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for name in set(MMLogger._instance_dict) - before:
            logger = MMLogger._instance_dict.pop(name)
            for handler in list(logger.handlers):
                logger.removeHandler(handler)
                handler.close()
        gc.collect()  # the Runner and its hooks refer to each other; workers of dataloaders live as long as they do


@contextmanager
def log_level(level: str) -> Iterator[None]:
    """Log only what is of this level or above."""
    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


class AtomicLocalBackend(LocalBackend):
    """MMEngine's local files, written beside their final name and renamed in one step."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to ``filepath``: all of them, or none.

        Raises:
            CheckpointError: If the file cannot be written: the disk is full, or the folder is not writable.
        """
        path = Path(filepath)
        try:
            with whole(path) as draft, draft.open('xb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
        except OSError as err:
            what = f'{path} ({len(obj) / 2**20:.1f} MiB) cannot be written: {err.strerror or err}'
            raise CheckpointError(f'{what}. Mend that or give another --work-dir, then --resume PATH') from err


def register_atomic_saving() -> None:
    """Make MMEngine write local files through :class:`AtomicLocalBackend`; may be called any number of times."""
    register_backend('local', AtomicLocalBackend, force=True, prefixes='')


def make_plain(checkpoint: dict) -> None:
    """Turn everything in a checkpoint into plain types; only the outermost dict is changed in place."""
    plain, left_out = to_plain(checkpoint)
    checkpoint.clear()
    checkpoint.update(plain)
    if left_out:
        warn(f'left out of the checkpoint, because a file that loads safely cannot contain it: {", ".join(left_out)}')


def keep_dataset_meta(runner: Runner, checkpoint: dict) -> None:
    """Replace a checkpoint's description of the data by the dataset's own where the two are equal."""
    current = getattr(runner.train_dataloader.dataset, 'metainfo', None)
    saved = checkpoint['meta'].get('dataset_meta')
    if current is not None and saved is not None and _equal(to_plain(current)[0], to_plain(saved)[0]):
        checkpoint['meta']['dataset_meta'] = current


def _equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and one == other


def drop_pretrained(model: nn.Module) -> None:
    """Remove ``Pretrained`` from every ``init_cfg``."""
    for name, module in model.named_modules():
        entries = as_list(getattr(module, 'init_cfg', None) or [])
        others = [entry for entry in entries if entry.get('type') != 'Pretrained']
        if len(others) != len(entries):
            module.init_cfg = others
            print_log(f'resuming: pretrained weights of {name or type(module).__name__} not needed', logger='current')


class _ResolvedConfig(Config):
    """A config that nobody writes into any more."""

    @functools.cached_property
    def pretty_text(self) -> str:
        return super().pretty_text


class LazyVisualizer(Visualizer):
    """MMEngine's visualizer, whose figure is made when something is drawn."""

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        del self.fig_save_canvas, self.fig_save, self.ax_save, self.dpi

    def _initialize_fig(self, fig_cfg: dict) -> tuple:
        return None, SimpleNamespace(get_dpi=lambda: None), None

    def __getattr__(self, name: str) -> Any:
        if name not in ('fig_save_canvas', 'fig_save', 'ax_save', 'dpi'):
            raise AttributeError(f'{type(self).__name__} has no attribute {name!r}')
        self.fig_save_canvas, self.fig_save, self.ax_save = super()._initialize_fig(self.fig_save_cfg)
        self.dpi = self.fig_save.get_dpi()
        return getattr(self, name)


class CompatRunner(Runner):
    """MMEngine's Runner, with a name of its own, a log without remarks on MMEngine, and our log processor.

    ``cfg`` is resolved; ``parts`` are the other arguments of MMEngine's Runner.
    """

    def __init__(self, cfg: Config, **parts: Any) -> None:
        name, number = cfg.get('experiment_name') or Path(cfg.filename or 'run').stem, next(_RUNS)
        if number:  # no other run of this process has the name
            name = f'{name}_{number}'
        # without a `type`, MMEngine takes its own, which smooths the losses of validations
        processor = {'type': 'LogProcessor', **(cfg.get('log_processor') or {})}
        cfg = copy.copy(cfg)
        object.__setattr__(cfg, '__class__', _ResolvedConfig)
        super().__init__(cfg=cfg, log_level='WARNING', log_processor=processor, experiment_name=name, **parts)
        self._start_log(cfg.get('log_level', 'INFO'))

    def _log_env(self, env_cfg: dict) -> None:
        """Leave out what the log level hides: MMEngine imports torchvision, runs compilers and formats the config."""

    def build_message_hub(self, message_hub: dict | None = None) -> MessageHub:
        """Build a hub that is light on the step."""
        return LightMessageHub.of(super().build_message_hub(message_hub))

    def build_visualizer(self, visualizer: Visualizer | dict | None = None) -> Visualizer:
        """Build a visualizer; if the config names none, one that imports matplotlib when it draws."""
        if visualizer is not None:
            return super().build_visualizer(visualizer)
        backends = [dict(type='LocalVisBackend')]
        return LazyVisualizer.get_instance(self._experiment_name, vis_backends=backends, save_dir=self._log_dir)

    def register_hook(self, hook: Hook | dict, priority: str | int | None = None) -> None:
        """Add a hook."""
        super().register_hook(hook, priority)
        self._called: dict[str, list[Hook]] = {}

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks that do something at this point."""
        if fn_name not in self._called:
            self._called[fn_name] = [hook for hook in self._hooks if _defines(hook, fn_name)]
        for hook in self._called[fn_name]:
            getattr(hook, fn_name)(self, **kwargs)

    def dump_config(self) -> None:
        """Write the resolved config; a test in the folder of a training writes its own beside its log."""
        if self._train_dataloader is not None:
            super().dump_config()
        elif is_main_process():
            self.cfg.dump(Path(self._log_dir) / Path(self.cfg.filename or 'config.py').name)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build our loop where the config names none; MMEngine takes its own, past the registry."""
        if isinstance(loop, dict) and 'by_epoch' in loop:
            loop = dict(loop)
            loop['type'] = LOOP_TYPES[bool(loop.pop('by_epoch'))]
        return super().build_train_loop(loop)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap a model for several processes; what ``sync_bn`` makes of timm's layers keeps their activation."""
        model = super().wrap_model(model_wrapper_cfg, model)
        for layer in model.modules():
            if type(layer) is nn.SyncBatchNorm and hasattr(layer, 'act'):  # it has timm's submodules, but not its code
                from timm.layers import SyncBatchNormAct
                layer.__class__ = SyncBatchNormAct
        return model

    def _maybe_compile(self, target: str) -> None:
        """Compile the parts of the model, which take tensors and return tensors, in place of its whole training step.

        Raises:
            ConfigError: If the compiler does not work here.
        """
        options = self.cfg.get('compile')
        if not options:
            return
        options, model = dict(options) if isinstance(options, dict) else {}, unwrap_model(self.model)
        if any('forward' in vars(module) for module in model.modules()):
            raise ConfigError('compile: gradient checkpointing (speed.grad_checkpointing, with_cp) cannot be compiled; '
                              'remove one of them')
        try:
            torch.compile(torch.sin, **options)(torch.ones(2, device=next(model.parameters()).device))
        except Exception as err:
            reason = textwrap.shorten(str(err), 300)
            raise ConfigError(f'compile: torch.compile does not work here ({reason}): remove speed.compile, or install '
                              'what is missing, most often a C++ compiler') from err
        for name, part in model.named_children():
            if name != 'data_preprocessor':
                part.compile(**options)

    def _start_log(self, level: str) -> None:
        self.logger.setLevel(level)
        for handler in self.logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.stream.reconfigure(encoding='utf-8')  # MMEngine takes the locale's, ASCII with LANG=C
            # on the terminal, only the main process logs more than errors
            if is_main_process() or isinstance(handler, logging.FileHandler):
                handler.setLevel(level)
        # the gradients that wait for their step are in the checkpoint
        noise = ['^Exp name:', '^Resumed iteration number', 'will be deprecated in', 'the former will be deprecated']
        if not self._resume:  # SafeCheckpointHook reports what was loaded, but not the name of a resumed checkpoint
            noise.append('^Load checkpoint from ')
        pattern = re.compile('|'.join(noise))
        self.logger.addFilter(lambda record: not pattern.search(record.getMessage()))


def _defines(hook: Hook, fn_name: str) -> bool:
    """Tell whether a hook has more than MMEngine's empty method, or the one that this calls for every kind of loop."""
    names = (fn_name, re.sub('_(train|val|test)_', '_', f'_{fn_name}'))
    methods = [(getattr(hook, name, None), getattr(Hook, name, None)) for name in names]
    return any(getattr(own, '__func__', own) is not empty for own, empty in methods)


def build_late_parts(runner: Runner, errors: Callable[[str], AbstractContextManager]) -> None:
    """Build what the Runner would build at the start of ``train``, each part inside ``errors(<its config keys>)``."""
    with errors('train_cfg'):
        runner._train_loop = runner.build_train_loop(runner._train_loop)
    with errors('optim_wrapper'):
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        with errors('param_scheduler'):
            runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    if runner._val_loop is not None:
        with errors('val_cfg, val_evaluator'):
            runner._val_loop = runner.build_val_loop(runner._val_loop)


def ddp_config(find_unused_parameters: bool) -> dict[str, Any]:
    """Return a ``model_wrapper_cfg`` for several processes, on GPUs or on the CPU.

    Each process keeps its own BatchNorm statistics, as in MMEngine; torch renamed the argument in 2.13.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = 'forward_sync_buffers' if 'forward_sync_buffers' in known else 'broadcast_buffers'
    wrapper = {'type': 'MMDistributedDataParallel', 'find_unused_parameters': find_unused_parameters, buffers: False}
    if not torch.cuda.is_available():
        wrapper['device_ids'] = None  # MMEngine's default is refused on the CPU
    return wrapper


def wrap_again(runner: Runner) -> None:
    """Wrap the model in a new DistributedDataParallel, which waits for the gradients of what is trained now.

    Parameters are equal in all processes; BatchNorm statistics differ on purpose (before 2.13 torch leaves them).
    """
    config = runner.cfg.get('model_wrapper_cfg') or ddp_config(runner.cfg.get('find_unused_parameters', False))
    runner.model = runner.model.module
    gc.collect()  # the old wrapper, which refers to itself, keeps hooks on the gradients
    if 'init_sync' in inspect.signature(DistributedDataParallel).parameters:
        config = {**config, 'init_sync': False}
    runner.model = runner.wrap_model(config, runner.model)


def restart_sampler(sampler: Any) -> None:
    """Let MMEngine's ``InfiniteSampler`` draw from its beginning; it continues otherwise where it was last left."""
    if isinstance(sampler, InfiniteSampler):
        sampler.indices = sampler._indices_of_rank()


def is_resuming(runner: Runner) -> bool:
    """Tell whether the run resumes a checkpoint."""
    return runner._resume


def checkpoint_source(runner: Runner) -> str | None:
    """Return the checkpoint that the run loads or resumes, if any."""
    if runner._load_from or not runner._resume:
        return runner._load_from
    return find_latest_checkpoint(runner.work_dir)


def is_training(runner: Runner) -> bool:
    """Tell whether the Runner trains, and does not only validate or test."""
    return isinstance(runner._train_loop, BaseLoop)


def accumulative_counts(optim_wrapper: Any) -> int:
    """Return how many batches make one step of the optimizer."""
    return getattr(optim_wrapper, '_accumulative_counts', 1)


def step_after_every_batch(optim_wrapper: Any) -> None:
    """Accumulate no gradients."""
    optim_wrapper._accumulative_counts = 1


def set_test_loop(runner: Runner, loop: BaseLoop) -> None:
    """Give a Runner that was built without a test loop one, which is where hooks look for it."""
    runner._test_loop = loop
