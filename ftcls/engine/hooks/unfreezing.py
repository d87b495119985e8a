"""Learning that widens over time: gradual unfreezing, and a linear probe before fine-tuning."""
from collections.abc import Mapping
from os.path import commonprefix

import torch.nn as nn
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.nn.parallel import DistributedDataParallel

from ftcls.engine.mmengine_compat import checkpoint_source, is_resuming, is_training, wrap_again
from ftcls.engine.optimizers.members import TrainableParams
from ftcls.engine.parameter_table import unwrap
from ftcls.models.backbones.base_backbone import BaseBackbone
from ftcls.models.freezing import frozen_by
from ftcls.registry import HOOKS
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.report import fold_names

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
        self._members: TrainableParams | None = None
        self._last = -1
        self._learns: set[str] = set()
        self._planned = 0

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

    def plan(self, model: nn.Module, total: int) -> dict[str, int]:
        """Lay out the phases for a model in which nothing but what the config freezes is frozen yet.

        Args:
            model: The model, without the wrapper of distributed training.
            total: Epochs or iterations of the run.

        Returns:
            Name of each parameter that will be trained to the epochs or iterations that are done before.

        Raises:
            ConfigError: If the model has no backbone with stages, or the plan does not fit it.
        """
        backbone = getattr(model, 'backbone', None)
        if not isinstance(backbone, BaseBackbone):
            raise ConfigError(f'{type(self).__name__}: needs a model whose backbone has stages; {type(model).__name__} '
                              'has none')
        self._last = backbone.frozen_stages
        self._phases, self._planned = self._checked(backbone, total), total
        self._learns = {name for name, param in model.named_parameters() if param.requires_grad}
        return {
            name: min(at for at, frozen in self._phases.items() if stage > frozen)
            for name, stage in self._stage_of(model).items() if name in self._learns
        }

    def check_loop(self, by_epoch: bool) -> None:
        """Raise a ConfigError unless the run counts what this hook counts."""
        if self.by_epoch and not by_epoch:
            name = type(self).__name__
            raise ConfigError(f'{name}: train_cfg counts iterations; set {name}.by_epoch=False and count them here too')

    def before_run(self, runner: Runner) -> None:
        """Check the plan, while the optimizer still holds all that will ever be trained."""
        self._prepare(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Set what was trained when the checkpoint was written: the optimizer's state, loaded next, is of that set."""
        if not is_training(runner):
            return
        self._prepare(runner)
        backbone, meta = unwrap(runner.model).backbone, checkpoint.get('meta') or {}
        noted = min(meta.get('frozen_stages', self._last), backbone.num_stages_total)  # none: all were trained
        if is_resuming(runner):
            # a share of the run is a share of the run as it was planned: what is trained shall not rest again in a longer one
            self._planned = meta.get('unfreezing_planned', self._planned)
            self._phases = self._checked(backbone, self._planned)
            frozen = self.frozen_at(meta.get('epoch' if self.by_epoch else 'iter', 0))
            if frozen > noted:
                runner.logger.warning(
                    f'{type(self).__name__}: what was trained in {checkpoint_source(runner)} is frozen again, as '
                    f'the plan has it at that point: {", ".join(self._stage_names(backbone, noted, frozen))}')
        self._set(runner, noted)

    def before_train(self, runner: Runner) -> None:
        """Set what is trained at the run's first epoch, before the preflight describes it."""
        position = self._position(runner)
        self._check_something_learns(unwrap(runner.model), position)
        self._set(runner, self.frozen_at(position))

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
        checkpoint['meta']['unfreezing_planned'] = self._planned

    def trained_later(self, runner: Runner) -> set[str]:
        """Return the names of the parameters that are or will be trained before the run ends, for :class:`PreflightHook`."""
        frozen = self.frozen_at(max(0, self._total(runner) - 1))
        return {name for name, stage in self._stage_of(unwrap(runner.model)).items() if stage > frozen} & self._learns

    def preflight(self, runner: Runner) -> list[str]:
        """Return the plan, one line a step, for :class:`PreflightHook`."""
        return self.describe(unwrap(runner.model), self._total(runner))

    def joining(self, model: nn.Module) -> dict[int, str]:
        """Return, by the epochs or iterations done, what is trained besides from then on: ``'stage 3, stage 2'``."""
        joined, before = {}, model.backbone.num_stages_total
        for at, frozen in self._phases.items():
            joins = [title.split(' (')[0] for title in self._joining(model, frozen, before)[0]]
            if at and joins:
                joined[at] = ', '.join(joins)
            before = frozen
        return joined

    def describe(self, model: nn.Module, total: int) -> list[str]:
        """Return the plan that :meth:`plan` laid out, one line a step."""
        lines = []
        for at, frozen in self._phases.items():
            before = [f for a, f in self._phases.items() if a < at][-1:]
            joins, stays = self._joining(model, frozen, before[0] if before else model.backbone.num_stages_total)
            if before:
                what = f'+ {", ".join(joins)}' if joins else 'nothing more'
            else:
                what = ' and '.join(['all but the backbone', ', '.join(joins)] if joins else ['all but the backbone'])
                others = [n for n, _ in model.named_parameters() if n not in self._learns and n[:9] != 'backbone.']
                stays += [f'{fold_names(others)} stays frozen by {frozen_by(model, others)}'] if others else []
            what = '; '.join([what, *stays])
            late = f' (NEVER: the run ends after {total} {self.unit}s)' if at >= total else ''
            lines.append(f'unfreezing: from {self.unit} {at + 1} {what}{late}')
        return lines

    @staticmethod
    def _stage_of(model: nn.Module) -> dict[str, int]:
        """Return the stage of each parameter of the model; those outside the backbone are beyond all stages."""
        inside = model.backbone.stage_of_parameters()
        beyond = model.backbone.num_stages_total + 1
        return {name: inside.get(name.removeprefix('backbone.'), beyond) if name.startswith('backbone.') else beyond
                for name, _ in model.named_parameters()}  # yapf: disable

    @staticmethod
    def _stage_names(backbone: BaseBackbone, frozen: int, before: int) -> dict[str, list[str]]:
        """Name the stages that are frozen with ``before`` and not with ``frozen``, last first, each with its parameters."""
        stages = {}
        for k in range(before, frozen, -1):
            names = [f'backbone.{name}' for name, stage in backbone.stage_of_parameters().items() if stage == k]
            shared = commonprefix([name.split('.')[:-1] for name in names])
            where = '.'.join(shared) if len(shared) > 1 else fold_names(names, 3)
            stages[f'{"the stem" if k == 0 else f"stage {k}"} ({where or "no parameters"})'] = names
        return stages

    def _joining(self, model: nn.Module, frozen: int, before: int) -> tuple[list[str], list[str]]:
        """Say what is trained with ``frozen`` and was not with ``before``, and what of it the config keeps frozen for good."""
        joins, stays = [], []
        for title, names in self._stage_names(model.backbone, frozen, before).items():
            fixed = [name for name in names if name not in self._learns]
            if not fixed:
                joins.append(title)
            elif len(fixed) == len(names):
                stays.append(f'{title} stays frozen by {frozen_by(model, fixed)}')
            else:
                joins.append(
                    f'{title[:-1]}: {len(names) - len(fixed)} of {len(names)} parameters, the others stay frozen '
                    f'by {frozen_by(model, fixed)})')
        return joins, stays

    def _check_something_learns(self, model: nn.Module, position: int) -> None:
        """Raise a ConfigError if nothing learns at this point, since the config freezes what the plan would train first."""
        stage_of, frozen = self._stage_of(model), self.frozen_at(position)
        if any(stage_of[name] > frozen for name in self._learns):
            return
        name, fixed = type(self).__name__, [n for n in stage_of if stage_of[n] > frozen and n not in self._learns]
        later = [at for at, less in self._phases.items() if any(stage_of[n] > less for n in self._learns)]
        raise ConfigError(
            f'nothing to train in {self.unit} {position + 1}: all {len(stage_of)} parameters of {type(model).__name__} are '
            f'frozen, {fold_names(fixed)} by {frozen_by(model, fixed)} and the rest by {name}' +
            (f' until the end of {self.unit} {later[0]}' if later else '') +
            f'; let {name} start with something that learns ({name}.start), or take that out of {frozen_by(model, fixed)}'
        )

    def _position(self, runner: Runner) -> int:
        return runner.epoch if self.by_epoch else runner.iter

    def _total(self, runner: Runner) -> int:
        return runner.max_epochs if self.by_epoch else runner.max_iters

    def _prepare(self, runner: Runner) -> None:
        """Check that this run can do it; note what the optimizer was built with. Once."""
        if self._members is not None:
            return
        name = type(self).__name__
        if [h for h in runner.hooks if isinstance(h, GradualUnfreezingHook)] != [self]:
            raise ConfigError(f'custom_hooks: {name} and another hook that unfreezes; keep one')
        self.check_loop(isinstance(runner.train_loop, EpochBasedTrainLoop))
        if is_model_wrapper(runner.model) and not isinstance(runner.model, DistributedDataParallel):
            raise ConfigError(f'{name}: cannot change what is trained inside {type(runner.model).__name__}; '
                              "use model_wrapper_cfg=dict(type='MMDistributedDataParallel')")
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        if isinstance(runner.optim_wrapper, OptimWrapperDict) or not isinstance(runner.optim_wrapper, OptimWrapper):
            raise ConfigError(f'{name}: needs one optimizer, got several')
        self.plan(unwrap(runner.model), self._total(runner))
        self._members = TrainableParams(runner.optim_wrapper.optimizer)

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
        joins, stays = self._joining(model, frozen, before)
        what = '; '.join([f'{", ".join(joins)} is trained too' if joins else 'nothing more is trained', *stays])
        runner.logger.info(f'from {self.unit} {self._position(runner) + 1} on, {what}: {trained:,} parameters in all')

    def _set(self, runner: Runner, frozen: int) -> None:
        """Freeze so many stages, in the model, the optimizer and the wrapper of several processes."""
        model = unwrap(runner.model)
        if model.backbone.frozen_stages == frozen:
            return
        model.backbone.freeze_stages(frozen, type(self).__name__)
        model.train(model.training)  # what else the model keeps in eval mode
        self._members.hold_trained(runner.optim_wrapper.optimizer)
        if is_model_wrapper(runner.model):
            wrap_again(runner)


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
