"""Learning that widens over time: gradual unfreezing, and a linear probe before fine-tuning."""
import gc
import inspect
from collections.abc import Mapping
from os.path import commonprefix

import torch.nn as nn
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch.nn.parallel import DistributedDataParallel

from ftcls.engine.optimizers.members import OptimizerMembers
from ftcls.engine.parameter_table import unwrap
from ftcls.models.backbones.base_backbone import BaseBackbone
from ftcls.registry import HOOKS
from ftcls.utils import ConfigError
from ftcls.utils.load_report import fold_names

__all__ = ['GradualUnfreezingHook', 'LinearProbeFineTuneHook']


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@HOOKS.register_module()
class GradualUnfreezingHook(Hook):
    """Train the head first, then stage after stage of the backbone from the last to the first.

    Universal Language Model Fine-tuning, Howard & Ruder 2018 (arXiv:1801.06146), over ``backbone.stages()``. What the
    config freezes (``frozen_stages``, and single parameters) stays frozen to the end.

    At every time the optimizer holds exactly the trained parameters. One that joins has the learning rate and weight decay
    that ``paramwise_cfg`` and the schedule give it at that point; those already trained keep their momentum. Frozen
    BatchNorm layers are in eval mode. With several processes DistributedDataParallel is wrapped anew around each set, so
    that ``find_unused_parameters`` is not needed. A checkpoint notes its set (``meta.frozen_stages``), and a run that
    resumes from it goes on as if it had not been stopped.

    Args:
        start: ``frozen_stages`` at the beginning: k freezes the stem and the first k stages; None the whole backbone.
        every: Epochs from one stage to the next.
        schedule: In place of both, ``{epochs done: frozen_stages}``, such as ``{0: 4, 3: 2, 5: -1}``.
        by_epoch: False counts iterations in place of epochs.

    Raises:
        ConfigError: In the constructor for an argument that means nothing; before the first step if the model has no
            backbone with stages, the schedule does not fit it, or the run's loop, optimizer or wrapper cannot do this.
    """
    # Before SafeCheckpointHook, which gives gradients that wait for their step back to what is trained.
    priority = 'HIGHEST'

    def __init__(self,
                 start: int | None = None,
                 every: int = 1,
                 schedule: Mapping[int, int] | None = None,
                 by_epoch: bool = True) -> None:
        name = type(self).__name__
        if not _whole(every, 1):
            raise ConfigError(f'{name}.every={every!r}: must be a whole number from 1')
        if schedule is not None and (start is not None or every != 1):
            raise ConfigError(f'{name}: schedule says all that start and every say; give it, or these')
        if schedule is not None and (not schedule or not all(_whole(k, 0) for k in schedule) or 0 not in schedule):
            raise ConfigError(
                f'{name}.schedule={dict(schedule)}: must be {{epochs done: frozen_stages}} with an entry for '
                '0, for example {0: 4, 3: 2, 5: -1}')
        self.start, self.every, self.by_epoch = start, every, by_epoch
        self.schedule = None if schedule is None else dict(sorted(schedule.items()))
        self._phases: dict[int, int] = {}
        self._members: OptimizerMembers | None = None
        self._last = -1

    @property
    def unit(self) -> str:
        """What is counted: ``'epoch'`` or ``'iteration'``."""
        return 'epoch' if self.by_epoch else 'iteration'

    def phases(self, most: int, last: int, total: int) -> dict[int, int]:
        """Return ``{epochs or iterations done: frozen_stages}``.

        Args:
            most: ``frozen_stages`` that freezes the whole backbone.
            last: ``frozen_stages`` of the config, where it ends.
            total: Epochs or iterations of the run.
        """
        if self.schedule is not None:
            return {at: max(frozen, last) for at, frozen in self.schedule.items()}
        start = most if self.start is None else self.start
        return {(start - frozen) * self.every: frozen for frozen in range(start, last - 1, -1)}

    def frozen_at(self, position: int) -> int:
        """Return ``frozen_stages`` after so many epochs or iterations."""
        return [frozen for at, frozen in self._phases.items() if at <= position][-1]

    def before_run(self, runner: Runner) -> None:
        """Check the plan, while the optimizer still holds all that will ever be trained."""
        self._prepare(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Set what was trained when the checkpoint was written: the optimizer's state, loaded next, is of that set."""
        if not isinstance(runner._train_loop, BaseLoop):
            return
        self._prepare(runner)
        backbone = unwrap(runner.model).backbone
        noted = (checkpoint.get('meta') or {}).get('frozen_stages', self._last)  # none: all were trained
        self._set(runner, min(noted, backbone.num_stages_total))

    def before_train(self, runner: Runner) -> None:
        """Set what is trained at the run's first epoch, before the preflight describes it."""
        self._set(runner, self.frozen_at(self._position(runner)))

    def before_train_epoch(self, runner: Runner) -> None:
        """Unfreeze what this epoch adds."""
        if self.by_epoch:
            self._advance(runner)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        """Unfreeze what this iteration adds."""
        if not self.by_epoch:
            self._advance(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the set that the optimizer's state is of."""
        checkpoint['meta']['frozen_stages'] = unwrap(runner.model).backbone.frozen_stages

    def preflight(self, runner: Runner) -> list[str]:
        """Return the plan, one line a step, for :class:`PreflightHook`."""
        model = unwrap(runner.model)
        total = self._total(runner)
        lines = []
        for at, frozen in self._phases.items():
            before = [f for a, f in self._phases.items() if a < at][-1:]
            names = self._stage_names(model, frozen, before[0] if before else None)
            what = f'+ {names}' if before else f'all but the backbone{" and " + names if names else ""}'
            late = f' (NEVER: the run ends after {total} {self.unit}s)' if at >= total else ''
            lines.append(f'unfreezing: from {self.unit} {at + 1} {what}{late}')
        return lines

    def _stage_names(self, model: nn.Module, frozen: int, before: int | None) -> str:
        """Name what is trained with ``frozen`` stages frozen and was not with ``before``; None is the whole backbone."""
        backbone = model.backbone
        before = backbone.num_stages_total if before is None else before
        stages = [k for k in range(backbone.num_stages_total, -1, -1) if frozen < k <= before]
        texts = []
        for k in stages:
            names = [f'backbone.{name}' for name, stage in backbone.stage_of_parameters().items() if stage == k]
            shared = commonprefix([name.split('.')[:-1] for name in names])
            where = '.'.join(shared) if len(shared) > 1 else fold_names(names, 3)
            texts.append(f'{"the stem" if k == 0 else f"stage {k}"} ({where or "no parameters"})')
        return ', '.join(texts)

    def _position(self, runner: Runner) -> int:
        return runner.epoch if self.by_epoch else runner.iter

    def _total(self, runner: Runner) -> int:
        return runner.max_epochs if self.by_epoch else runner.max_iters

    def _prepare(self, runner: Runner) -> None:
        """Check that this run can do it; note what the optimizer was built with. Once."""
        if self._members is not None:
            return
        name, backbone = type(self).__name__, getattr(unwrap(runner.model), 'backbone', None)
        if not isinstance(backbone, BaseBackbone):
            raise ConfigError(f'{name}: needs a model whose backbone has stages; {type(unwrap(runner.model)).__name__} '
                              'has none')
        if [h for h in runner.hooks if isinstance(h, GradualUnfreezingHook)] != [self]:
            raise ConfigError(f'custom_hooks: {name} and another hook that unfreezes; keep one')
        if self.by_epoch and not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ConfigError(f'{name}: train_cfg counts iterations; set {name}.by_epoch=False and count them here too')
        if is_model_wrapper(runner.model) and not isinstance(runner.model, DistributedDataParallel):
            raise ConfigError(f'{name}: cannot change what is trained inside {type(runner.model).__name__}; '
                              "use model_wrapper_cfg=dict(type='MMDistributedDataParallel')")
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        if isinstance(runner.optim_wrapper, OptimWrapperDict) or not isinstance(runner.optim_wrapper, OptimWrapper):
            raise ConfigError(f'{name}: needs one optimizer, got several')
        self._last = backbone.frozen_stages
        self._phases = self._checked(backbone, self._total(runner))
        self._members = OptimizerMembers(runner.optim_wrapper.optimizer)

    def _checked(self, backbone: BaseBackbone, total: int) -> dict[int, int]:
        """Return the phases, once they are known to fit the backbone."""
        name, most = type(self).__name__, backbone.num_stages_total
        given = {
            'start': self.start
        } if self.schedule is None else {
            f'schedule[{k}]': v
            for k, v in self.schedule.items()
        }
        for key, value in given.items():
            if value is not None and not (_whole(value, -1) and value <= most):
                raise ConfigError(
                    f'{name}.{key}={value!r}: {type(backbone).__name__} has {most} stages here, so it must be '
                    f'from -1 (nothing frozen) over 0 (the stem) to {most} (the whole backbone)')
        phases = self.phases(most, self._last, total)
        order = list(phases.values())
        if sorted(order, reverse=True) != order:
            raise ConfigError(f'{name}.schedule={self.schedule}: freezes again what has begun to learn')
        if not order or order[0] <= self._last:
            raise ConfigError(
                f'{name}: nothing to unfreeze: it starts with {order[0] if order else self.start} frozen '
                f'stages, and model.backbone.frozen_stages={self._last} keeps that many frozen to the end')
        return phases

    def _advance(self, runner: Runner) -> None:
        """Unfreeze where it is time to, and say so."""
        model = unwrap(runner.model)
        before = model.backbone.frozen_stages
        frozen = self.frozen_at(self._position(runner))
        if frozen == before:
            return
        self._set(runner, frozen)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        runner.logger.info(
            f'from {self.unit} {self._position(runner) + 1} on, {self._stage_names(model, frozen, before)} '
            f'is trained too: {trained:,} parameters in all')

    def _set(self, runner: Runner, frozen: int) -> None:
        """Freeze so many stages, in the model, the optimizer and the wrapper of several processes."""
        model = unwrap(runner.model)
        if model.backbone.frozen_stages == frozen:
            return
        model.backbone.freeze_stages(frozen)
        model.train(model.training)  # what else the model keeps in eval mode
        self._members.hold_trained(runner.optim_wrapper.optimizer)
        if is_model_wrapper(runner.model):
            _wrap_anew(runner)


def _wrap_anew(runner: Runner) -> None:
    """Give the model a new DistributedDataParallel, which waits for the gradients of what is trained now and no others."""
    config = runner.cfg.get('model_wrapper_cfg') or dict(
        find_unused_parameters=runner.cfg.get('find_unused_parameters', False), broadcast_buffers=False)
    compiled = 'train_step' in vars(runner.model)
    runner.model = runner.model.module
    gc.collect()  # the old one, in cycles with itself, hangs on the parameters' gradients
    # The processes' parameters are equal already; each keeps its own BatchNorm statistics, as without this argument in
    # torch before 2.13, which goes by `broadcast_buffers=False` here too.
    once = {'init_sync': False} if 'init_sync' in inspect.signature(DistributedDataParallel).parameters else {}
    runner.model = runner.wrap_model({**config, **once}, runner.model)
    if compiled:
        runner._maybe_compile('train_step')


@HOOKS.register_module()
class LinearProbeFineTuneHook(GradualUnfreezingHook):
    """Train the head alone on the frozen backbone, then everything (LP-FT).

    Kumar et al. 2022 (arXiv:2202.10054): a head that starts at random distorts good features before it is any use; one
    that is trained first leaves them as they are. What the config freezes stays frozen to the end. The schedule of the
    learning rate goes on; a lower rate, or a schedule that starts anew, for the second part is the business of
    ``param_scheduler``, for example ``dict(type='CosineRestartLR', periods=[10, 10], restart_weights=[1, 0.1])``. All else is
    as in :class:`GradualUnfreezingHook`.

    Args:
        probe: Epochs of the head alone; a number below 1 is that share of the run.
        by_epoch: False counts iterations in place of epochs.
    """

    def __init__(self, probe: int | float = 0.5, by_epoch: bool = True) -> None:
        if isinstance(probe, bool) or not (_whole(probe, 1) or isinstance(probe, float) and 0 < probe < 1):
            raise ConfigError(
                f'LinearProbeFineTuneHook.probe={probe!r}: must be a whole number of epochs from 1, or a share '
                'of the run between 0 and 1')
        super().__init__(by_epoch=by_epoch)
        self.probe = probe

    def phases(self, most: int, last: int, total: int) -> dict[int, int]:
        """Return the two phases, see :meth:`GradualUnfreezingHook.phases`."""
        switch = self.probe if self.probe >= 1 else max(1, round(self.probe * total))
        if switch >= total:
            raise ConfigError(f'LinearProbeFineTuneHook.probe={self.probe}: of {total} {self.unit}s none is left for '
                              'fine-tuning; lower it, or train longer')
        return {0: most, switch: last}
