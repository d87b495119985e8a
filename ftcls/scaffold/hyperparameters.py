"""Rules that choose the hyperparameters of fine-tuning from the size of a dataset and of its images.

They are BiT-HyperRule (Kolesnikov et al. 2020, arXiv:1912.11370, section 3.3; the warm-up and the steps of small sets
as in the authors' code). BiT uses batches of 512 images, accelerators, and networks without BatchNorm. Where a rule is
adapted to other networks or to small machines, its reason says so. With few images, a CNN's stem and first stages stay
frozen, since their filters fit all images (Yosinski et al. 2014, arXiv:1411.1792); those and the rate of ImageNet's
networks were measured (docs/small_data.md). Networks with LayerNorm (ViT, Swin, ConvNeXt) learn with AdamW, with the
rates, the layer decay and the weight decay of their own papers; with few images only the head does, since fine-tuning
distorts good features (Kumar et al. 2022, arXiv:2202.10054).
"""
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ftcls.engine.hooks.speed import Layout
from ftcls.utils import ConfigError
from ftcls.utils.names import enumerate_names
from .budget import Pace
from .model_presets import ModelPreset

__all__ = ['Hyperparameters', 'choose_hyperparameters', 'fit_time']

_SCHEDULES = (  # for fewer training images than: steps, warm-up steps, where the rate drops (of 1), alpha of Mixup
    (20_000, 500, 100, (0.4, 0.6, 0.8), 0.),
    (500_000, 10_000, 500, (0.3, 0.6, 0.9), 0.1),
    (math.inf, 20_000, 500, (0.3, 0.6, 0.9), 0.1),
)
_SMALL_AREA = 96**2
_MIN_EPOCHS = 8  # 20,000 steps of 512 images are 8 epochs of ImageNet's 1.28 million
_FEW_PER_CLASS = 20
_FEW = 2_000  # images
_PROBE, _VIEWS = 16, 2  # epochs of the head alone, on so many views of each image whose features are computed once
_LEAST_SHARE = 0.25  # of the epochs; in fewer the head alone is as good (docs/small_data.md)
_OVERHEAD, _MARGIN = 15., 0.9  # seconds of start and report; the share of a time that is planned
_RATES = dict(  # family: weight decay, learning rate, the batch size that it is for, why
    bit=(0., 0.003, 512, 'BiT: 0.003 for 512 images per step'),
    imagenet=(1e-4, 0.01, 16, '0.01 for 16 images: the best of 0.003, 0.01, 0.03 on held-out ones'),
    few=(0.05, 3e-4, 16, 'AdamW with 3e-4 for 16 images: better on held-out ones than SGD (docs/small_data.md)'),
    cifar=(1e-4, 0.03, 32, '0.03 for 32 images: the best on held-out ones (benchmarks/choose_rates.py)'),
    vit=(0.05, 6e-4, 2048, 'Dong et al. 2022 (arXiv:2212.06138), ViT-B: AdamW with 6e-4 for 2,048 images per step'),
    swin=(0.05, 1e-4, 16, 'Liu et al. 2022 (arXiv:2201.03545), ConvNeXt: AdamW with 1e-4 for 16 images per step'),
    probe=(0., 1e-3, 32, 'the default of AdamW, for the head'),
    cached=(0., 3e-3, 32, '0.003 for 32 images: the best of 0.001, 0.003, 0.01 for the head on held-out ones'))


@dataclass
class Hyperparameters:
    """Values of a config; ``why`` maps a value's name to the reason for it."""
    random_size: bool
    resize: int = 0
    crop: int = 0
    flip: bool = True
    batch: int = 0
    epochs: int = 0
    warmup: int = 0
    milestones: list[int] = field(default_factory=list)
    lr: float = 0.
    weight_decay: float = 0.
    frozen_stages: int = -1
    norm_policy: str = 'train'
    mixup: float = 0.
    least_crop: float = 0.  # of the area of an image; 0 for the transform's own
    uses_adamw: bool = False
    cosine: bool = False
    views: int = 0  # of each image, whose features are computed once
    layout: Layout | None = None
    why: dict[str, str] = field(default_factory=dict)


