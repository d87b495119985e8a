"""Predictions kept in a file: what is in it, for one label, several labels and masks, and from a pickle of tools/test.py."""
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ftcls.evaluation.predictions import PredictionRecorder, Predictions
from ftcls.structures import DataSample
from ftcls.utils import DataError


def sample(label: int | list | None, predicted: int | list, scores: list, **meta: object) -> dict:
    one = DataSample(metainfo=meta).set_pred_label(predicted).set_pred_score(torch.tensor(scores))
    if label is not None:
        one.set_gt_label(label)
    return one.to_dict()


ONE_LABEL = [
    sample(1, 0, [.7, .2, .1], img_path='über/a.png', sample_idx=4),
    sample(None, 2, [.1, .2, .7], img_path='b.png', sample_idx=0)
]


def test_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    before = Predictions.from_samples(ONE_LABEL, 'val', 'best.pth', ['ant', 'bee'])
    before.save(tmp_path / 'predictions' / 'val.npz')
    after = Predictions.load(tmp_path / 'predictions' / 'val.npz')
    for name, value in vars(before).items():
        assert type(getattr(after, name)) is type(value)
        np.testing.assert_array_equal(getattr(after, name), value)
    assert after.labels.tolist() == [1, -1] and after.predicted.tolist() == [0, 2]
    assert after.classes == ['ant', 'bee', '2']  # a score without a name
    assert after.paths == ['über/a.png', 'b.png'] and after.scores.dtype == np.float32
    assert after.rows()[0] == {
        'img_path': 'über/a.png', 'sample_idx': '4', 'label': 'bee', 'predicted': 'ant',
        'score ant': '0.7', 'score bee': '0.2', 'score 2': '0.1'
    }  # yapf: disable
    assert after.rows()[1]['label'] == ''
    assert not list(tmp_path.rglob('*.part'))


def test_several_labels() -> None:
    found = Predictions.from_samples([sample([0, 2], [], [.4, .3, .2]), sample([], [1], [.4, .8, .2]),
                                      sample(None, [1], [.4, .8, .2])])  # yapf: disable
    assert found.labels.tolist() == [[1, 0, 1], [0, 0, 0], [-1, -1, -1]]
    assert found.predicted.tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert [row['label'] for row in found.rows()] == ['0;2', '', ''] and found.rows()[0]['sample_idx'] == ''


def test_pixels_of_masks_are_counted(tmp_path: Path) -> None:
    one = dict(gt_mask=torch.tensor([[1, 1, 0], [255, 1, 0]]), pred_mask=torch.tensor([[1, 0, 1], [1, 1, 0]]))
    Predictions.from_samples([one], 'val').save(tmp_path / 'val.npz')
    found = Predictions.load(tmp_path / 'val.npz')
    assert found.counts.tolist() == [[2, 1, 1]] and found.scores.shape == (1, 0)


@pytest.mark.parametrize('numbers, expected', [((2, 0, 1), '120'), ((0, 1, 0), '012'), ((-1, -1), '01')])
def test_shuffled_images_come_in_the_order_of_the_dataset(numbers: tuple, expected: str) -> None:
    samples = [sample(0, 0, [1.], sample_idx=number, img_path=str(place)) for place, number in enumerate(numbers)]
    found = Predictions.from_samples(samples)  # twice the same number: of joined datasets
    assert ''.join(found.paths) == expected


def test_pickle_is_read_and_not_run(tmp_path: Path) -> None:
    file = tmp_path / 'result.pkl'
    file.write_bytes(pickle.dumps(ONE_LABEL, protocol=2))
    found = Predictions.from_pkl(file)
    assert found.labels.tolist() == [1, -1] and found.scores[0].tolist() == pytest.approx([.7, .2, .1])
    for content in (pickle.dumps([]), pickle.dumps(Path.unlink), b'nothing'):
        file.write_bytes(content)
        with pytest.raises(DataError, match='result.pkl'):
            Predictions.from_pkl(file)
    with pytest.raises(DataError, match='missing.pkl'):
        Predictions.from_pkl(tmp_path / 'missing.pkl')


def test_recorder_keeps_the_first_evaluation_without_padding() -> None:
    recorder = PredictionRecorder()
    recorder.process(None, [*ONE_LABEL, ONE_LABEL[0]])
    assert recorder.evaluate(size=2) == {}  # the third fills up the last batch
    recorder.process(None, ONE_LABEL[::-1])  # for example of the trained weights, after the averaged ones
    recorder.evaluate(size=2)
    assert Predictions.from_samples(recorder.samples).paths == ['über/a.png', 'b.png']
    recorder.process(None, [torch.zeros(2)])  # of a user's own model
    assert not recorder.results
