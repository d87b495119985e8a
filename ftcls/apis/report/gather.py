"""Gathers what a report tells of a run from the run's folder."""
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np

from ftcls.apis.analysis.predictions import kept_predictions, predictions_of
from ftcls.apis.inference.model_zoo import find_checkpoint, find_config
from ftcls.config.loading import load_config
from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.evaluation.predictions import OUT_OF_FOLD, Predictions
from ftcls.utils import MissingFileError, UserError
from ftcls.utils.errors import located
from ftcls.utils.names import command, plural
from ftcls.utils.plain_files import load_plain
from ftcls.visualization import read_records
from .contents import RunContents
from .images import SplitImages, count_validation_images
from .judging import calibrate_scores, class_rows, example_of, find_suspects, image_scores, is_known, mean_interval
from .verdict import verdict_of

__all__ = ['gather_run', 'read_results']

_MOST_SUSPECTS = 24
_TRACES = ('preflight.txt', 'metrics.jsonl', 'predictions')  # of a run


def gather_run(work_dir: str | os.PathLike,
               checkpoint: str | None = None,
               compared: str | os.PathLike | None = None) -> RunContents:
    """Return what is known of a run; what cannot be told is left out, and the contents' notes say why.

    Args:
        work_dir: Its folder.
        checkpoint: Whose predictions; None for the best, else the last one.
        compared: The folder of a comparison or cross-validation of the same data; None for one that the run is in.

    Raises:
        MissingFileError: If the folder holds no run.
    """
    folder = Path(work_dir)
    if not any((folder / name).exists() for name in _TRACES) and not list(folder.glob('*.pth')):
        raise MissingFileError(f'{folder} is no work dir of a run: it holds neither {_TRACES[0]} nor a checkpoint')
    config = find_config(folder)
    cfg = load_config(config)
    again = ['--cfg-options', 'resume=False', 'load_from=None'] if cfg.get('resume') else []
    run = RunContents(folder.resolve().name, str(folder), cfg.to_dict(), config.read_text(encoding='utf-8'),
                      command('train', config, '--work-dir', f'{folder}_again', *again))
    places = [Path(compared)] if compared else [folder.resolve(), *folder.resolve().parents[:2]]
    if (preflight := folder / 'preflight.txt').is_file():
        run.preflight = preflight.read_text(encoding='utf-8')
    with _noting(run, 'curves'):
        run.records = read_records(folder / 'metrics.jsonl')
    with _noting(run, 'predictions'):
        source = checkpoint or str(find_checkpoint(folder))
        found = run.predictions = kept_predictions(folder, cfg, source, 'test') or predictions_of(folder, checkpoint)
        with _noting(run, 'validation images in the test set'):
            run.validated = count_validation_images(cfg, found)
        if run.validated == len(found.paths):
            run.predictions = replace(found, split='val')
        _judge(run)
        with _noting(run, f'images (seen from {os.getcwd()}; start in the folder in which the training was started)'):
            _show(run, SplitImages(cfg, source, found))
        if run.class_table:
            with _noting(run, 'labels'):
                _suspect(run, places)
    run.facts = list(_facts(run, folder))
    comparison = {}
    with _noting(run, 'comparison'):
        comparison = next((found for found in map(read_results, places) if 'summary' in found), {})
    run.verdict = verdict_of(run, comparison)
    return run


@contextmanager
def _noting(run: RunContents, what: str) -> Iterator[None]:
    """Note why a part is left out."""
    try:
        yield
    except Exception as err:  # noqa: B902  whatever goes wrong, the rest is worth telling
        kind = '' if isinstance(err, UserError | OSError) else f'{type(err).__name__}: '
        run.notes.append(f'{what}: {kind}{err}')


def _judge(run: RunContents) -> None:
    """Fill in what predictions alone tell."""
    found = run.predictions
    metric, scores = image_scores(found)
    if not (known := is_known(found)).any():
        run.notes.append(f'scores: no image of the {found.split} set has a label')
        return
    run.metric, run.score, run.interval = metric, float(scores[known].mean()), mean_interval(scores[known])
    if metric == 'dice':
        return
    run.class_table = class_rows(found)
    with _noting(run, 'calibration'):
        run.calibration = calibrate_scores(found)


def _show(run: RunContents, images: SplitImages) -> None:
    """Fill in what needs the images."""
    run.image_of = images.image_of
    if run.predictions.counts.size:
        run.segments = images.segments()
        return
    mistakes = images.mistakes()
    run.mistakes = list(mistakes.values())
    if run.predictions.labels.ndim == 1 and mistakes:
        with _noting(run, 'Grad-CAM'):
            run.mistakes = images.explained(mistakes)
    with _noting(run, 'duplicates'):
        run.duplicates = images.duplicates()
        shared = [name for kind, name, _ in run.duplicates if kind == 'shared']
        alone = is_known(run.predictions) & ~np.isin(images.names, shared)
        if shared and alone.any():
            run.score_without_duplicates = float(image_scores(run.predictions)[1][alone].mean())


def _suspect(run: RunContents, places: Sequence[Path]) -> None:
    """Fill in which labels look wrong: those of a cross-validation in one of the places, else those of the run."""
    found, run.suspects_basis = run.predictions, f'by the scores on the {run.predictions.split} set'
    for place in places:
        if parts := [Predictions.load(file) for file in sorted(place.glob(f'fold*/predictions/{OUT_OF_FOLD}.npz'))]:
            found, run.suspects_basis = Predictions.joined(parts), f'by the out-of-fold scores of {place}'
            break
    suspects = find_suspects(found)
    if len(suspects) > _MOST_SUSPECTS:
        run.suspects_basis += f' (the first {_MOST_SUSPECTS} of {len(suspects)})'
    for number in suspects[:_MOST_SUSPECTS]:
        image = run.image_of(number) if found is run.predictions else _read(found.paths[number])
        run.suspects.append(example_of(found, number, image))


def _read(path: str) -> np.ndarray | None:
    """Return an image of a training set, (H, W, 3) uint8, RGB; None if there is no such file."""
    return LoadImageFromFile().transform(dict(img_path=path))['img'][..., ::-1] if Path(path).is_file() else None


def read_results(folder: Path) -> dict:
    """Return the ``results.json`` of an experiment, {} if there is none.

    Raises:
        DataError: If it is damaged.
    """
    file = folder / 'results.json'
    with located(str(file)):
        return load_plain(file) if file.is_file() else {}


def _facts(run: RunContents, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield how long the run took and what it needed."""
    times = [record['time'] for record in run.records]
    if times:  # a process that resumes counts anew
        seconds = sum(before for before, after in pairwise([*times, 0]) if after < before)
        yield 'time', f'{timedelta(seconds=round(seconds))} for {plural(run.records[-1]["epoch"], "epoch")}'
    logs = [log.read_text(encoding='utf-8', errors='replace') for log in sorted(folder.glob('*/*.log'))]
    for title, texts in (('machine', [run.preflight]), ('peak memory', logs)):
        yield from ((title, found) for found in re.findall(f'{title} +(.*)', '\n'.join(texts))[-1:])
    if run.predictions is not None:
        yield 'checkpoint', run.predictions.checkpoint
