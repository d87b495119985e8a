"""Predicting many images, and the predictions as a table or a file; tools/predict.py calls it."""
import contextlib
import csv
import glob
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from mmengine.utils import track_iter_progress
from torch.utils.data import DataLoader

from ftcls.apis.training.machine_faults import prepare_workers
from ftcls.datasets.headers import is_image
from ftcls.datasets.survey import survey_images
from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.datasets.transforms.decoder_errors import DAMAGED
from ftcls.models.heads import PixelHead
from ftcls.models.segmentors import ImageSegmentor
from ftcls.utils import ConfigError, DataError, MissingFileError, UserError
from ftcls.utils.checkpoint.folder import write_whole
from ftcls.utils.log import warn
from ftcls.utils.names import enumerate_names, missing_hint, plural
from ftcls.utils.processes import usable_cores
from ftcls.utils.table import render_table
from .exported import is_exported
from .inferencer import ImageClassificationInferencer, ValidationPipeline, check_topk, prepare
from .model_zoo import CHECKPOINT_SUFFIXES, get_model, resolve_model
from .segmentation import ImageSegmentationInferencer

__all__ = ['PredictionReport', 'find_images', 'predict_files', 'split_checkpoint']

_NO_IMAGES = 'is a folder without images'
_FEW = 64  # images that are prepared before worker processes have started
_LARGE = ('pred_scores', 'pred_mask', 'pred_prob')  # all scores or pixels are too many for a file


@dataclass
class PredictionReport:
    """The predictions of some images.

    Attributes:
        rows: One per image, with ``img_path`` and either ``error`` or the prediction: ``pred_label``, ``pred_score``,
            ``pred_class`` (if the classes have names) and ``topk``. For a model with several labels per image these are
            lists, and ``topk`` is there if it was asked for. For a segmentor ``foreground``, a share from 0 to 1.
        notes: What else there is to report, one line each.
    """
    rows: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def broken(self) -> list[dict]:
        """The rows of the images that could not be predicted."""
        return [row for row in self.rows if 'error' in row]

    @property
    def exit_code(self) -> int:
        """0 if every image was predicted, else 1."""
        return int(bool(self.broken))

    def collect(self, files: Sequence[str], results: Iterable[tuple[dict, Any]], out: str | os.PathLike | None) -> None:
        """Add a row for each file's result as it comes, show the progress on a terminal, and write ``out``.

        If it is stopped, what has come until then is written.
        """
        if sys.stderr.isatty():
            results = track_iter_progress((results, len(files)), file=sys.stderr)
        try:
            for (result, _), file in zip(results, files):  # the progress ends with the results
                if os.path.isdir(file):
                    result = dict(error=f'{file} {_NO_IMAGES}')
                self.rows.append(dict(img_path=file, **{k: v for k, v in result.items() if k not in _LARGE}))
        finally:
            if self.rows and out is not None:
                self.write(out)
                if len(self.rows) < len(files):
                    warn(f'stopped: {out} has the predictions of {len(self.rows)} of {len(files)} images')

    def table(self) -> str:
        """Return the predictions as a plain table, then what could not be predicted and why."""
        cells = []
        columns = {'image': 'left', 'class': 'left', 'score': 'right'}
        if self._has_masks:
            columns = dict(image='left', foreground='right')
        for line in self._lines():
            path = line['img_path'] if line.get('rank', 1) == 1 else ''
            if 'foreground' in line:
                cells.append((path, f'{line["foreground"]:.4f}'))
            elif 'label' in line:
                name = f'{line["class"]} ({line["label"]})' if 'class' in line else line['label']
                cells.append((path, name, f'{line["score"]:.4f}'))
            elif 'error' not in line:
                cells.append((path, 'no label', ''))
        lines = []
        if cells:
            lines.append(render_table(columns, cells, width=10_000))  # wide, so that no path is folded
        lines += self.notes
        if self.broken:
            lines.append(f'{len(self.broken)} of {plural(len(self.rows), "image")} could not be predicted:')
            lines += [f'  {row["error"]}' for row in self.broken]
        return '\n'.join(lines)

    def write(self, out: str | os.PathLike) -> None:
        """Write the rows to a .json file (a list), or to a .csv file (one line per image and rank)."""
        path = Path(out)
        if path.suffix.lower() == '.json':
            write_whole(path, json.dumps(self.rows, indent=2, ensure_ascii=False) + '\n')
            return
        columns = ['img_path', 'rank', 'label', 'class', 'score', 'error']
        if self._has_masks:
            columns = ['img_path', 'foreground', 'error']
        columns += [name for name in ('mask', 'overlay') if any(name in row for row in self.rows)]
        file = io.StringIO(newline='')
        writer = csv.DictWriter(file, columns, restval='', extrasaction='ignore')
        writer.writeheader()
        writer.writerows(self._lines())
        write_whole(path, file.getvalue())

    @property
    def _has_masks(self) -> bool:
        return any('foreground' in row for row in self.rows)

    def _lines(self) -> Iterator[dict]:
        """Yield one dict per image and rank; the row itself for a mask, a broken image and one without a label."""
        for row in self.rows:
            if (hits := row.get('topk')) is None:  # lists of several labels
                columns = {key.removeprefix('pred_'): value for key, value in row.items() if key.startswith('pred_')}
                hits = [dict(zip(columns, values)) for values in zip(*columns.values())]
            files = {key: row[key] for key in ('img_path', 'mask', 'overlay') if key in row}
            yield from [dict(hit, **files, rank=rank) for rank, hit in enumerate(hits, start=1)] or [row]