def choose_hyperparameters(preset: ModelPreset, classes: Sequence[str], images: int, side: float,
                           gpu: bool) -> Hyperparameters:
    """Apply the rules to at least 4 training images, whose median area is ``side`` squared pixels."""
    if images < 4:
        raise ConfigError(f'{images} training images are too few to fine-tune; provide at least 4')
    chosen = Hyperparameters(random_size=preset.family != 'bit')
    why = chosen.why
    chosen.resize, chosen.crop, why['crop'] = _resolution(preset, side)
    chosen.batch, why['batch'] = _batch_size(images, chosen.crop, gpu)
    limit, steps, warmup_steps, shares, chosen.mixup = next(row for row in _SCHEDULES if images < row[0])
    per_epoch = math.ceil(images / chosen.batch)
    chosen.epochs = max(_MIN_EPOCHS, math.ceil(steps / per_epoch))
    size = '500,000 images and more' if limit == math.inf else f'fewer than {limit:,} images'
    why['epochs'] = f'{chosen.epochs} epochs of {per_epoch} steps: BiT uses {steps:,} steps for datasets of {size}'
    if chosen.epochs == _MIN_EPOCHS:
        why['epochs'] += f'; its 512 images per step give ImageNet {_MIN_EPOCHS} epochs, the least here'
    chosen.milestones = sorted({max(1, round(share * chosen.epochs)) for share in shares})
    chosen.warmup = max(1, round(warmup_steps / steps * chosen.epochs))
    why['schedule'] = f'BiT: a warm-up over {warmup_steps} of {steps:,} steps'
    why['mixup'] = 'BiT: Mixup with alpha 0.1 from 20,000 images on'
    names = {name.lower() for name in classes}
    why['flip'] = 'BiT: flips left to right unless that changes the label'
    signs = {name for name in names if len(name) == 1 and (name.isdigit() or name != name.upper())}  # 猫 is a word
    if (sides := names & {'left', 'right'}) or signs == names:
        chosen.flip = False
        why['flip'] = f'no flip: mirrored, {enumerate_names(sorted(sides or signs), 3)} would be of another class'
    family, few = preset.family, images / len(classes) < _FEW_PER_CLASS
    why['frozen_stages'] = 'BiT: all layers are trained'
    if few and preset.uses_adamw:
        family, chosen.frozen_stages = 'probe', preset.stages
        why['frozen_stages'] = f'fewer than {_FEW_PER_CLASS} images per class: a linear probe (Kumar et al. 2022)'
    elif family == 'imagenet' and images < _FEW:
        family, chosen.frozen_stages, chosen.least_crop = 'few', 2 * preset.stages // 5, 0.35
        why['frozen_stages'] = f'fewer than {_FEW:,} images: better and faster so (docs/small_data.md)'
        chosen.norm_policy = 'eval'
        why['norm_policy'] = 'so few images give worse statistics than those of its pretraining (docs/small_data.md)'
    elif few:
        chosen.frozen_stages = 1
        why['frozen_stages'] = f'fewer than {_FEW_PER_CLASS} images per class: later stages only (Yosinski et al. 2014)'
    chosen.uses_adamw = preset.uses_adamw or family == 'few'
    chosen.cosine = preset.uses_adamw or preset.family == 'imagenet'
    _set_rate(chosen, family)
    return chosen


