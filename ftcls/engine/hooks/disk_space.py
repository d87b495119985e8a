"""Whether a run's checkpoints fit on the disk, before it begins."""
import math
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.runner import Runner

from ftcls.utils.checkpoint.matching import unwrap_model
from ftcls.utils.errors import CheckpointError

__all__ = ['check_space']


def check_space(runner: Runner, hook: CheckpointHook, there: Iterable[Path]) -> None:
    """Compare the size of the checkpoints that a run will keep with the free space; the log warns if it is too little.

    An optimizer keeps values per weight: Adam two means, RMSprop the mean square, and the momentum.

    Args:
        runner: The Runner, before the first step.
        hook: What writes the checkpoints.
        there: Checkpoints of this run that are there already.

    Raises:
        CheckpointError: If not even one fits.
    """
    model = unwrap_model(runner.model)
    best = _bytes(model.state_dict().values()) * (1 + any(isinstance(hook, EMAHook) for hook in runner.hooks))
    settings = getattr(getattr(runner.optim_wrapper, 'optimizer', None), 'defaults', {})
    per_weight = 2 * ('betas' in settings) + ('alpha' in settings) + bool(settings.get('momentum'))
    one = best + per_weight * _bytes(p for p in model.parameters() if p.requires_grad)
    length = {True: runner.max_epochs, False: runner.max_iters}[hook.by_epoch]
    kept = max(1, math.ceil(length / (hook.interval or -1)))
    if hook.max_keep_ckpts > 0:
        kept = min(kept, hook.max_keep_ckpts + 1)  # the new one is whole before the old one is removed
    needed = one * kept + 2 * best * len(hook.save_best or ()) - sum(file.stat().st_size for file in there)
    folder = Path(hook.out_dir).absolute()
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    text = f'{folder} has {_mib(free)} free; a checkpoint needs {_mib(one)}, this run {_mib(max(needed, one))}. ' \
           'Remove files there, set default_hooks.checkpoint.max_keep_ckpts, or give another --work-dir'
    if free < one and runner.iter < runner.max_iters:
        raise CheckpointError(text)
    if free < needed:
        runner.logger.warning(text)


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _mib(size: int) -> str:
    return f'{size / 2**20:,.1f} MiB'
