"""Whether a training can change the model: something is trained, at a rate above 0, on batches that BatchNorm takes."""
import copy
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Any

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from ftcls.utils import ConfigError
from ftcls.utils.names import enumerate_names
from ftcls.utils.tree import as_list

__all__ = ['check_last_batch', 'check_learning', 'iter_scheduled']


def check_learning(runner: Runner) -> None:
    """Check at the first step, when all hooks have done their work, that something learns in this run.

    Raises:
        ConfigError: If every parameter is frozen, or every learning rate is 0 to the end of the run.
    """
    groups = list(filter(_is_trained, runner.optim_wrapper.param_groups))
    later = any(hook.trained_later(runner) for hook in runner.hooks if hasattr(hook, 'trained_later'))
    if groups and (later or _is_rate_positive(runner, groups)):
        return
    why = 'every learning rate is 0; set optim_wrapper.optimizer.lr, or the lr_mult in optim_wrapper.paramwise_cfg'
    if not groups:
        why = 'every parameter is frozen; change model.freeze, model.backbone.frozen_stages or the hook that freezes it'
    elif any(group.get('initial_lr', group['lr']) for group in groups):
        why = 'param_scheduler makes every learning rate 0 from here to the end of the run; change its end or factors'
    raise ConfigError(f'nothing learns: {why}')


def _is_trained(group: dict) -> bool:
    return any(parameter.requires_grad for parameter in group['params'])


def _is_rate_positive(runner: Runner, groups: list[dict]) -> bool:
    """Tell whether a learning rate is above 0 at some step; the schedule is run on a copy only as long as all are 0."""
    if any(group['lr'] > 0 for group in groups):
        return True
    optimizer = runner.optim_wrapper.optimizer
    twin = torch.optim.SGD([dict(group, params=[nn.Parameter(torch.zeros(1))]) for group in optimizer.param_groups])
    trained = [copied for copied, group in zip(twin.param_groups, optimizer.param_groups) if _is_trained(group)]
    schedulers = copy.deepcopy(as_list(runner.param_schedulers or []), {id(optimizer): twin})
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of steps of the schedule without one of the optimizer
        steps = iter_scheduled(schedulers, len(runner.train_dataloader), runner.max_iters, runner.iter)
        return any(group['lr'] > 0 for _ in islice(steps, 1, None) for group in trained)


def iter_scheduled(schedulers: list[Any], epoch: int, end: int, begin: int = 0) -> Iterator[int]:
    """Yield the number of each iteration of a run, after it let the schedulers step that are due.

    Args:
        schedulers: One that follows the validation is left as it is.
        epoch: Iterations of an epoch.
        end: Iterations of the run; ``begin``: those that are done.
    """
    for number in range(begin, end):
        yield number
        for scheduler in schedulers:
            is_due = not scheduler.by_epoch or (number + 1) % epoch == 0
            if is_due and not hasattr(scheduler, 'monitor'):
                scheduler.step()


def check_last_batch(model: nn.Module, loader: DataLoader, sample: Any) -> None:
    """Check that BatchNorm in training gets more than one value per channel from every batch.

    Raises:
        ConfigError: If the last batch of an epoch has one image, of which such a layer sees a single position.
    """
    size, count = loader.batch_size, len(loader.sampler)
    is_endless = isinstance(loader.sampler, InfiniteSampler)
    if size is None or size > 1 and (loader.drop_last or is_endless or count % size != 1):
        return
    norms = {layer: name for name, layer in model.named_modules() if isinstance(layer, _BatchNorm) and layer.training}
    single = []

    def note(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].numel() == inputs[0].shape[1]:
            single.append(layer)

    model.eval()
    with torch.no_grad(), ExitStack() as hooks:
        for layer in norms:
            hooks.enter_context(layer.register_forward_pre_hook(note))
        model.test_step(loader.collate_fn([sample]))
    model.train()
    if single:
        names = enumerate_names([norms[layer] for layer in single], 3)
        why = f'train_dataloader.batch_size={size}: '
        if size > 1:
            why += f'{count:,} images leave a last batch of 1 image; set train_dataloader.drop_last=True, or '
        raise ConfigError(f'{why}set another batch_size: BatchNorm ({names}) needs two values per channel')