def fit_time(chosen: Hyperparameters, preset: ModelPreset, images: int, held_out: int, seconds: float,
             pace: Pace) -> None:
    """Fit the epochs to ``seconds``; where these are few, only the head learns, on features that are computed once.

    Args:
        chosen: The recipe without a limit, which is changed.
        preset: The network.
        images: Of training; ``held_out`` those of validation.
        held_out: See ``images``.
        seconds: From the start of the training to its end.
        pace: As measured.

    Raises:
        ConfigError: If the features of all images take longer.
    """
    features = _OVERHEAD + (_VIEWS * images + held_out) * pace.evaluation
    if features > _MARGIN * seconds:
        least = math.ceil(features / _MARGIN)
        raise ConfigError(f'--time {seconds:g}s: too short for {images} training images on this machine; give at '
                          f'least {least}s')
    epochs = int((_MARGIN * seconds - _OVERHEAD) / (images * pace.training + held_out * pace.evaluation))
    chosen.layout, why = pace.layout, f'{seconds:g} s at {1 / pace.training:.3g} images/s, as measured on this machine'
    if epochs < _LEAST_SHARE * chosen.epochs:
        chosen.why['frozen_stages'] = f'{why}: less than a quarter of {chosen.epochs} epochs, so a linear probe, on ' \
            f'features that are computed once; it takes about {features:.0f} s'
        chosen.frozen_stages, chosen.norm_policy, chosen.epochs = preset.stages, 'train', _PROBE
        chosen.views, chosen.uses_adamw, chosen.cosine = _VIEWS, True, True
        chosen.warmup, chosen.why['schedule'] = 1, 'a warm-up over the first epoch'
        _set_rate(chosen, 'cached' if preset.family == 'imagenet' else 'probe')
        chosen.why.pop('norm_policy', None)
        chosen.mixup, chosen.why['mixup'] = 0., 'none: the features of single images are computed once'
    elif epochs < chosen.epochs:
        share = epochs / chosen.epochs
        chosen.milestones = sorted({max(1, round(share * one)) for one in chosen.milestones})
        chosen.warmup = max(1, round(share * chosen.warmup))
        chosen.epochs = epochs
    else:
        why = f'{chosen.why["epochs"]}; {why} would be enough for {epochs}'
    chosen.why['epochs'] = why


def _set_rate(chosen: Hyperparameters, family: str) -> None:
    """Set the learning rate and the weight decay.

    The number of steps is BiT's for smaller batches too. A rate in proportion to the batch would then cover, with 32
    images per step, a 16th of the way. The square root (Krizhevsky 2014, arXiv:1404.5997) keeps the variance of a step.
    """
    chosen.weight_decay, rate, reference, why = _RATES[family]
    if chosen.batch != reference:
        why += f'; times the square root of {chosen.batch} / {reference} (Krizhevsky 2014), for the same number of ' \
            'steps; lr_finder tries single steps, and may find another (docs/small_data.md)'
    chosen.lr, chosen.why['lr'] = float(f'{rate * math.sqrt(chosen.batch / reference):.2g}'), why
    head_alone = 'none, as for a linear probe'
    reasons = dict(bit='BiT: none', few='usual with AdamW', probe=head_alone, cached=head_alone)
    chosen.why['weight_decay'] = reasons.get(family, 'as in its pretraining')


def _resolution(preset: ModelPreset, side: float) -> tuple[int, int, str]:
    """Return the size to resize to, the size of the crop, and why: BiT crops about 7/8 of a square at random."""
    crop = preset.side
    why = f'median area {side**2:,.0f} pixels; {preset.label} was trained at {crop} pixels'
    if preset.fixed:
        why += ' and takes no other size'
    elif preset.family == 'cifar':
        why += ', its resolution'
    elif side**2 < _SMALL_AREA:
        crop = 128
        why += '; BiT uses 128 for images below 96x96'
    else:
        why += '; BiT uses 384 for images from 96x96 on'
    if preset.family != 'bit':
        why += '; crops of random size and shape (Szegedy et al. 2015, arXiv:1409.4842), against overfitting'
        return round(crop * 8 / 7), crop, why
    resize = round(crop * 448 / 384 / 8) * 8
    if preset.fixed:
        resize = crop
    elif crop == 128:
        resize = 160
    return resize, crop, f'{why}; BiT first resizes to a square (160 for 128, 448 for 384)'


def _batch_size(images: int, crop: int, gpu: bool) -> tuple[int, str]:
    batch, where = 32, 'a CPU'
    if gpu:
        batch, where = (128 if crop <= 128 else 64), 'one GPU'
    several_steps = max(2, 2**int(math.log2(images / 4)))
    if several_steps < batch:
        return several_steps, f'{images} training images: a few steps per epoch'
    return batch, f'what {where} can train at {crop} pixels; BiT uses 512'
