"""BatchNorm statistics computed anew for the weights that are measured and saved."""
import itertools
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_reduce_params, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader

from ftcls.datasets.worker_seed import random_state, set_random_state
from ftcls.registry import HOOKS
from ftcls.utils.checkpoint.matching import unwrap_model
from ftcls.utils.types import PositiveInt

__all__ = ['PreciseBNHook']


@HOOKS.register_module()
class PreciseBNHook(Hook):
    """Set mean and variance of each trained BatchNorm to their average over batches of training images.

    Wu & Johnson 2021, `Rethinking "Batch" in BatchNorm <https://arxiv.org/abs/2105.07576>`_, section 3: the running
    statistics lag behind the weights. Frozen layers keep theirs. The random numbers of the training do not change.

    Args:
        num_samples: Images of all processes together; at least one batch, at most one pass over the data.
        interval: Epochs between two computations; iterations if ``train_cfg`` counts iterations.

    Example:
        >>> PreciseBNHook(num_samples=8192, interval=1).num_samples
        8192
    """
    priority = 'ABOVE_NORMAL'  # before EMAHook and the checkpoint

    def __init__(self, num_samples: PositiveInt = 8192, interval: PositiveInt = 1) -> None:
        self.num_samples, self.interval = num_samples, interval

    def after_train_epoch(self, runner: Runner) -> None:
        """Compute the statistics of a training by epochs."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and self.every_n_epochs(runner, self.interval):
            self._update(runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Compute the statistics of a training by iterations."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop) and self.every_n_train_iters(runner, self.interval):
            self._update(runner)

    def preflight(self, runner: Runner) -> list[str]:
        """Return what it will do."""
        return [f'PreciseBNHook: {len(_trained(runner))} layers, over {self.num_samples:,} training images']

    @torch.no_grad()
    def _update(self, runner: Runner) -> None:
        model, loader, before = unwrap_model(runner.model), runner.train_dataloader, random_state()
        layers = _trained(runner)
        layers.forward = lambda batch: model(**model.data_preprocessor(batch, False))
        options = {key: vars(loader)[key] for key in ('num_workers', 'collate_fn', 'worker_init_fn', 'timeout')}
        size = loader.batch_size or 1
        batches = DataLoader(loader.dataset, size, sampler=DefaultSampler(loader.dataset, seed=runner.iter), **options)
        update_bn(itertools.islice(batches, max(1, self.num_samples // (size * get_world_size()))), layers)
        all_reduce_params([one for layer in layers for one in (layer.running_mean, layer.running_var)], op='mean')
        set_random_state(before)


def _trained(runner: Runner) -> nn.ModuleList:
    """Return the layers whose statistics the training changes."""
    layers = [one for one in runner.model.modules() if isinstance(one, _BatchNorm) and one.track_running_stats]
    return nn.ModuleList(one for one in layers if one.training)
