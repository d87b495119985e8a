"""Predictions on pictures."""
from pathlib import Path

import cv2
import numpy as np
import pytest

from ftcls.registry import VISUALIZERS
from ftcls.structures import DataSample
from ftcls.utils import DataError
from ftcls.visualization import UniversalVisualizer
from ftcls.visualization.visualizer import _describe


@pytest.fixture
def sample() -> DataSample:
    """A picture of a bee that was taken for an ant."""
    return DataSample().set_gt_label(1).set_pred_label(0).set_pred_score([0.75, 0.25])


def test_a_config_in_the_style_of_mmpretrain_builds_it(tmp_path: Path, sample: DataSample) -> None:
    visualizer = VISUALIZERS.build(
        dict(
            type='UniversalVisualizer',
            name=str(tmp_path),
            vis_backends=[dict(type='LocalVisBackend')],
            save_dir=str(tmp_path)))
    assert isinstance(visualizer, UniversalVisualizer)
    visualizer.visualize_cls(np.full((224, 224, 3), 128, np.uint8), sample, name='bee', step=3)
    assert [file.name for file in tmp_path.rglob('*.png')] == ['bee_3.png']


def test_the_picture_stays_and_the_text_is_added(tmp_path: Path, sample: DataSample) -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    image[...] = (200, 100, 50)
    out = tmp_path / 'new' / 'bee.png'
    drawing = UniversalVisualizer().visualize_cls(image, sample, classes=['ants', 'bees'], out_file=out)
    assert drawing.shape == image.shape
    assert np.array_equal(drawing[120:], image[120:])
    assert not np.array_equal(drawing[:120], image[:120])
    assert np.array_equal(cv2.imread(str(out))[..., ::-1], drawing)
    plain = UniversalVisualizer().visualize_cls(image, sample, draw_gt=False, draw_pred=False, out_file=out)
    assert np.array_equal(plain, image)


def test_small_and_grey_pictures_are_enlarged_without_invented_pixels(tmp_path: Path, sample: DataSample) -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    drawing = UniversalVisualizer().visualize_cls(image, sample, out_file=tmp_path / 'a.png')
    assert drawing.shape == (224, 224, 3)
    assert np.array_equal(drawing[126::28, 14::28, 0], image[4:])
    resized = UniversalVisualizer().visualize_cls(image, sample, resize=64, out_file=tmp_path / 'a.png')
    assert resized.shape == (64, 64, 3)


def test_what_is_written() -> None:
    assert _describe('Truth', [1], ['ants', 'bees']) == ['Truth: bees (1)']
    assert _describe('Prediction', [0], None, [0.756, 0.244]) == ['Prediction: 0, 0.76']
    assert _describe('Truth', [0, 1], ['a', 'b']) == ['Truth: a (0)', '       b (1)']


def test_an_unknown_type_of_file_is_refused(tmp_path: Path, sample: DataSample) -> None:
    with pytest.raises(DataError, match="cannot write images of the type '.xyz'"):
        UniversalVisualizer().visualize_cls(np.zeros((9, 9, 3), np.uint8), sample, out_file=tmp_path / 'a.xyz')
