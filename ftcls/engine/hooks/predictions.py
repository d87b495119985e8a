"""What a run keeps for those who judge it: the predictions of its best validation."""
import json
import os
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from ftcls.evaluation.predictions import PredictionRecorder, Predictions, predictions_file
from ftcls.utils.digest import digest

__all__ = ['PredictionsHook', 'data_digest', 'keep_predictions', 'record_predictions']

_MOST_SCORES = 20_000_000  # images times classes; 80 MB


class PredictionsHook(Hook):
    """Write ``predictions/val.npz``, see :class:`.Predictions`, of the validation whose checkpoint is kept.

    That is the best one; without ``save_best`` it is the last one. So nobody has to compute them again.
    """
    priority = 'LOWEST'  # after `CheckpointHook`
    _recorder: PredictionRecorder | None = None

    def before_train(self, runner: Runner) -> None:
        """Record the validations from now on."""
        self._recorder = record_predictions(runner, runner.val_loop)

    def before_val_epoch(self, runner: Runner) -> None:
        """Note which checkpoints are the best ones until now."""
        self._before = _best_checkpoints(runner)

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, Any] | None = None) -> None:
        """Keep the predictions of a checkpoint that is new."""
        if self._recorder is None:
            return
        bests = _best_checkpoints(runner)
        new = [path for path in bests if path not in self._before]
        if not bests and any(getattr(hook, 'saved_step', None) == runner.iter for hook in runner.hooks):
            new = [runner.message_hub.get_info('last_ckpt')]
        if new:
            keep_predictions(self._recorder, runner, 'val', new[-1])
        self._recorder.samples = ()

    def after_train(self, runner: Runner) -> None:
        """Leave later validations alone: their weights are not those of the best checkpoint."""
        self._recorder = None


def _best_checkpoints(runner: Runner) -> list[str]:
    return [path for key, path in runner.message_hub.runtime_info.items() if key.startswith('best_ckpt')]


def record_predictions(runner: Runner, loop: BaseLoop | None) -> PredictionRecorder | None:
    """Let a loop record predictions; None if there is no loop, they are too many, or of other weights than saved ones.

    A checkpoint has the averaged weights as its weights, although the trained ones may be measured.
    """
    if loop is None or not all(getattr(hook, 'evaluate_on_ema', True) for hook in runner.hooks):
        return None
    numbers = len(loop.dataloader.dataset) * len(_classes(loop))
    if numbers > _MOST_SCORES:
        runner.logger.info(f'predictions are not kept: {numbers:,} scores are more than {_MOST_SCORES:,}')
        return None
    recorder = PredictionRecorder()
    loop.evaluator.metrics.append(recorder)
    return recorder


def keep_predictions(recorder: PredictionRecorder, runner: Runner, split: str, checkpoint: str) -> None:
    """Write what a recorder has of a checkpoint into the work dir; a failure is a warning."""
    if not is_main_process():
        return
    whose = os.path.relpath(checkpoint, runner.work_dir)
    try:
        classes, data = _classes(getattr(runner, f'{split}_loop')), data_digest(runner.cfg, split)
        found = Predictions.from_samples(recorder.samples, split, whose, classes, data)
        found.save(predictions_file(runner.work_dir, split))
    except Exception as err:  # noqa: B902  whatever goes wrong, the run is worth more
        runner.logger.warning(f'the predictions of {checkpoint} are not kept: {type(err).__name__}: {err}')


def data_digest(cfg: Config, split: str) -> str:
    """Return a digest of what a config says of a split's dataset."""
    return digest(json.dumps(cfg[f'{split}_dataloader'].get('dataset'), sort_keys=True, default=str))


def _classes(loop: BaseLoop) -> list[str]:
    return list((getattr(loop.dataloader.dataset, 'metainfo', None) or {}).get('classes') or ())
