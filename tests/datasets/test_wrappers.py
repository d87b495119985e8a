"""What is known of the samples of wrapped datasets."""
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from torch.utils.data import Dataset, Subset

from ftcls.datasets import Digits, KFoldDataset
from ftcls.datasets.wrappers import child_datasets, inner_datasets, iter_samples


class Foreign(Dataset):
    """Knows nothing of its samples; ``dataset`` is a list."""
    dataset = [1, 2, 3]

    def __len__(self) -> int:
        return 3


class Half(Dataset):
    """Uses every other sample, which only it knows."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset) // 2


class HalfWithInfo(Half):
    """Says which."""

    def get_data_info(self, index: int) -> dict:
        return self.dataset.get_data_info(2 * index)


def labels(dataset: Dataset) -> list:
    return [info.get('gt_label') for info in iter_samples(dataset)]


def test_samples_of_wrappers() -> None:
    inner = Digits(split='val')
    known = labels(inner)
    assert len(known) == len(inner) and inner_datasets(Subset(ConcatDataset([inner, inner]), [0])) == [inner, inner]
    assert labels(RepeatDataset(inner, 1000)) == known
    assert labels(ClassBalancedDataset(inner, 0.5)) == known
    assert labels(ConcatDataset([inner, inner])) == known + known
    assert labels(Subset(ConcatDataset([inner, inner]), [3, len(inner) + 1])) == [known[3], known[1]]
    fold = KFoldDataset(inner, fold=0, num_splits=3, test_mode=True)
    assert labels(fold) == [known[index] for index in fold.indices]
    assert labels(HalfWithInfo(inner)) == known[:2 * (len(inner) // 2):2]


def test_samples_of_which_nothing_is_known() -> None:
    assert child_datasets(Foreign()) == [] and list(iter_samples(Foreign())) == [{}] * 3
    assert list(iter_samples(Subset(Foreign(), [2]))) == [{}]
    assert not any(iter_samples(Half(Digits(split='val'))))
