"""Computing the frozen part of a model once per image, not once per epoch."""
import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from signal import Signals
from typing import Any, BinaryIO

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from mmengine.runner.amp import autocast
from torch.utils.data import DataLoader

from ftcls.datasets.bad_samples import TolerantDataset
from ftcls.datasets.features import StoredFeatures, Views
from ftcls.datasets.worker_seed import random_state, set_random_state
from ftcls.datasets.wrappers import inner_datasets
from ftcls.engine.loops import BatchStream
from ftcls.models.frozen_prefix import FrozenPrefix
from ftcls.signals import RunStopped, StopSignals
from ftcls.utils import ConfigError
from ftcls.utils.array_file import ArrayFile, cache_folder
from ftcls.utils.checkpoint.matching import unwrap_model
from ftcls.utils.digest import digest
from ftcls.utils.writable import check_writable
from ftcls.version import __version__
from .dry_run import DryRunHook

__all__ = ['FeatureCacheHook']

_KNOWN = ('ftcls.', 'mmengine.')
_MOST = 2  # GiB per split that are written without being asked for
_LEAST = 1000  # images times epochs to come, that it is done for without being asked
_FEW = f'one epoch, or less than {_LEAST:,} images times epochs'
_RELEASED = 'feature_cache: off, since nothing is frozen any more'
_MIXING, _BATCHED = 'model.train_cfg or data_preprocessor.batch_augments', 'data_preprocessor.batch_transforms'
_DRY = 'nothing is stored in a dry run'
_BATCH = 32  # images, where a batch sampler makes batches of its own


