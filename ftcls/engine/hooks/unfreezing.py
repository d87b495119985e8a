"""Training that starts with a frozen backbone: gradual unfreezing, and a linear probe before fine-tuning."""
from collections.abc import Mapping
from os.path import commonprefix
from typing import Annotated

import torch.nn as nn
from annotated_types import Ge
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.nn.parallel import DistributedDataParallel

from ftcls.engine.mmengine_compat import checkpoint_source, is_resuming, is_training, wrap_again
from ftcls.engine.optimizers.trainable_params import TrainableParams
from ftcls.models.backbones.base_backbone import BaseBackbone
from ftcls.models.freezing import FreezeRecord, frozen_by
from ftcls.registry import HOOKS
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.matching import unwrap_model
from ftcls.utils.checkpoint.report import fold_names
from ftcls.utils.types import Fraction, NonNegativeInt, PositiveInt

__all__ = ['GradualUnfreezingHook', 'LinearProbeFineTuneHook', 'UnfreezingPlan']

FrozenStages = Annotated[int, Ge(-1)]  # -1 nothing, 0 the stem, k the stem and the first k stages


class UnfreezingPlan:
    """Which stages of a model's backbone are frozen when; what is outside the backbone comes after all stages.

    Args:
        model: Without the wrapper of distributed training.
        phases: ``{epochs or iterations done: frozen_stages}``, in the order of the run.
        hook: Name of the hook that freezes and releases the stages, as in the model's :class:`FreezeRecord`.
        unit: ``'epoch'`` or ``'iteration'``.
    """

    def __init__(self, model: nn.Module, phases: Mapping[int, int], hook: str, unit: str) -> None:
        self.model, self.phases, self.hook, self.unit = model, dict(phases), hook, unit
        self.most = model.backbone.num_stages_total
        record = FreezeRecord.of(model)
        inside = {f'backbone.{name}': stage for name, stage in model.backbone.stage_of_parameters().items()}
        self._stage_of = {name: inside.get(name, self.most + 1) for name, _ in model.named_parameters()}
        self._learns = {name for name, p in model.named_parameters() if set(record.reasons(p)) <= {hook}}

    def frozen_at(self, position: int) -> int:
        """Return ``frozen_stages`` after so many epochs or iterations, as ``position`` everywhere here."""
        return [frozen for at, frozen in self.phases.items() if at <= position][-1]

    def trained_with(self, frozen: int) -> set[str]:
        """Return the names of the parameters that are trained with so many ``frozen_stages``."""
        return {name for name in self._learns if self._stage_of[name] > frozen}

    def begins(self) -> dict[str, int]:
        """Return, by the name of each parameter that will be trained, the epochs or iterations done before."""
        begins: dict[str, int] = {}
        for at, frozen in reversed(self.phases.items()):
            begins |= dict.fromkeys(self.trained_with(frozen), at)
        return begins

    def joining(self) -> dict[int, str]:
        """Return, by the epochs or iterations done, what is trained in addition then: ``'stage 3, stage 2'``."""
        joined = {at: ', '.join(_stage_name(stage) for stage in self._changes(at)[0]) for at in self.phases if at}
        return {at: names for at, names in joined.items() if names}

    def describe(self, total: int) -> list[str]:
        """Return one line for each phase of a run of ``total`` epochs or iterations."""
        notes = {True: f' (NEVER: the run ends after {total} {self.unit}s)', False: ''}
        return [f'unfreezing: {self.describe_phase(at)}{notes[at >= total]}' for at in self.phases]

    def describe_phase(self, at: int) -> str:
        """Return what changes after so many epochs or iterations: ``'from epoch 3 + stage 2 (backbone.layer2)'``."""
        joins, stays = self._changes(at)
        what = ', '.join(joins.values())
        if at == 0:
            what = ' and '.join(filter(None, ['all but the backbone', what]))
            if outside := [name for name in self._names_of(self.most + 1) if name not in self._learns]:
                stays.append(f'{fold_names(outside)} stays frozen by {frozen_by(self.model, outside)}')
        else:
            what = f'+ {what}' if joins else 'nothing more'
        return '; '.join([f'from {self.unit} {at + 1} {what}', *stays])

    def _changes(self, at: int) -> tuple[dict[int, str], list[str]]:
        """Return a text per stage that begins to learn, last stage first, and sentences on those that stay frozen."""
        before = self.frozen_at(at - 1) if at else self.most
        joins, stays = {}, []
        for stage in range(before, self.phases[at], -1):
            names = self._names_of(stage)
            fixed = [name for name in names if name not in self._learns]
            by, more = f'frozen by {frozen_by(self.model, fixed)}', ''
            if fixed and fixed == names:
                stays.append(f'{self.title(stage)} stays {by}')
                continue
            if fixed:
                more = f': {len(names) - len(fixed)} of {len(names)} parameters, the others stay {by}'
            joins[stage] = self.title(stage, more)
        return joins, stays

    def title(self, stage: int, more: str = '') -> str:
        """Return the name of a stage with its modules: ``'stage 4 (backbone.layer4)'``."""
        names = self._names_of(stage)
        shared = commonprefix([name.split('.')[:-1] for name in names])
        modules = '.'.join(shared) if len(shared) > 1 else fold_names(names, 3)
        return f'{_stage_name(stage)} ({modules or "no parameters"}{more})'

    def check_learns(self, position: int) -> None:
        """Raise a ConfigError if nothing learns after so many epochs or iterations."""
        frozen = self.frozen_at(position)
        if self.trained_with(frozen):
            return
        fixed = [name for name, stage in self._stage_of.items() if stage > frozen]
        settings = frozen_by(self.model, fixed)
        raise ConfigError(f'nothing to train in {self.unit} {position + 1}: {fold_names(fixed)} frozen by {settings}, '
                          f'all else by {self.hook}. Lower {self.hook}.start, or change {settings}')

    def _names_of(self, stage: int) -> list[str]:
        return [name for name, its_stage in self._stage_of.items() if its_stage == stage]


