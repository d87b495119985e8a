"""How long a training waits for its data, and what to change if that is long."""
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ftcls.datasets.wrappers import inner_datasets
from ftcls.registry import HOOKS
from ftcls.utils.processes import usable_cores

__all__ = ['DataWaitHook']

_HIGH = .2
_LEAST = 10.  # seconds; less is not worth a change


@HOOKS.register_module()
class DataWaitHook(Hook):
    """Say, once in a run, if it waits for data for more than a fifth of its time, and for more than 10 seconds.

    The lines of the log show the share: ``data_time: 0.0312 (8%)``.
    """

    def __init__(self) -> None:
        self._since, self._waited, self.is_said = 0, 0., False

    def before_train(self, runner: Runner) -> None:
        """Begin to count."""
        self._since = runner.iter

    def after_train_epoch(self, runner: Runner) -> None:
        """Compare what ``IterTimerHook`` has recorded."""
        count, scalars = runner.iter - self._since, runner.message_hub.log_scalars
        if self.is_said or not count or 'train/data_time' not in scalars:
            return
        waited, total = (scalars[f'train/{name}'].data[0][-count:].sum() for name in ('data_time', 'time'))
        self._since, self._waited = runner.iter, self._waited + waited
        if waited > _HIGH * total and self._waited > _LEAST:
            self.is_said = True
            runner.logger.warning(f'waiting for data took {waited / total:.0%} of the time. {_remedies(runner)}')

    before_val_epoch = after_train_epoch


def _remedies(runner: Runner) -> str:
    datasets, cores = inner_datasets(runner.train_dataloader.dataset), usable_cores()
    if any(getattr(dataset, 'IN_MEMORY', False) for dataset in datasets):
        return 'The images are in memory: what takes long are the transforms; take fewer'
    found = []
    if runner.train_dataloader.num_workers < cores:
        found.append(f'train_dataloader.num_workers={cores} (now {runner.train_dataloader.num_workers})')
    if any(getattr(dataset, 'cache', '') is None for dataset in datasets):
        found.append("train_dataloader.dataset.cache='ram' or 'disk'")
    return f'Set {" and ".join(found)}' if found else 'Take smaller files, fewer transforms, or more cores'
