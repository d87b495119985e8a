"""Predicting many pictures, and putting the predictions into a table or a file; what tools/predict.py does."""
import csv
import glob
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from ftcls.models.segmentors import ImageSegmentor
from ftcls.utils import ConfigError, DataError, MissingFileError, nearest
from .inferencer import ImageClassificationInferencer
from .model_zoo import CHECKPOINT_SUFFIXES, get_model, resolve_model
from .segmentation import ImageSegmentationInferencer

__all__ = ['PredictionReport', 'find_pictures', 'predict_files', 'split_checkpoint']

PICTURE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')


@dataclass
class PredictionReport:
    """What came out.

    Attributes:
        rows: One a picture: ``img_path``, ``pred_label``, ``pred_score``, ``pred_class`` (where the classes have names)
            and ``topk``; for several labels a picture lists of those predicted, and ``topk`` where it was asked for; of a segmentor ``img_path`` and ``foreground`` (share, 0 to 1); or ``img_path`` and ``error``.
        notes: What else is to be said, one line each.
    """
    rows: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def broken(self) -> list[dict]:
        """The rows of the pictures that could not be predicted."""
        return [row for row in self.rows if 'error' in row]

    @property
    def exit_code(self) -> int:
        """0 where every picture was predicted, else 1."""
        return 1 if self.broken else 0

    def table(self) -> str:
        """Return the predictions as a plain table, then what could not be predicted and why."""
        masks = any('foreground' in row for row in self.rows)
        cells = [('picture', '', 'foreground') if masks else ('picture', 'class', 'score')]
        for row in self.rows:
            if 'foreground' in row:
                cells.append((row['img_path'], '', f'{row["foreground"]:.4f}'))
            for rank, hit in enumerate(_hits(row)):
                cells.append(('' if rank else row['img_path'], _class_text(hit), f'{hit["score"]:.4f}'))
            if 'pred_label' in row and not _hits(row):
                cells.append((row['img_path'], 'no label', ''))
        widths = [max(len(line[column]) for line in cells) for column in range(3)]
        lines = [f'{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}' for a, b, c in cells] if len(cells) > 1 else []
        lines += self.notes
        if self.broken:
            lines.append(f'{len(self.broken)} of {len(self.rows)} pictures could not be predicted:')
            lines += [f'  {row["error"]}' for row in self.broken]
        return '\n'.join(lines)

    def write(self, out: str | os.PathLike) -> None:
        """Write the rows to a .json file (a list), or a .csv file: one line a picture and rank, of a segmentor one a picture."""
        path = Path(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == '.json':
            path.write_text(json.dumps(self.rows, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')
            return
        with path.open('w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file)
            if any('foreground' in row for row in self.rows):
                writer.writerow(('img_path', 'foreground', 'error'))
                writer.writerows(
                    (row['img_path'], row.get('foreground', ''), row.get('error', '')) for row in self.rows)
                return
            writer.writerow(('img_path', 'rank', 'label', 'class', 'score', 'error'))
            for row in self.rows:
                for rank, hit in enumerate(_hits(row), 1):
                    writer.writerow((row['img_path'], rank, hit['label'], hit.get('class', ''), hit['score'], ''))
                if not _hits(row):  # broken, or without a label
                    writer.writerow((row['img_path'], '', '', '', '', row.get('error', '')))


def _hits(row: dict) -> list[dict]:
    """Return label, score and class (where known) of what is told of a picture."""
    if 'topk' in row or 'pred_label' not in row:
        return row.get('topk', [])
    keys = [key for key in ('label', 'score', 'class') if f'pred_{key}' in row]
    return [dict(zip(keys, values)) for values in zip(*(row[f'pred_{key}'] for key in keys))]


def _class_text(hit: dict) -> str:
    """Return a class as the table shows it: its name and index, or its index alone."""
    return f'{hit["class"]} ({hit["label"]})' if 'class' in hit else str(hit['label'])


def split_checkpoint(inputs: Sequence[str]) -> tuple[str | None, list[str]]:
    """Tell a checkpoint apart from pictures: the first input is one if it ends as checkpoints do or names a model online.

    Checkpoints end in .pth, .pt, .th, .ckpt, .bin or .safetensors, or start with ``torchvision://``.

    Example:
        >>> split_checkpoint(['best.pth', 'bee.jpg'])
        ('best.pth', ['bee.jpg'])
    """
    inputs = list(inputs)
    if inputs and (inputs[0].split('?')[0].lower().endswith(CHECKPOINT_SUFFIXES)
                   or inputs[0].startswith('torchvision://')):
        return inputs[0], inputs[1:]
    return None, inputs


def find_pictures(images: Sequence[str | os.PathLike]) -> tuple[list[str], list[str]]:
    """Return the pictures that files, folders and glob patterns name, each once, and notes on what was passed over.

    A folder stands for the pictures in it and in its subfolders, known by their file names' ends. A file that is named
    itself is taken as it is, whether or not it exists: that is found out when it is read.
    """
    pictures: dict[str, None] = {}
    notes = []
    for image in map(os.fspath, images):
        if os.path.isfile(image):
            hits = [image]
        elif os.path.isdir(image) or glob.has_magic(image):
            inside = f'{glob.escape(image)}/**/*' if os.path.isdir(image) else image
            files = [f for f in sorted(glob.glob(inside, recursive=True)) if os.path.isfile(f)]
            hits = [f for f in files if f.lower().endswith(PICTURE_SUFFIXES)]
            if len(files) > len(hits):
                notes.append(
                    f'{image}: passed over {len(files) - len(hits)} files that are not pictures by their names')
            if not hits:
                hits = [image]
        else:
            hits = [image]
        pictures.update(dict.fromkeys(hits))
    return list(pictures), notes


def _check_pictures(pictures: Sequence[str]) -> None:
    """Say at once which pictures are not there, and stop where none is: loading the model may take long."""
    if not pictures:
        raise DataError('there is no picture to predict; give files, folders or glob patterns')
    missing = [picture for picture in pictures if not os.path.isfile(picture)]
    lines = []
    for picture in missing[:10]:
        folder = Path(picture).parent
        beside = [f.name for f in folder.iterdir()] if folder.is_dir() else []
        near = [] if os.path.isdir(picture) else nearest(Path(picture).name, beside)
        what = 'is a folder that holds no pictures' if os.path.isdir(picture) else 'does not exist'
        lines.append(f'{picture} {what}' + (f'; did you mean {" or ".join(map(repr, near))}?' if near else ''))
    if len(missing) > 10:
        lines.append(f'and {len(missing) - 10} more')
    if len(missing) == len(pictures):
        raise MissingFileError('there is none of the pictures to predict:\n  ' + '\n  '.join(lines))
    if missing:
        print_log(
            f'{len(missing)} of {len(pictures)} pictures cannot be predicted: ' + '; '.join(lines),
            logger='current',
            level=logging.WARNING)


def _check_topk(topk: int, cfg: Config) -> None:
    """Refuse a ``topk`` that the model cannot give, as far as its config says how many classes it tells apart."""
    model = cfg.get('model') or {}
    classes = next((part['num_classes'] for part in (model.get('head'), model.get('backbone'))
                    if isinstance(part, Mapping) and part.get('num_classes')), None)  # yapf: disable
    if topk < 1 or isinstance(classes, int) and topk > classes:
        raise ConfigError(f'topk must be from 1 to {classes or "the number of classes"}'
                          f'{", the number of classes" if classes else ""}; got {topk}')


def predict_files(model: str | os.PathLike,
                  images: Sequence[str | os.PathLike],
                  checkpoint: str | os.PathLike | None = None,
                  *,
                  topk: int | None = None,
                  out: str | os.PathLike | None = None,
                  device: str | torch.device | None = None,
                  batch_size: int = 1,
                  show_dir: str | os.PathLike | None = None) -> PredictionReport:
    """Predict pictures; a broken or missing one does not lose the others.

    Args:
        model: A work dir, a config file or the name of a config.
        images: Files, folders and glob patterns.
        checkpoint: The weights; those of the run where it is None.
        topk: How many classes a picture is given; None for 1, or for those that a model for several labels predicts.
        out: A .json or .csv file to write.
        device: Where the model runs.
        batch_size: How many pictures go through the model at once.
        show_dir: A folder for the pictures with their predictions drawn on them; of a segmentor also for the masks.

    Raises:
        ConfigError: If ``out`` ends otherwise, or ``topk`` is larger than the number of classes.
        DataError: If there is no picture to predict.
        MissingFileError: If there is no such config or checkpoint, or not a single one of the pictures.
    """
    if out is not None and Path(out).suffix.lower() not in ('.json', '.csv'):
        raise ConfigError(f'--out {out} must end in .json or .csv')
    pictures, notes = find_pictures(images)
    _check_pictures(pictures)
    cfg, checkpoint = resolve_model(model, True if checkpoint is None else checkpoint)
    if topk is not None:
        _check_topk(topk, cfg)
    built = get_model(cfg, checkpoint, device)
    segments = isinstance(built, ImageSegmentor)
    inferencer = ImageSegmentationInferencer(built) if segments else ImageClassificationInferencer(built)
    if topk is None and not inferencer.several:
        topk = 1
    results = inferencer(pictures, batch_size=batch_size, show_dir=show_dir, topk=topk, skip_broken=True)
    report = PredictionReport(notes=notes)
    for picture, result in zip(pictures, results):
        if os.path.isdir(picture):
            result = dict(error=f'{picture} is a folder that holds no pictures')
        # All the scores or pixels of a picture are too many for a file; `topk` chooses.
        report.rows.append(
            dict(
                img_path=picture,
                **{
                    key: value
                    for key, value in result.items() if key not in ('pred_scores', 'pred_mask', 'pred_prob')
                }))
    if inferencer.classes is None and not segments:
        report.notes.append('neither the checkpoint nor the config names the classes: these are indices')
    if out is not None:
        report.write(out)
        report.notes.append(f'written to {out}')
    if show_dir is not None and len(report.broken) < len(report.rows):
        report.notes.append(f'drawn in {show_dir}')
    return report