def _stage_name(stage: int) -> str:
    return f'stage {stage}' if stage else 'the stem'


@HOOKS.register_module()
class GradualUnfreezingHook(Hook):
    """Train the head first, then stage after stage of the backbone from the last to the first.

    Universal Language Model Fine-tuning, Howard & Ruder 2018 (arXiv:1801.06146), over ``backbone.stages()``. What the
    config freezes (``frozen_stages``, and single parameters) stays frozen for the whole run.

    The optimizer always holds exactly the trained parameters. One that joins has the learning rate and weight decay
    that ``paramwise_cfg`` and the schedule give it at that point; those already trained keep their momentum. Frozen
    BatchNorm layers are in eval mode. With several processes DistributedDataParallel is wrapped around each new set, so
    that ``find_unused_parameters`` is not needed. A run that resumes continues as if it had not been stopped.

    Args:
        start: ``frozen_stages`` at the beginning: k freezes the stem and the first k stages; None the whole backbone.
        every: Epochs from one stage to the next.
        schedule: Instead of both, ``{epochs done: frozen_stages}``, such as ``{0: 4, 3: 2, 5: -1}``.
        by_epoch: Count epochs, else iterations.

    Raises:
        ConfigError: If arguments contradict each other; before the first step if the model has no backbone with
            stages, the schedule does not fit it, or the run's loop, optimizer or wrapper cannot do this.
    """
    priority = 'HIGHEST'  # before SafeCheckpointHook, which gives waiting gradients back to what is trained

    def __init__(self,
                 start: FrozenStages | None = None,
                 every: PositiveInt = 1,
                 schedule: Mapping[NonNegativeInt, FrozenStages] | None = None,
                 by_epoch: bool = True) -> None:
        self._name = name = type(self).__name__
        if schedule is not None and (start is not None or every != 1):
            raise ConfigError(f'{name}.schedule: replaces start and every; give it, or these')
        # the registry checks the values only
        if schedule is not None and (0 not in schedule or not all(isinstance(at, int) and at >= 0 for at in schedule)):
            raise ConfigError(f'{name}.schedule={dict(schedule)}: its keys must be whole numbers, 0 among them')
        self.start, self.every, self.by_epoch = start, every, by_epoch
        self.unit = 'epoch' if by_epoch else 'iteration'
        self.schedule = schedule and dict(sorted(schedule.items()))
        self._members: TrainableParams | None = None
        self._plan: UnfreezingPlan | None = None
        self._last: int | None = None  # the config's frozen_stages
        self._planned = 0

    def phases(self, most: int, last: int, total: int) -> dict[int, int]:
        """Return ``{epochs or iterations done: frozen_stages}`` for a run of ``total`` epochs or iterations.

        ``most`` freezes the whole backbone; ``last`` is the config's ``frozen_stages``, where it ends.
        """
        if self.schedule is not None:
            return {at: max(frozen, last) for at, frozen in self.schedule.items()}
        start = most if self.start is None else self.start
        return {(start - frozen) * self.every: frozen for frozen in range(start, last - 1, -1)}

    def plan(self, model: nn.Module, total: int) -> UnfreezingPlan:
        """Make the plan for a model, without the wrapper of distributed training, and ``total`` epochs or iterations.

        Raises:
            ConfigError: If the model has no backbone with stages, or the plan does not fit it.
        """
        name, backbone = self._name, getattr(model, 'backbone', None)
        if not isinstance(backbone, BaseBackbone):
            raise ConfigError(f'{name}: {type(model).__name__} has no backbone with stages; remove the hook')
        if self._last is None:
            self._last = backbone.frozen_stages
        most = backbone.num_stages_total
        given = {f'schedule[{at}]': frozen for at, frozen in (self.schedule or {}).items()}
        for key, frozen in {'start': self.start or 0, **given}.items():
            if frozen > most:
                raise ConfigError(f'{name}.{key}={frozen}: must be -1 (nothing frozen), 0 (the stem) … {most} (all)')
        phases = self.phases(most, self._last, total)
        order = list(phases.values())
        if order != sorted(order, reverse=True):
            raise ConfigError(f'{name}.schedule={self.schedule}: freezes again what is trained; give falling numbers')
        if not order or order[0] <= self._last:
            raise ConfigError(f'{name}: nothing to unfreeze; lower model.backbone.frozen_stages={self._last}, or start '
                              'with more stages frozen')
        return UnfreezingPlan(model, phases, name, self.unit)

    def check_loop(self, by_epoch: bool) -> None:
        """Raise a ConfigError unless the run counts what this hook counts."""
        if self.by_epoch and not by_epoch:
            raise ConfigError(f'{self._name}: train_cfg counts iterations; set by_epoch=False and give iterations')

    def before_run(self, runner: Runner) -> None:
        """Check the plan, while the optimizer still holds everything that will ever be trained."""
        if is_training(runner):
            self._prepare(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Set what was trained when the checkpoint was written: the optimizer's state, loaded next, is of that set."""
        if not is_training(runner):
            return
        self._prepare(runner)
        meta = checkpoint.get('meta') or {}
        saved = min(meta.get('frozen_stages', self._last), self._plan.most)  # not noted: everything was trained
        if is_resuming(runner):
            # A share of the run is that of the planned run: a longer one must not freeze again what is trained.
            self._planned = meta.get('unfreezing_planned', self._planned)
            self._plan = self.plan(unwrap_model(runner.model), self._planned)
            frozen = self._plan.frozen_at(meta.get({True: 'epoch', False: 'iter'}[self.by_epoch], 0))
            if frozen > saved:
                again = ', '.join(self._plan.title(stage) for stage in range(frozen, saved, -1))
                source = checkpoint_source(runner)
                runner.logger.warning(f'{self._name}: the plan freezes again what was trained in {source}: {again}')
        self._set(runner, saved)

    def before_train(self, runner: Runner) -> None:
        """Set what is trained at the run's first epoch, before the preflight describes it."""
        position = self._progress(runner)[0]
        self._plan.check_learns(position)
        self._set(runner, self._plan.frozen_at(position))

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
        checkpoint['meta']['frozen_stages'] = unwrap_model(runner.model).backbone.frozen_stages
        checkpoint['meta']['unfreezing_planned'] = self._planned

    def trained_later(self, runner: Runner) -> set[str]:
        """Return the names of the parameters that are trained at the end of the run, for :class:`PreflightHook`."""
        return self._plan.trained_with(self._plan.frozen_at(max(0, self._progress(runner)[1] - 1)))

    def preflight(self, runner: Runner) -> list[str]:
        """Return the plan, one line per step, for :class:`PreflightHook`."""
        return self._plan.describe(self._progress(runner)[1])

    def _progress(self, runner: Runner) -> tuple[int, int]:
        """Return the epochs or iterations done, and those of the whole run."""
        if self.by_epoch:
            return runner.epoch, runner.max_epochs
        return runner.iter, runner.max_iters

    def _prepare(self, runner: Runner) -> None:
        """Check that this run can be unfrozen; note what the optimizer was built with. Only the first call acts."""
        if self._members is not None:
            return
        name = self._name
        if [hook for hook in runner.hooks if isinstance(hook, GradualUnfreezingHook)] != [self]:
            raise ConfigError(f'custom_hooks: {name} and another hook that unfreezes; keep one')
        self.check_loop(isinstance(runner.train_loop, EpochBasedTrainLoop))
        if is_model_wrapper(runner.model) and not isinstance(runner.model, DistributedDataParallel):
            kind = type(runner.model).__name__
            raise ConfigError(f"{name}: not in {kind}; use model_wrapper_cfg=dict(type='MMDistributedDataParallel')")
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        if isinstance(runner.optim_wrapper, OptimWrapperDict):
            raise ConfigError(f'{name}: needs one optimizer, got several')
        self._planned = self._progress(runner)[1]
        self._plan = self.plan(unwrap_model(runner.model), self._planned)
        self._members = TrainableParams(runner.optim_wrapper.optimizer)

    def _advance(self, runner: Runner) -> None:
        """Unfreeze where the plan does, and log it."""
        position = self._progress(runner)[0]
        if self._set(runner, self._plan.frozen_at(position)):
            trained = sum(p.numel() for p in unwrap_model(runner.model).parameters() if p.requires_grad)
            runner.logger.info(f'{self._plan.describe_phase(position)}; {trained:,} parameters are trained')

    def _set(self, runner: Runner, frozen: int) -> bool:
        """Freeze so many stages, in model, optimizer and wrapper of several processes; tell whether it is a change."""
        model = unwrap_model(runner.model)
        if model.backbone.frozen_stages == frozen:
            return False
        model.backbone.freeze_stages(frozen, self._name)
        model.train(model.training)  # what else the model keeps in eval mode
        self._members.update(runner.optim_wrapper.optimizer)
        if is_model_wrapper(runner.model):
            wrap_again(runner)
        return True


@HOOKS.register_module()
class LinearProbeFineTuneHook(GradualUnfreezingHook):
    """Train the head alone on the frozen backbone, then everything (LP-FT).

    Kumar et al. 2022 (arXiv:2202.10054): a head that starts at random distorts good features before it is any use; one
    that is trained first leaves them as they are. Everything else is as in :class:`GradualUnfreezingHook`.

    The schedule of the learning rate continues; for a lower rate, or a schedule that starts again, in the second part
    set ``param_scheduler``, for example ``dict(type='CosineRestartLR', periods=[10, 10], restart_weights=[1, 0.1])``.

    Args:
        probe: Epochs of the head alone; a number below 1 is that share of the run.
        by_epoch: False counts iterations instead of epochs.
    """

    def __init__(self, probe: PositiveInt | Fraction = 0.5, by_epoch: bool = True) -> None:
        super().__init__(by_epoch=by_epoch)
        self.probe = probe

    def phases(self, most: int, last: int, total: int) -> dict[int, int]:
        """Return the two phases, see :meth:`GradualUnfreezingHook.phases`."""
        switch = self.probe if self.probe >= 1 else max(1, round(self.probe * total))
        if switch >= total:
            raise ConfigError(f'{self._name}.probe={self.probe}: must be below the {total} {self.unit}s of the run')
        return {0: most, switch: last}
