"""In which order and how often an epoch draws the images."""
import math
from collections.abc import Iterator, Sized

import numpy as np
import torch
from mmengine.dataset import DefaultSampler

from ftcls.registry import DATA_SAMPLERS
from ftcls.utils import ConfigError
from ftcls.utils.types import PositiveInt
from .drawing import label_lists

__all__ = ['BalancedSampler', 'RepeatAugSampler', 'sample_labels']


def sample_labels(dataset: Sized) -> list[tuple[int, ...]]:
    """Return the labels of each sample of a dataset, also of MMEngine's wrappers; () if it has none.

    Raises:
        ConfigError: If the dataset cannot give them without loading images.
    """
    if not hasattr(dataset, 'get_data_info'):
        raise ConfigError(f'{type(dataset).__name__} has no method get_data_info(index), by which the labels are read')
    labels = label_lists(dataset.get_data_info(index).get('gt_label') for index in range(len(dataset)))
    return [tuple(map(int, several)) for several in labels]


@DATA_SAMPLERS.register_module()
class BalancedSampler(DefaultSampler):
    """Draws as many images as there are, equally many of each class.

    An epoch sees a part of a large class, the next epoch another part; images of a small class are repeated, each
    drawn once before any is drawn again. If images have several labels, each label is drawn equally often; images
    without a label count as a class. The draw depends only on seed and epoch: a resumed run draws the same as an
    unbroken one, and several processes together the same as one.

    Args:
        dataset: The dataset.
        seed: Seed of the draw; None draws one that all processes share.
        round_up: See MMEngine's ``DefaultSampler``: equally many in each process.

    Raises:
        ConfigError: If the dataset cannot give its labels.
    """

    def __init__(self, dataset: Sized, seed: int | None = None, round_up: bool = True) -> None:
        super().__init__(dataset, shuffle=True, seed=seed, round_up=round_up)
        groups: dict[int, list[int]] = {}
        for index, labels in enumerate(sample_labels(dataset)):
            for label in labels or (-1, ):
                groups.setdefault(label, []).append(index)
        self.members = {label: np.asarray(groups[label]) for label in sorted(groups)}  #: The samples of each label.

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of this process's samples."""
        rng = np.random.default_rng([self.seed, self.epoch])
        share, remainder = divmod(self.total_size, len(self.members))
        one_more = set(rng.permutation(len(self.members))[:remainder].tolist())
        counts = [share + (number in one_more) for number in range(len(self.members))]
        drawn = [_repeat(members, count, rng) for members, count in zip(self.members.values(), counts)]
        order = rng.permutation(np.concatenate(drawn))
        return iter(order[self.rank:self.total_size:self.world_size].tolist())

    def describe(self) -> str:
        """Return what an epoch draws, for the preflight."""
        share = self.total_size / len(self.members)
        names = (getattr(self.dataset, 'metainfo', None) or {}).get('classes') or ()
        times = {label: share / len(members) for label, members in self.members.items()}
        extremes = (max(times, key=times.get), min(times, key=times.get))
        each = ', '.join(f'{dict(enumerate(names)).get(label, label)} {times[label]:.2g} times' for label in extremes)
        return f'BalancedSampler draws {share:.4g} per class and epoch (each image of {each})'


def _repeat(members: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``count`` of the members, each drawn once before any is drawn again."""
    rounds = [rng.permutation(members) for _ in range(math.ceil(count / len(members)))]
    return np.concatenate([members[:0], *rounds])[:count]


@DATA_SAMPLERS.register_module()
class RepeatAugSampler(DefaultSampler):
    """Draws each image several times in a row, so that a batch contains several augmented views of it.

    "Augment Your Batch" (Hoffer et al., `arXiv:1901.09335 <https://arxiv.org/abs/1901.09335>`_) as in DeiT. Views of
    an image go to different processes; an epoch is as long as without repeats, so it sees a part of the images.

    Args:
        dataset: The dataset.
        shuffle: Whether the images are shuffled; if not, each epoch sees the same part.
        num_repeats: Views of an image.
        seed: Seed of the order.
    """

    def __init__(self,
                 dataset: Sized,
                 shuffle: bool = True,
                 num_repeats: PositiveInt = 3,
                 seed: int | None = None) -> None:
        super().__init__(dataset, shuffle=shuffle, seed=seed)
        self.num_repeats = num_repeats
        self.num_samples = math.ceil(len(dataset) / self.world_size)
        self.total_size = math.ceil(len(dataset) * num_repeats / self.world_size) * self.world_size

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of this process's samples."""
        order = torch.arange(len(self.dataset))
        if self.shuffle:
            order = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(self.seed + self.epoch))
        views = order.repeat_interleave(self.num_repeats).tolist()
        views += views[:self.total_size - len(views)]
        return iter(views[self.rank:self.total_size:self.world_size][:self.num_samples])

    def describe(self) -> str:
        """Return what an epoch draws, for the preflight."""
        drawn = self.num_samples * self.world_size
        images = min(len(self.dataset), round(drawn / self.num_repeats))
        return f'RepeatAugSampler draws {drawn:,} per epoch, {self.num_repeats} views each of about {images:,} images'
