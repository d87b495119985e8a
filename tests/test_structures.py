"""The samples, and the helpers for labels under MMClassification's names; the values are those of mmpretrain 1.2.0."""
import numpy as np
import pytest
import torch

from ftcls.structures import (DataSample, batch_label_to_onehot, cat_batch_labels, format_label, format_score,
                              label_to_onehot, tensor_split)


def test_labels_of_a_batch_and_back() -> None:
    labels = [torch.tensor([0, 1]), torch.tensor([], dtype=torch.int64), torch.tensor([2, 0])]
    batch, splits = cat_batch_labels(labels)
    assert batch.tolist() == [0, 1, 2, 0] and splits == [2, 2]
    assert [part.tolist() for part in tensor_split(batch, splits)] == [[0, 1], [], [2, 0]]
    assert batch_label_to_onehot(batch, splits, 4).tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]]


@pytest.mark.parametrize('label', [2, [2], (2, ), np.array(2), np.array([2]), torch.tensor(2), torch.tensor([2])])
def test_a_label_of_any_form(label: object) -> None:
    assert format_label(label).tolist() == [2] and format_label(label).dtype == torch.int64
    assert label_to_onehot(label, num_classes=4).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize('score', [[0, 1], (0., 1.), np.array([0, 1]), torch.tensor([0., 1.])])
def test_scores_of_any_form(score: object) -> None:
    assert format_score(score).tolist() == [0, 1] and format_score(score).is_floating_point()


@pytest.mark.parametrize('value', ['rose', None])
def test_a_label_is_no_text(value: object) -> None:
    with pytest.raises((TypeError, RuntimeError)):
        format_label(value)


@pytest.mark.parametrize('field', ['gt_score', 'pred_score'])
def test_all_scores_have_one_length(field: str) -> None:
    sample = DataSample().set_gt_score([0.1, 0.9])
    assert sample.num_classes == 2 and sample.set_pred_score([1., 0.]) is sample
    with pytest.raises(ValueError, match=f'{field} has 3 scores.*num_classes=2'):
        getattr(sample, f'set_{field}')([0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match='num_classes=5'):
        getattr(DataSample(metainfo=dict(num_classes=5)), f'set_{field}')([0.5, 0.5])
