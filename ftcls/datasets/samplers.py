"""In which order and how often an epoch draws the pictures."""
import math
from collections.abc import Iterator, Sized

import numpy as np
import torch
from mmengine.dataset import DefaultSampler

from ftcls.registry import DATA_SAMPLERS
from ftcls.utils import ConfigError

__all__ = ['BalancedSampler', 'RepeatAugSampler', 'sample_labels']


def sample_labels(dataset: Sized) -> list[tuple[int, ...]]:
    """Return the labels of each sample of a dataset, also of MMEngine's wrappers; () where it has none.

    Raises:
        ConfigError: If the dataset does not tell them without loading pictures.
    """
    if not hasattr(dataset, 'get_data_info'):
        raise ConfigError(f'{type(dataset).__name__} does not tell its labels: it has no get_data_info(index)')
    found = []
    for index in range(len(dataset)):
        label = dataset.get_data_info(index).get('gt_label')
        several = label if isinstance(label, list | tuple) else () if label is None else (label, )
        found.append(tuple(int(one) for one in several))
    return found


@DATA_SAMPLERS.register_module()
class BalancedSampler(DefaultSampler):
    """Draws as many pictures as there are, of each class equally many.

    Of a large class a part is seen in an epoch, another one in the next; pictures of a small class come several times, each
    once before any comes again. Of several labels a picture, each label is drawn equally often, and those beside it come
    along; pictures without a label count as a class. The draw hangs on seed and epoch alone: a resumed run draws what the
    unbroken one does, and so do several processes together.

    Args:
        dataset: The dataset.
        seed: Seed of the draw; None draws one that all processes share.
        round_up: As of MMEngine's ``DefaultSampler``: equally many in each process.

    Raises:
        ConfigError: If the dataset does not tell its labels.
    """

    def __init__(self, dataset: Sized, seed: int | None = None, round_up: bool = True) -> None:
        super().__init__(dataset, shuffle=True, seed=seed, round_up=round_up)
        groups: dict[int, list[int]] = {}
        for index, labels in enumerate(sample_labels(dataset)):
            for label in labels or (-1, ):
                groups.setdefault(label, []).append(index)
        #: The numbers of each class's samples, by label.
        self.members = {label: np.asarray(groups[label]) for label in sorted(groups)}

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of this process's samples."""
        rng = np.random.default_rng([self.seed, self.epoch])
        share, rest = divmod(self.total_size, len(self.members))
        one_more = set(rng.permutation(len(self.members))[:rest].tolist())
        drawn = [
            _several_times(members, share + (place in one_more), rng)
            for place, members in enumerate(self.members.values())
        ]
        order = rng.permutation(np.concatenate(drawn))
        return iter(order[self.rank:self.total_size:self.world_size].tolist())

    def describe(self) -> str:
        """Return what an epoch draws, for the preflight."""
        share = self.total_size / len(self.members)
        names = (getattr(self.dataset, 'metainfo', None) or {}).get('classes') or ()
        times = {label: share / len(members) for label, members in self.members.items()}
        label = {most: most(times, key=times.get) for most in (max, min)}
        each = ', '.join(f'{names[one] if 0 <= one < len(names) else one} {times[one]:.2g} times'
                         for one in label.values())
        return f'BalancedSampler draws {share:.4g} a class an epoch (each picture of {each})'


def _several_times(members: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``count`` of the members, each once before any comes again."""
    rounds = -(-count // len(members))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)] or [members[:0]])[:count]


@DATA_SAMPLERS.register_module()
class RepeatAugSampler(DefaultSampler):
    """Draws each picture several times in a row, so that a batch holds several augmented views of it.

    "Augment Your Batch" (Hoffer et al., `arXiv:1901.09335 <https://arxiv.org/abs/1901.09335>`_) as DeiT has it. Views of a
    picture go to different processes; an epoch is as long as without repeats, and so sees a part of the pictures.

    Args:
        dataset: The dataset.
        num_repeats: Views of a picture.
        selected_round: An epoch's samples are cut to a multiple of so many; 0 takes all.
        selected_ratio: The samples of a process are the dataset's over so many; 0 for the number of processes.
        shuffle: Whether the pictures are shuffled.
        seed: Seed of the order.

    Raises:
        ConfigError: If ``num_repeats`` is below 1, or no sample would be left.
    """

    def __init__(self,
                 dataset: Sized,
                 num_repeats: int = 3,
                 selected_round: int = 256,
                 selected_ratio: int = 0,
                 shuffle: bool = True,
                 seed: int | None = None) -> None:
        super().__init__(dataset, shuffle=shuffle, seed=seed)
        if num_repeats < 1:
            raise ConfigError(f'num_repeats={num_repeats}: must be at least 1')
        ratio = selected_ratio or self.world_size
        rounded = len(dataset) // selected_round * selected_round if selected_round else 0
        self.num_repeats = num_repeats
        self.num_samples = rounded // ratio if selected_round else math.ceil(len(dataset) / ratio)
        self.total_size = math.ceil(len(dataset) * num_repeats / self.world_size) * self.world_size
        if not self.num_samples:
            raise ConfigError(f'selected_round={selected_round}: {len(dataset)} samples make no whole round; '
                              'set selected_round=0')

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
        return (f'RepeatAugSampler draws {drawn:,} an epoch, {self.num_repeats} views each of about '
                f'{min(len(self.dataset), round(drawn / self.num_repeats)):,} pictures')
