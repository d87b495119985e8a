"""What a report tells of one run; ``gather`` fills it, the page draws it."""
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ftcls.evaluation.calibration import Reliability
from ftcls.evaluation.predictions import Predictions

__all__ = ['Calibration', 'ClassRow', 'Example', 'RunContents', 'Segment']


class ClassRow(NamedTuple):
    """A class: how many images it has, and precision, recall and F1 score in percent."""
    name: str
    support: int
    precision: float
    recall: float
    f1: float


class Example(NamedTuple):
    """An image on which model and label disagree.

    Attributes:
        path: Its path, or what it is called.
        truth: The name of its label; several are joined by ``;``.
        prediction: What the model says.
        score: The model's score of that, 0 to 1.
        image: (H, W, 3) uint8, RGB, as the network gets it; None if it cannot be read.
        cam: (H, W) float32, 0 to 1, how much each place speaks for ``prediction``; None if that is not known.
    """
    path: str
    truth: str
    prediction: str
    score: float
    image: np.ndarray | None = None
    cam: np.ndarray | None = None


class Segment(NamedTuple):
    """An image with masks.

    Attributes:
        path: Its path, or what it is called.
        dice: Dice coefficient in percent; ``iou``: intersection over union in percent.
        image: (H, W, 3) uint8, RGB, as the network gets it; None if it is not among the worst, or cannot be read.
        mask: (H, W) uint8, predicted, 0 or 1; ``truth``: (H, W) uint8, 0, 1, and 255 where it is left out.
    """
    path: str
    dice: float
    iou: float
    image: np.ndarray | None = None
    mask: np.ndarray | None = None
    truth: np.ndarray | None = None


class Calibration(NamedTuple):
    """Temperature scaling: how far scores are probabilities, ``before`` and ``after``.

    Attributes:
        temperature: What the logits are divided by.
        before, after: ``ece``, 0 to 1, ``nll``, the mean negative log-likelihood, and ``accuracy`` in percent.
        bins: Of equal width over the score, before and after.
    """
    temperature: float
    before: dict[str, float]
    after: dict[str, float]
    bins: tuple[Reliability, Reliability]


@dataclass
class RunContents:
    """What a report tells of a run; what is not known is empty, and ``notes`` say why.

    Attributes:
        name: The name of the run's folder.
        work_dir: That folder.
        config: The resolved config as a dict; ``config_text``: the same as the run wrote it.
        command: It repeats the run.
        preflight: The text of ``preflight.txt``.
        verdict: Sentences, the most important first; code is between backticks.
        facts: What and how much: time, memory, environment …
        records: Of ``metrics.jsonl``.
        predictions: Of the best checkpoint, for the test set if it was tested, else for the validation set. Their split
            is 'val' too where all test images are validation images.
        validated: How many test images are validation images.
        metric: The name of the score, '' if there is none.
        score: Its value in percent, the mean over the images; ``interval``: the 95 % interval of that.
        score_without_duplicates: The same score without images that are training images too; None if there are none.
        image_of: Gives an image of ``predictions`` by its number, (H, W, 3) uint8, RGB, as the network gets it; None if
            it cannot be read.
        class_table: A row for each class, the worst F1 score first.
        mistakes: The most confident ones first.
        calibration: None if there is none.
        suspects: Images whose label looks wrong, the most suspicious first; ``suspects_basis`` says by which scores.
        duplicates: (kind, path, path): ``shared`` (the first image is a training image too), ``conflict`` (there again
            with another label).
        segments: Of images with masks, the worst first.
        notes: What is left out, and why.
    """
    name: str
    work_dir: str = ''
    config: Mapping[str, Any] = field(default_factory=dict)
    config_text: str = ''
    command: str = ''
    preflight: str = ''
    verdict: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    records: list[dict] = field(default_factory=list)
    predictions: Predictions | None = None
    validated: int = 0
    metric: str = ''
    score: float | None = None
    interval: tuple[float, float] | None = None
    score_without_duplicates: float | None = None
    image_of: Callable[[int], np.ndarray | None] = lambda number: None
    class_table: list[ClassRow] = field(default_factory=list)
    mistakes: list[Example] = field(default_factory=list)
    calibration: Calibration | None = None
    suspects: list[Example] = field(default_factory=list)
    suspects_basis: str = ''
    duplicates: list[tuple[str, str, str]] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
