"""Saving checkpoints, the best by any of our metrics among them, apart from those of earlier runs."""
import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from ftcls.engine.mmengine_compat import checkpoint_source, is_resuming
from ftcls.evaluation import resolve_rule
from ftcls.registry import HOOKS
from .dry_run import DryRunHook

__all__ = ['CheckpointHook']

_POINTER = 'last_checkpoint'


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's, which keeps a run's checkpoints apart from those of an earlier run in the same folder.

    Those that a run finds there, and that it does not go on from, it moves to ``earlier_run_1`` (``_2`` …), with a warning:
    an old ``best_….pth`` beside the new one, or an old ``last_checkpoint``, would be taken for its own. A run that resumes
    moves only what was written past its point. Nothing is moved by a dry run, or on remote storage.

    Whether more of the ``save_best`` metric is better is what the metric's class states (``higher_is_better``).

    Args: those of ``mmengine.hooks.CheckpointHook`` (``interval``, ``max_keep_ckpts``, ``save_best``, ``rule`` …).

    Raises:
        ConfigError: Before the first step, if ``rule`` contradicts the metric's class, or neither says it.
    """
    _metrics: Sequence[BaseMetric] | None = None

    def _init_rule(self, rules: Sequence[str | None], key_indicators: Sequence[str]) -> None:
        """Resolve the rule of each metric, once the metrics are known."""
        if len(rules) == 1:
            rules = list(rules) * len(key_indicators)
        if self._metrics is None or key_indicators == ['auto']:
            self.rules, self.key_indicators = list(rules), key_indicators
            return
        resolved = [resolve_rule('CheckpointHook', *pair, self._metrics) for pair in zip(rules, key_indicators)]
        super()._init_rule(resolved, key_indicators)

    def before_train(self, runner: Runner) -> None:
        """Make way for the checkpoints of this run."""
        if self.save_best:
            self._metrics = runner.val_loop.evaluator.metrics if runner.val_loop is not None else []
            self._init_rule(self.rules, self.key_indicators)
        super().before_train(runner)
        if '://' in str(self.out_dir):
            return
        barrier()  # `load_from` may lie there; all processes have read it now
        if is_main_process():
            self._make_way(runner)
        if self.save_best and len(self.key_indicators) == 1:
            self.best_ckpt_path = self._own(self.best_ckpt_path)
        elif self.save_best:
            self.best_ckpt_path_dict = {key: self._own(path) for key, path in self.best_ckpt_path_dict.items()}

    def _own(self, path: str | None) -> str | None:
        """Return the best checkpoint so far, which the next best one replaces, if it lies in this run's own folder.

        The path is of where the run was before its folder was moved, or of another run that this one goes on from.
        """
        own = Path(self.out_dir) / Path(path or '').name
        return str(own) if own.is_file() else None

    def _make_way(self, runner: Runner) -> None:
        folder, pointer = Path(self.out_dir), Path(runner.work_dir) / _POINTER
        source = checkpoint_source(runner) if is_resuming(runner) else None
        goes_on = is_resuming(runner) and (source is None or Path(source).resolve().parent == folder.resolve())
        files = self._others(folder, (runner.epoch if self.by_epoch else runner.iter) if goes_on else None)
        if pointer.is_file() and (files or not goes_on):
            files.append(pointer)
        if not files:
            return
        number = 1
        while (aside := folder / f'earlier_run_{number}').exists():
            number += 1
        whose = f'past {Path(source or "").stem or "the point"}, where this run resumes' if goes_on else 'of an earlier run'
        names = ', '.join(f.name for f in files[:4]) + (' …' if len(files) > 4 else '')
        text = f'{folder} holds {len(files)} checkpoint files {whose} ({names}); '
        hint = 'give another --work-dir to keep runs apart' + (''
                                                               if goes_on else ', or --resume to go on with that run')
        if any(isinstance(hook, DryRunHook) for hook in runner.hooks):
            runner.logger.warning(f'{text}the run would move them to {aside}; {hint}')
            return
        aside.mkdir()
        for file in files:
            file.rename(aside / file.name)
        if goes_on and source is not None and files[-1] == pointer:
            pointer.write_text(str(source), encoding='utf-8')
        latest = max((f for f in files if f != pointer and not f.name.startswith('best_')),
                     key=lambda f: (aside / f.name).stat().st_mtime, default=None)  # yapf: disable
        if latest is not None and not goes_on:
            hint = f'to go on with that run instead: --resume {aside / latest.name} with another --work-dir'
        runner.logger.warning(f'{text}moved to {aside}, so that none is taken for one of this run; {hint}')

    def _others(self, folder: Path, point: int | None) -> list[Path]:
        """Return the checkpoints of earlier runs; with a ``point``, an epoch or iteration, those written past it."""
        own = re.escape(self.filename_tmpl).replace(r'\{\}', r'(\d+)').removesuffix(r'\.pth')
        form = re.compile(rf'(?:best_.+_)?(?:{own}|(?:epoch|iter)_\d+)(?:-[0-9a-f]{{8}})?\.pth')
        found = {file: form.fullmatch(file.name) for file in sorted(folder.glob('*.pth'))}
        return [
            file for file, match in found.items()
            if match and (point is None or match[1] is not None and int(match[1]) > point)
        ]
