"""Rules from the size of a set and of its pictures to a recipe of fine-tuning.

They are BiT-HyperRule (Kolesnikov et al. 2020, arXiv:1912.11370, section 3.3; warm-up and the steps of small sets as in the
code that its authors published), made for 512 pictures a step on accelerators and for networks without BatchNorm. Where they
are fitted to other networks and to small machines, the reason of the value says so.
"""
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ftcls.utils import ConfigError
from .model_presets import ModelPreset

__all__ = ['Hyperparameters', 'choose_hyperparameters']

# Below so many training pictures: steps, warm-up steps, the shares of the steps after which the rate falls to a tenth, mixup.
_SCHEDULES = (
    (20_000, 500, 100, (0.4, 0.6, 0.8), 0.),
    (500_000, 10_000, 500, (0.3, 0.6, 0.9), 0.1),
    (math.inf, 20_000, 500, (0.3, 0.6, 0.9), 0.1),
)
_SMALL_AREA = 96**2
_LEAST_PASSES = 8  # 20,000 steps of 512 go through ImageNet's 1.28 million pictures 8 times
_FEW_A_CLASS = 20
# Rate, the pictures a step that it is for, weight decay, and why, by what the network was trained with.
_RATES = {
    'bit': (0.003, 512, 0., 'BiT: 0.003 for 512 pictures a step', 'BiT: none'),
    'imagenet': (0.01, 512, 1e-4, 'BiT takes a 20th of its pre-training\'s rate (0.003 for 512 pictures a step, against 0.03 for '
                 '256); pre-trained at 0.1 for 256, this network so gets 0.01 for 512', 'as in its pre-training'),
    'cifar': (0.03, 32, 1e-4, 'for so small a network 0.03 was the best of 0.003, 0.01, 0.03 and 0.1 on pictures held out, with '
              '32 a step (benchmarks/hymenoptera_rates.py)', 'as in its pre-training'),
}  # yapf: disable


@dataclass(frozen=True)
class Hyperparameters:
    """Values of a config; ``why`` has the reason of each by its name, '' where nothing is out of the ordinary."""
    resize: int
    crop: int
    random_size: bool
    flip: bool
    batch: int
    epochs: int
    warmup: int
    milestones: list[int]
    lr: float
    weight_decay: float
    frozen_stages: int
    mixup: float
    why: dict[str, str]


def choose_hyperparameters(network: ModelPreset, classes: Sequence[str], pictures: int, side: float,
                           gpu: bool) -> Hyperparameters:
    """Apply the rules.

    Args:
        network: The network.
        classes: Names of the classes.
        pictures: Training pictures.
        side: Square root of the pictures' median area, in pixels.
        gpu: Whether it will train on one.

    Raises:
        ConfigError: If there are fewer than 4 pictures.
    """
    if pictures < 4:
        raise ConfigError(f'{pictures} training pictures are too few to fine-tune with; give at least 4')
    why: dict[str, str] = {}
    resize, crop, why['crop'] = _resolution(network, side)
    batch, why['batch'] = _batch(pictures, crop, gpu)
    limit, steps, warmup_steps, shares, mixup = next(row for row in _SCHEDULES if pictures < row[0])
    per_epoch = math.ceil(pictures / batch)
    epochs = max(_LEAST_PASSES, math.ceil(steps / per_epoch))
    size = f'below {limit:,}' if limit < math.inf else 'of 500,000 and more'
    why['epochs'] = f'{epochs} epochs of {per_epoch} steps: BiT has {steps:,} steps for sets {size} pictures' + (
        f'; with less than its 512 pictures a step, at least its {_LEAST_PASSES} passes over ImageNet'
        if epochs == _LEAST_PASSES else '')
    why['schedule'] = (f'BiT: a warm-up over {warmup_steps} of {steps:,} steps; the rate falls to a tenth after '
                       f'{", ".join(f"{share:.0%}" for share in shares)}')
    why['mixup'] = 'BiT: Mixup at alpha 0.1 from 20,000 pictures on' + ('' if mixup else ', none for smaller sets')
    flip = not all(len(name) == 1 for name in classes) and not {'left', 'right'} & {name.lower() for name in classes}
    why['flip'] = ('BiT: flips left to right unless they change what is meant' if flip else
                   'no flip: classes that look like digits, letters or sides, which mean something else mirrored')
    lr, why['lr'] = _rate(network, batch)
    weight_decay, why['weight_decay'] = _RATES[network.family][2::2]
    few = pictures / len(classes) < _FEW_A_CLASS
    why['frozen_stages'] = (
        f'fewer than {_FEW_A_CLASS} pictures a class: the stem and the first stage, whose filters fit any picture '
        '(Yosinski et al. 2014, arXiv:1411.1792), keep what they know' if few else 'BiT: everything learns')
    milestones = sorted({max(1, round(share * epochs)) for share in shares})
    return Hyperparameters(resize, crop, network.family != 'bit', flip, batch, epochs,
                           max(1, round(warmup_steps / steps * epochs)), milestones, lr, weight_decay, 1 if few else -1,
                           mixup, why)


def _resolution(network: ModelPreset, side: float) -> tuple[int, int, str]:
    """Return the sizes to resize to and to crop, and why.

    BiT resizes to a square and crops, of 7/8 of its side or so, at random. That is little to learn from for a network that
    overfits: those with BatchNorm get crops of random size and shape, the common ones of ImageNet's training.
    """
    crop = network.side
    found = f'median area {side:.0f}x{side:.0f}; {network.label} was trained at {crop} pixels'
    if network.fixed:
        text = f'{found} and takes no other size'
    elif network.family == 'cifar':
        text = f'{found}, its resolution'
    elif side**2 < _SMALL_AREA:
        crop, text = 128, f'{found}; BiT takes 128 for pictures below 96x96'
    else:
        text = f'{found}; where BiT takes 384 for pictures from 96x96 on'
    if network.family == 'bit':
        resize = crop if network.fixed else 160 if crop == 128 else round(crop * 448 / 384 / 8) * 8
        return resize, crop, f'{text}; BiT resizes to a square before (160 for 128, 448 for 384)'
    return round(crop * 8 / 7), crop, (
        f'{text}; crops of random size and shape (Szegedy et al. 2015, arXiv:1409.4842), where BiT crops 7/8 of a square: a '
        'network with BatchNorm and less pre-training overfits to that')


def _batch(pictures: int, crop: int, gpu: bool) -> tuple[int, str]:
    """Return the pictures of a step, and why."""
    batch = (128 if crop <= 128 else 64) if gpu else 32
    fits = max(2, 2**int(math.log2(pictures / 4)))
    where = 'one GPU' if gpu else 'a CPU'
    if fits < batch:
        return fits, f'{pictures} training pictures: a few steps an epoch'
    return batch, f'what {where} takes at {crop} pixels; BiT has 512'


def _rate(network: ModelPreset, batch: int) -> tuple[float, str]:
    """Return the learning rate, and why.

    BiT's number of steps is kept for smaller batches. A rate that shrinks as the batch does would then cover a 16th of the
    way with 32 pictures a step; its square root (Krizhevsky 2014, arXiv:1404.5997) keeps the variance of a step instead.
    """
    rate, of, _, source, _ = _RATES[network.family]
    lr = float(f'{rate * math.sqrt(batch / of):.2g}')
    return lr, source if batch == of else (
        f'{source}; times the square root of {batch} / {of} (Krizhevsky 2014), since the steps stay as many')