class FeatureCacheHook(Hook):
    """Gives the model features that are computed once, as long as its first part is frozen.

    Args:
        setting: ``'auto'``: where nothing random comes before the frozen part; False: never; a dict: in any case, with
            ``dtype`` of the file, ``views`` of each image that are drawn once and given in turn, and its ``folder``.
        signals: Where a signal is noted that comes while the run trains.

    Raises:
        ConfigError: If features are asked for, and the training cannot use them.
        RunStopped: On a signal while features are computed, before the first step of a run of one process.
    """
    priority = 'VERY_LOW'  # after what freezes and releases, before the preflight

    def __init__(self, setting: str | bool | Mapping[str, Any] = 'auto', signals: StopSignals | None = None) -> None:
        self.setting, self._is_asked, self._signals = setting, isinstance(setting, Mapping), signals or StopSignals()
        options = {'dtype': 'float32', 'views': 1, 'folder': cache_folder('features')}
        if self._is_asked:
            options |= {key: value for key, value in setting.items() if value is not None}
        self._dtype, self._views, self._folder = options['dtype'], options['views'], Path(options['folder'])
        self._has_begun = False
        self._splits: list[str] = []  # those that give features
        self._lines: list[str] = []
        self._active = ExitStack()

    def preflight(self, runner: Runner) -> list[str]:
        """Return what was decided."""
        return self._lines

    def before_train(self, runner: Runner) -> None:
        """Decide for each split, and compute its features."""
        self._prefix = FrozenPrefix(unwrap_model(runner.model))
        self._splits, self._lines = [], []
        is_released = not self._prefix.modules and any(hasattr(hook, 'trained_later') for hook in runner.hooks)
        if is_released and self._is_asked:
            self._lines = [_RELEASED]
        if self.setting is False or is_released or not (self._prefix.modules or self._is_asked):
            return
        loops, state = {'train': runner.train_loop, 'val': runner.val_loop}, random_state()
        for split in [split for split, loop in loops.items() if loop]:
            try:
                text = f'on: {self._start(runner, split, loops[split])}'
                self._splits.append(split)
            except ConfigError as err:
                is_dry = str(err).startswith(_DRY)
                if split == 'train' and self._is_asked and not is_dry:
                    raise ConfigError(f'feature_cache={dict(self.setting)}: {err}; or remove feature_cache') from err
                text = 'off: ' * (not is_dry) + str(err)
            self._lines.append(f'feature_cache, {split}: {text}')
        set_random_state(state)
        if self._splits:
            self._active.enter_context(self._prefix.installed())

    def before_train_epoch(self, runner: Runner) -> None:
        """Give the view of this epoch; decide anew if a part of what is left out learns from now on."""
        loop = runner.train_loop
        self._has_begun = True
        if self._splits and not self._prefix.is_frozen:
            self.after_train(runner)
            loop.stream = BatchStream(loop.dataloader)
            self.before_train(runner)
            runner.logger.info('; '.join(self._lines) or _RELEASED)
        for leaf in inner_datasets(loop.dataloader.dataset) if 'train' in self._splits else ():
            leaf.features.view = runner.epoch % self._views

    def after_train(self, runner: Runner) -> None:
        """Give images again."""
        self._active.close()

    def _start(self, runner: Runner, split: str, loop: BaseLoop) -> str:
        """Let a loop read features, until the training ends; return a text on them.

        Raises:
            ConfigError: If it cannot.
        """
        loader, leaves = loop.dataloader, inner_datasets(loop.dataloader.dataset)
        context = autocast(enabled=getattr(loop, 'fp16', False))
        if split == 'train':
            context = runner.optim_wrapper.optim_context(runner.model)
        with torch.no_grad(), context:
            samples = self._check(runner, split, loop)
            features, were_there = zip(*(self._features(split, leaf, loader) for leaf in leaves))
            note = self._rounding(samples, loader) if split == 'train' else ''
        for leaf, stored in zip(leaves, features):
            leaf.features = stored
            self._active.callback(setattr, leaf, 'features', None)
        loop.dataloader = copy.copy(loader)
        # past DataLoader's own guard; to read a row takes less than to get it from a worker
        vars(loop.dataloader).update(num_workers=0, timeout=0)
        self._active.callback(setattr, loop, 'dataloader', loader)
        if split == 'train':
            loop.stream = BatchStream(loop.dataloader)
        source = 'was computed before' if all(were_there) else 'is computed once'
        return f'the output of {self._prefix.name} {source} ({self._describe(split, leaves)}){note}'

    def _rounding(self, samples: Sequence[dict], loader: DataLoader) -> str:
        """Return a note if the smaller last batch of an epoch would give other features, which are those of a whole."""
        size = loader.batch_size or 1
        last = len(loader.sampler) % size
        if loader.drop_last or not last or last == len(loader.sampler):
            return ''
        whole, part = (self._prefix.compute(loader.collate_fn((samples * size)[:n])).float() for n in (size, last))
        off = (whole[:last] - part).abs().max()
        return f'; without it, the last batch of {last} images rounds otherwise, by {off:.0e}' if off else ''

    def _check(self, runner: Runner, split: str, loop: BaseLoop) -> list[dict]:
        """Return a few samples; raise a ConfigError if a split cannot have features, as a trial shows last."""
        preprocessor, leaves = self._prefix.model.data_preprocessor, inner_datasets(loop.dataloader.dataset)
        ours = [leaf for leaf in leaves if isinstance(leaf, TolerantDataset)]
        is_train, is_auto = split == 'train', not self._is_asked
        parts = [*runner.hooks, preprocessor, *([] if is_train else loop.evaluator.metrics)]
        foreign = [type(part).__name__ for part in parts if not type(part).__module__.startswith(_KNOWN)]
        first_steps, policies = getattr(preprocessor, 'batch_transforms', None), [leaf.on_bad_sample for leaf in ours]
        obstacle, mixing = self._prefix.obstacle(), getattr(preprocessor, 'batch_augments', None)
        is_drawn = any(getattr(hook, 'enable', False) for hook in runner.hooks)
        reasons = {
            f'nothing is frozen from the image on, {obstacle}; set model.freeze': not self._prefix.modules,
            f'{", ".join(foreign)} may need images': is_auto and foreign,
            'VisualizationHook draws its images': not is_train and is_drawn,
            'its dataset is not one of ftcls': len(ours) < len(leaves),
            'the model is compiled': 'train_step' in vars(runner.model),
            'train_cfg counts iterations; let it count epochs': is_train and not isinstance(loop, EpochBasedTrainLoop),
            f'{_MIXING} mixes the images of a batch; remove it': is_train and mixing,
            f'{_BATCHED} change the images; put them into the pipeline': getattr(first_steps, 'steps', None),
            "on_bad_sample='skip' may draw another image; set 'error'": is_train and 'skip' in policies,
            f'too short to pay: {_FEW}; feature_cache=dict() does it': is_auto and self._is_short(runner.train_loop),
        }
        if reason := next((reason for reason, holds in reasons.items() if holds), None):
            raise ConfigError(reason)
        self._is_drawn = False
        for leaf in leaves:
            samples = [Views(leaf)[number] for number in (0, len(leaf) - 1, len(leaf) // 2)]
            drawn = max(sample['drawn'] for sample in samples)
            self._is_drawn |= bool(drawn)
            if drawn and (self._views == 1 or not is_train):
                remedy = '; remove them, or set feature_cache.views=K: K views of each image' * is_train
                raise ConfigError(f'random steps in the pipeline: {drawn}{remedy}')
        try:
            self._prefix.check(loop.dataloader.collate_fn(samples[:2]))
        except Exception as err:  # of any network, which runs with a part left out
            raise ConfigError(f'{self._prefix.name} cannot be left out: {err}') from err
        size = self._bytes(split, leaves) / 2**30
        if is_auto and size > _MOST:
            raise ConfigError(f'{size:.3g} GiB would be stored; feature_cache=dict() does that')
        if any(isinstance(hook, DryRunHook) for hook in runner.hooks):
            try:
                check_writable(folder_dir=self._folder.expanduser())
            except ConfigError as err:
                reason = err.__cause__.strerror
                raise ConfigError(f'{self._folder} cannot be used ({reason}); give another folder') from err
            raise ConfigError(f'{_DRY}; a run stores {self._describe(split, leaves)}')
        return samples

    def _is_short(self, loop: BaseLoop) -> bool:
        if not isinstance(loop, EpochBasedTrainLoop):
            return False
        epochs = loop.max_epochs - loop.epoch
        return epochs == 1 or epochs * len(loop.dataloader.dataset) < _LEAST

    def _bytes(self, split: str, leaves: Sequence[TolerantDataset]) -> int:
        images = sum(map(len, leaves)) * (self._views if split == 'train' else 1)
        return images * self._prefix.example[0].numel() * getattr(torch, self._dtype).itemsize

    def _describe(self, split: str, leaves: Sequence[TolerantDataset]) -> str:
        views = f'{self._views} views of each image, ' * (split == 'train' and self._views > 1)
        if views and not self._is_drawn:
            views += 'all alike as far as looked at, '
        return f'{views}{self._dtype}, {self._bytes(split, leaves) / 2**20:,.1f} MiB in {self._folder}'

    def _compute(self, batch: dict) -> torch.Tensor:
        if (signum := self._signals.signum) and not self._has_begun and get_world_size() == 1:
            text = f'{Signals(signum).name}: stopped while features were computed, before the first step'
            raise RunStopped(signum, text)
        return self._prefix.compute(batch)

    def _features(self, split: str, leaf: TolerantDataset, loader: DataLoader) -> tuple[StoredFeatures, bool]:
        """Return the features of a dataset, and whether their file was there; else it is written."""
        views, size, model = Views(leaf), loader.batch_size or _BATCH, self._prefix.model.eval()
        numbers = [*range(len(views))]
        if split == 'train':  # all batches of a training have one size, except the last; rounding depends on it
            views.count = self._views
            numbers = [*range(len(views)), *[0] * (-len(views) % size)]
        parts = [*self._prefix.modules, model.data_preprocessor]
        weights = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
        example, layout = self._prefix.example, [weight.stride() for weight in weights]
        settings = [__version__, torch.__version__, example.device, example.dtype, layout, self._dtype, size, numbers]
        key = digest(*settings, *parts, vars(model.data_preprocessor), *weights, views.digest())

        def write(file: BinaryIO) -> None:
            images = f'{len(views):,} images'
            if views.count > 1:
                images += f' ({views.count} views of {len(leaf):,})'
            print_log(f'feature_cache: computing {self._prefix.name} for {images}', logger='current')
            options = {key: vars(loader)[key] for key in ('num_workers', 'collate_fn', 'worker_init_fn', 'timeout')}
            batches = DataLoader(views, size, sampler=numbers, **options)
            StoredFeatures.write(file, batches, self._compute, self._dtype)

        path = self._folder.expanduser() / f'{key}.features'
        file, was_there = ArrayFile.ensure(path, self._bytes(split, [leaf]), write)
        return StoredFeatures(file), was_there