def split_checkpoint(inputs: Sequence[str]) -> tuple[str | None, list[str]]:
    """Separate a checkpoint, known by its suffix or ``torchvision://``, from the images after it.

    Example:
        >>> split_checkpoint(['best.pth', 'bee.jpg'])
        ('best.pth', ['bee.jpg'])
    """
    first, *others = inputs or ['']
    if first.split('?')[0].lower().endswith(CHECKPOINT_SUFFIXES) or first.startswith('torchvision://'):
        return first, others
    return None, list(inputs)


def find_images(inputs: Sequence[str | os.PathLike]) -> tuple[list[str], list[str]]:
    """Return the images that files, folders (with subfolders) and glob patterns name, and notes on what was skipped.

    '-' is for the names on the standard input, one per line, or separated by NUL as by ``find -print0``.
    A file that is named itself is always taken, even if it does not exist: reading it reports that.
    """
    images: dict[str, None] = {}
    notes = []
    for name in chain.from_iterable(_read_names() if str(name) == '-' else [os.fspath(name)] for name in inputs):
        files = hits = [name]
        if os.path.isdir(name) or (glob.has_magic(name) and not os.path.isfile(name)):
            pattern = f'{glob.escape(name)}/**/*' if os.path.isdir(name) else name
            files = [file for file in sorted(glob.glob(pattern, recursive=True)) if not os.path.isdir(file)]
            hits = [file for file in files if is_image(file) or file.lower().endswith('.npy')]
        if len(files) > len(hits):
            notes.append(f'{name}: skipped {plural(len(files) - len(hits), "file")} without an image in it')
        images.update(dict.fromkeys(hits or [name]))
    return list(images), notes


def _read_names() -> list[str]:
    """Return the names of files on the standard input."""
    content = sys.stdin.buffer.read()
    names = content.split(b'\0') if b'\0' in content else content.splitlines()
    return [os.fsdecode(name) for name in names if name]


def _check_images(images: Sequence[str]) -> None:
    """Warn of images that do not exist, and stop if none does."""
    if not images:
        raise DataError('there are no images to predict: none is given, or the standard input (-) is empty')
    missing = [f'{image} {_NO_IMAGES}' for image in images if os.path.isdir(image)]
    missing += [f'{image} does not exist{missing_hint(image)}' for image in images if not os.path.exists(image)]
    text = f'{len(missing)} of {len(images)} images cannot be predicted: {enumerate_names(missing)}'
    if len(missing) == len(images):
        raise MissingFileError(text)
    if missing:
        warn(text)


