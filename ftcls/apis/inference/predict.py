"""Predicting many images, and the predictions as a table or a file; tools/predict.py calls it."""
import contextlib
import csv
import glob
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ftcls.datasets.headers import is_image
from ftcls.datasets.list_files import missing_hint
from ftcls.datasets.survey import survey_images
from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.datasets.transforms.decoder_errors import DAMAGED
from ftcls.models.segmentors import ImageSegmentor
from ftcls.utils import ConfigError, DataError, MissingFileError
from ftcls.utils.log import warn
from ftcls.utils.names import enumerate_names, plural
from ftcls.utils.table import render_table
from .inferencer import ImageClassificationInferencer, check_topk
from .model_zoo import CHECKPOINT_SUFFIXES, get_model, resolve_model
from .segmentation import ImageSegmentationInferencer

__all__ = ['PredictionReport', 'find_images', 'predict_files', 'split_checkpoint']

_NO_IMAGES = 'is a folder without images'


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
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == '.json':
            path.write_text(json.dumps(self.rows, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')
            return
        columns = ['img_path', 'rank', 'label', 'class', 'score', 'error']
        if self._has_masks:
            columns = ['img_path', 'foreground', 'error']
        with path.open('w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, columns, restval='', extrasaction='ignore')
            writer.writeheader()
            writer.writerows(self._lines())

    @property
    def _has_masks(self) -> bool:
        return any('foreground' in row for row in self.rows)

    def _lines(self) -> list[dict]:
        """Return one dict per image and rank; the row itself for a mask, a broken image and one without a label."""
        lines = []
        for row in self.rows:
            hits = row.get('topk')
            if hits is None:  # lists of several labels
                columns = {key.removeprefix('pred_'): value for key, value in row.items() if key.startswith('pred_')}
                hits = [dict(zip(columns, values)) for values in zip(*columns.values())]
            ranked = [dict(hit, img_path=row['img_path'], rank=rank) for rank, hit in enumerate(hits, start=1)]
            lines += ranked or [row]
        return lines


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

    A file that is named itself is always taken, even if it does not exist: reading it reports that.
    """
    images: dict[str, None] = {}
    notes = []
    for name in map(os.fspath, inputs):
        pattern = name
        if os.path.isdir(name):
            pattern = f'{glob.escape(name)}/**/*'
        elif os.path.isfile(name) or not glob.has_magic(name):
            images[name] = None
            continue
        files = [file for file in sorted(glob.glob(pattern, recursive=True)) if not os.path.isdir(file)]
        hits = [file for file in files if is_image(file) or file.lower().endswith('.npy')]
        if len(files) > len(hits):
            notes.append(f'{name}: skipped {plural(len(files) - len(hits), "file")} without an image in it')
        images.update(dict.fromkeys(hits or [name]))
    return list(images), notes


def _check_images(images: Sequence[str]) -> None:
    """Warn of images that do not exist, and stop if none does."""
    if not images:
        raise DataError('there are no images to predict; give files, folders or glob patterns')
    missing = [f'{image} {_NO_IMAGES}' for image in images if os.path.isdir(image)]
    missing += [f'{image} does not exist{missing_hint(image)}' for image in images if not os.path.exists(image)]
    text = f'{len(missing)} of {len(images)} images cannot be predicted: {enumerate_names(missing)}'
    if len(missing) == len(images):
        raise MissingFileError(text)
    if missing:
        warn(text)


def predict_files(model: str | os.PathLike,
                  images: Sequence[str | os.PathLike],
                  checkpoint: str | os.PathLike | None = None,
                  *,
                  topk: int | None = None,
                  out: str | os.PathLike | None = None,
                  device: str | torch.device | None = None,
                  batch_size: int = 1,
                  show_dir: str | os.PathLike | None = None) -> PredictionReport:
    """Predict images; a broken or missing one does not stop the others.

    Args:
        model: A work dir, a config file or the name of a config.
        images: Files, folders and glob patterns.
        checkpoint: The weights; None for those of the run.
        topk: How many classes to list per image; None for 1, or for those that a model with several labels predicts.
        out: A .json or .csv file to write.
        batch_size: Images that go through the model at once.
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
    cfg, checkpoint = resolve_model(model, checkpoint or True)
    parts = [cfg.get('model', {}).get(name) or {} for name in ('head', 'backbone')]
    check_topk(topk, next((part['num_classes'] for part in parts if (part.get('num_classes') or 0) > 0), sys.maxsize))
    built = get_model(cfg, checkpoint, device)
    kind = ImageSegmentationInferencer if isinstance(built, ImageSegmentor) else ImageClassificationInferencer
    inferencer = kind(built)
    if topk is None and not inferencer.is_multi_label:
        topk = 1
    results = inferencer(files, batch_size=batch_size, show_dir=show_dir, topk=topk, skip_broken=True)
    if isinstance(inferencer.pipeline.load, LoadImageFromFile):
        with contextlib.suppress(DataError):  # each file has an error of its own
            notes += survey_images(files, inferencer.pipeline.load).lines[1:]
    report = PredictionReport(notes=notes)
    for file, result in zip(files, results):
        if os.path.isdir(file):
            result = dict(error=f'{file} {_NO_IMAGES}')
        for key in ('pred_scores', 'pred_mask', 'pred_prob'):  # all scores or pixels are too many for a file
            result.pop(key, None)
        report.rows.append(dict(img_path=file, **result))
    damaged = [file for file in files if file in DAMAGED]
    report.notes += [f'{file} is damaged, and was decoded as far as possible: {DAMAGED[file]}' for file in damaged]
    if inferencer.classes is None and kind is ImageClassificationInferencer:
        report.notes.append('neither the checkpoint nor the config names the classes: these are indices')
    if out is not None:
        report.write(out)
        report.notes.append(f'written to {out}')
    if show_dir is not None and len(report.broken) < len(report.rows):
        report.notes.append(f'drawn in {show_dir}')
    return report
