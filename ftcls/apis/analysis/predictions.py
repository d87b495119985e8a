"""The predictions of a trained model for the images of a split, computed only if the run has not kept them."""
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch
from mmengine.config import Config

from ftcls.apis.inference.model_zoo import get_model, resolve_model
from ftcls.apis.training.data_checks import evaluation_loaders
from ftcls.apis.training.train import check_config
from ftcls.config.resolve import EvalOptions, work_dir_of
from ftcls.engine.hooks import data_digest
from ftcls.evaluation.predictions import PredictionRecorder, Predictions, predictions_file
from ftcls.utils import ConfigError

__all__ = ['kept_predictions', 'predictions_of']


def predictions_of(model: str | os.PathLike | Mapping | Config,
                   checkpoint: str | os.PathLike | None = None,
                   split: Literal['val', 'test'] = 'val',
                   device: str | torch.device | None = None) -> Predictions:
    """Return what a checkpoint predicts for the images of a split.

    The predictions that the run itself has kept of this checkpoint are taken; if there are none, the images go through
    the model once. The result is kept in the work dir if no ``checkpoint`` is given.

    Args:
        model: A work dir, a config file, the name of a config or a config.
        checkpoint: A file or URL; None for the best, else the last of the run that ``model`` is or whose config it is.
        split: Whose images.
        device: Where the model runs; None for the accelerator if there is one.

    Raises:
        ConfigError: If the config has no such split.
        MissingFileError: If there is no checkpoint.
    """
    options = EvalOptions()
    cfg, source = resolve_model(model, checkpoint or True)
    cfg = check_config(cfg, options)
    if split not in ('val', 'test') or not cfg.get(f'{split}_dataloader'):
        raise ConfigError(f'{split}_dataloader: missing; predictions are made for `val` or `test`')
    work_dir = Path(work_dir_of(cfg, options))
    if kept := kept_predictions(work_dir, cfg, source, split):
        return kept
    trained = get_model(cfg, source, device)
    loaders, report = evaluation_loaders(cfg, [split], trained)
    recorder = PredictionRecorder()
    with torch.no_grad():
        for batch in loaders[split]:
            recorder.process(batch, [sample.to_dict() for sample in trained.val_step(batch)])
    whose = os.path.relpath(source, work_dir)
    found = Predictions.from_samples(recorder.results, split, whose, report.classes or (), data_digest(cfg, split))
    if checkpoint is None:
        found.save(predictions_file(work_dir, split))
    return found


def kept_predictions(work_dir: Path, cfg: Config, checkpoint: str | os.PathLike, split: str) -> Predictions | None:
    """Return what the run in a folder has kept of a checkpoint's predictions for a config's split, None if nothing."""
    file = predictions_file(work_dir, split)
    with suppress(Exception):  # there is no such file or split, or it is damaged
        kept = Predictions.load(file)
        # a later run in this folder gives its checkpoints the same names
        is_newer = file.stat().st_mtime >= Path(checkpoint).stat().st_mtime
        if is_newer and kept.data == data_digest(cfg, split) and Path(work_dir, kept.checkpoint).samefile(checkpoint):
            return kept
    return None
