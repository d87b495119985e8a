"""What an epoch draws: balanced classes, repeated images; over processes, seeds and epochs."""
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.dataset import ClassBalancedDataset, ConcatDataset
from timm.data.distributed_sampler import RepeatAugSampler as TimmRepeatAugSampler

from ftcls.datasets import BalancedSampler, CustomDataset, RepeatAugSampler
from ftcls.registry import DATA_SAMPLERS
from ftcls.utils import ConfigError


class Labelled:
    """A dataset of labels alone."""

    def __init__(self, labels: list) -> None:
        self.labels = labels
        self.metainfo = dict(classes=('ant', 'bee', 'wasp'))

    def __len__(self) -> int:
        return len(self.labels)

    def get_data_info(self, index: int) -> dict:
        return dict(gt_label=self.labels[index])


@pytest.fixture
def rank(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Let samplers believe that they are one of several processes."""

    def be(rank: int, world_size: int) -> None:
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size))

    return be


UNEVEN = Labelled([0] * 80 + [1] * 15 + [2] * 5)


def test_classes_are_drawn_alike() -> None:
    sampler = DATA_SAMPLERS.build(dict(type='BalancedSampler', dataset=UNEVEN, seed=0))
    epochs = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        drawn = list(sampler)
        assert len(drawn) == len(sampler) == 100
        assert sorted(Counter(UNEVEN.labels[i] for i in drawn).values()) == [33, 33, 34]
        times = Counter(drawn)
        for label, members in enumerate((range(80), range(80, 95), range(95, 100))):
            counts = [times[i] for i in members]
            assert max(counts) - min(counts) <= 1, label  # each once before any comes again
        epochs.append(drawn)
    assert len({tuple(drawn) for drawn in epochs}) == 4
    again = BalancedSampler(UNEVEN, seed=0)
    again.set_epoch(2)  # what a resumed run does
    assert list(again) == epochs[2] != list(BalancedSampler(UNEVEN, seed=1))
    assert 'draws 33.33 per class and epoch (each image of wasp 6.7 times, ant 0.42 times)' in again.describe()


def test_processes_draw_together_what_one_draws(rank: Callable) -> None:
    alone = list(BalancedSampler(UNEVEN, seed=3))
    parts = []
    for index in range(2):
        rank(index, 2)
        parts.append(list(BalancedSampler(UNEVEN, seed=3)))
    assert [i for pair in zip(*parts) for i in pair] == alone
    rank(0, 3)
    assert len(list(BalancedSampler(UNEVEN, seed=3))) == len(BalancedSampler(UNEVEN, seed=3)) == 34


def test_several_labels_and_none() -> None:
    dataset = Labelled([[0, 1]] * 8 + [[1]] * 20 + [[]] * 4)
    drawn = Counter(str(dataset.labels[i]) for i in BalancedSampler(dataset, seed=0))
    assert sum(drawn.values()) == 32 and drawn['[]'] >= 10 and drawn['[0, 1]'] >= 10


def test_datasets_that_do_not_tell_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match='list has no method get_data_info'):
        BalancedSampler([1, 2])


def test_wrapped_datasets(class_folders: Callable[..., Path]) -> None:
    dataset = CustomDataset(data_root=str(class_folders(cat=12, dog=3)))
    both = ConcatDataset([dataset, dataset])
    assert Counter(i % 15 >= 12 for i in BalancedSampler(both, seed=0)) == {False: 15, True: 15}
    more = ClassBalancedDataset(dataset, oversample_thr=0.8)
    assert len(more) == 12 + 3 * 2  # sqrt(0.8 / 0.2) = 2
    assert Counter(more.get_cat_ids(i)[0] for i in BalancedSampler(more, seed=0)) == {0: 9, 1: 9}


@pytest.mark.parametrize(
    'options', [
        dict(),
        dict(num_repeats=2),
        dict(shuffle=False),
    ], ids=str)
@pytest.mark.parametrize('world_size', [1, 2])
def test_repeated_augmentation_is_deits(options: dict, world_size: int, rank: Callable) -> None:
    dataset = Labelled(list(range(601)))
    for index in range(world_size):
        rank(index, world_size)
        ours = RepeatAugSampler(dataset, seed=0, **options)
        theirs = TimmRepeatAugSampler(dataset, num_replicas=world_size, rank=index, selected_round=0, **options)
        for epoch in (0, 5):
            ours.set_epoch(epoch)
            theirs.set_epoch(epoch)
            expected = list(theirs)
            assert list(ours) == expected and len(ours) == len(expected)
    text = RepeatAugSampler(Labelled([0] * 300), seed=0).describe()
    assert world_size == 2 or text == 'RepeatAugSampler draws 300 per epoch, 3 views each of about 100 images'


def test_repeated_augmentation_of_a_small_set() -> None:
    assert len(RepeatAugSampler(UNEVEN)) == 100
    with pytest.raises(ConfigError, match='num_repeats=0'):
        DATA_SAMPLERS.build(dict(type='RepeatAugSampler', dataset=UNEVEN, num_repeats=0))