def _iter_prepared(files: Sequence[str], pipeline: ValidationPipeline, batch_size: int) -> Iterator[dict | UserError]:
    """Yield for each file the packed sample, or why there is none; of many, worker processes prepare a batch ahead.

    The loader has a generator, so that the random numbers of this process do not move on.
    """
    workers = usable_cores() if len(files) >= _FEW else 0
    ahead = max(2, batch_size // workers) if workers else None
    options = dict(num_workers=workers, prefetch_factor=ahead, generator=torch.Generator())
    loader = DataLoader(files, None, collate_fn=partial(_prepare, pipeline), **options)
    prepare_workers(loader, 'predict')
    for prepared, damaged in loader:
        DAMAGED.update(damaged)
        yield prepared


def _prepare(pipeline: ValidationPipeline, path: str) -> tuple[dict | UserError, dict[str, str]]:
    return prepare(pipeline, path), {file: text for file, text in DAMAGED.items() if file == path}


def predict_files(model: str | os.PathLike,
                  images: Sequence[str | os.PathLike],
                  checkpoint: str | os.PathLike | None = None,
                  *,
                  topk: int | None = None,
                  out: str | os.PathLike | None = None,
                  device: str | torch.device | None = None,
                  batch_size: int = 4,
                  show_dir: str | os.PathLike | None = None) -> PredictionReport:
    """Predict images; a broken or missing one does not stop the others.

    Many images are read by worker processes while the model computes, with a progress bar on a terminal. If the
    prediction is stopped, ``out`` has what was predicted until then.

    Args:
        model: A work dir, a config file, the name of a config, or a file of ``tools/export.py``.
        images: Files, folders and glob patterns; '-' for the names on the standard input, see :func:`find_images`.
        checkpoint: The weights; None for those of the run.
        topk: How many classes to list per image; None for 1, or for those that a model with several labels predicts.
        out: A .json or .csv file to write.
        batch_size: Images that go through the model at once; the results do not depend on it.
        show_dir: A folder for the images with their predictions drawn on them; for a segmentor also for the masks.

    Raises:
        ConfigError: If ``out`` has another suffix, or ``topk`` is larger than the number of classes.
        DataError: If there are no images to predict.
        MissingFileError: If there is no such config or checkpoint, or none of the images exists.
    """
    if out is not None and Path(out).suffix.lower() not in ('.json', '.csv'):
        raise ConfigError(f'--out {out} must end in .json or .csv')
    files, notes = find_images(images)
    _check_images(files)
    if not is_exported(model):
        is_given = checkpoint is not None
        model, checkpoint = resolve_model(model, checkpoint or True)
        parts = [model.get('model', {}).get(name) or {} for name in ('head', 'backbone')]
        if not is_given:
            notes.append(f'weights: {checkpoint}')
        check_topk(topk, next((one['num_classes'] for one in parts if (one.get('num_classes') or 0) > 0), sys.maxsize))
    built = get_model(model, checkpoint, device)
    is_segmentor = isinstance(built, ImageSegmentor) or isinstance(getattr(built, 'head', None), PixelHead)
    kind = ImageSegmentationInferencer if is_segmentor else ImageClassificationInferencer
    inferencer = kind(built)
    if topk is None and not inferencer.is_multi_label:
        topk = 1
    report = PredictionReport(notes=notes)
    prepared = _iter_prepared(files, inferencer.pipeline, batch_size)
    report.collect(files, inferencer.predict_each(files, prepared, batch_size, show_dir, topk), out)
    if isinstance(inferencer.pipeline.load, LoadImageFromFile):
        with contextlib.suppress(DataError):  # each file has an error of its own
            report.notes += survey_images(files, inferencer.pipeline.load).lines[1:]
    damaged = [file for file in files if file in DAMAGED]
    report.notes += [f'{file} is damaged, and was decoded as far as possible: {DAMAGED[file]}' for file in damaged]
    if inferencer.classes is None and kind is ImageClassificationInferencer:
        report.notes.append('neither the checkpoint nor the config names the classes: these are indices')
    if out is not None:
        report.notes.append(f'written to {out}')
    if show_dir is not None and len(report.broken) < len(report.rows):
        report.notes.append(f'drawn in {show_dir}')
    return report
