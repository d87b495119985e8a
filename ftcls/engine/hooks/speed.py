"""How the model computes: what this machine does faster, where a comparison shows that it is faster and as good."""
import copy
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ftcls.datasets.worker_seed import random_state, set_random_state
from ftcls.engine.mmengine_compat import is_resuming, is_training, wrap_again
from ftcls.models.headed_model import HeadedModel
from ftcls.registry import HOOKS
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.loading import checkpoint_meta
from ftcls.utils.checkpoint.matching import unwrap_model
from ftcls.utils.processes import from_main

__all__ = ['SPEED_KEYS', 'Layout', 'SpeedHook', 'Trial', 'has_bfloat16']

SPEED_KEYS = ('channels_last', 'amp', 'fused', 'tf32', 'cudnn_benchmark', 'compile', 'grad_checkpointing')
_SECONDS = 5.  # that a comparison may take
_STEP = 0.4  # seconds of one of its steps: it has as many images
_ROUNDS = 15  # at most; at least 2
_LEAST_SECONDS, _LEAST_IMAGES = 30., 200  # of a training that is worth it
_GAIN = 1.15  # how many times as fast as a simpler layout
_BUSY = 1.5  # how many times as long one step takes as another, on a machine that does other work
_LOSS, _GRADIENT = 0.02, 0.9  # largest relative difference of the loss, least cosine of the gradients


class Layout(NamedTuple):
    """How a model computes: convolutions with the channels innermost; in bfloat16 where that is safe (autocast)."""
    channels_last: bool = False
    amp: bool = False

    def __str__(self) -> str:
        return ' + '.join(name for name, is_on in self._asdict().items() if is_on) or 'float32'

    def apply(self, model: nn.Module) -> None:
        """Let a model compute so; its weights stay the same numbers, and float32."""
        model.to(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)
        model.cast_dtype = {True: torch.bfloat16}.get(self.amp)


def has_bfloat16(device: str) -> bool:
    """Tell whether a device computes in bfloat16 by itself."""
    if device == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == 'cpu' and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class Trial:
    """Steps of a copy of a model, forward and backward, on images that the run has read; the run stays as it is.

    Args:
        model: The model, without wrappers.
        samples: Packed samples; those of the first one's size are repeated to make a batch.
        collate: Makes a batch of samples.
        context: What the forward pass is in, made from the model, such as autocast.
    """

    def __init__(self,
                 model: nn.Module,
                 samples: Sequence[Mapping],
                 collate: Callable,
                 context: Callable[[nn.Module], AbstractContextManager] = nullcontext) -> None:
        self.context = context
        self.model = copy.deepcopy(model).train()
        self.samples = [one for one in samples if one['inputs'].shape == samples[0]['inputs'].shape]
        self.collate = collate

    def step(self, images: int, layout: Layout) -> tuple[float, float]:
        """Make a step of so many images with the present random numbers; return its seconds, and its loss."""
        layout.apply(self.model)
        self.model.zero_grad()
        batch = self.collate([copy.deepcopy(self.samples[i % len(self.samples)]) for i in range(images)])
        before, begin = random_state(), time.perf_counter()
        with self.context(self.model):
            loss = self.model.parse_losses(self.model(**self.model.data_preprocessor(batch, True), mode='loss'))[0]
        loss.backward()
        value = loss.item()  # waits for a GPU
        seconds = time.perf_counter() - begin
        set_random_state(before)
        return seconds, value

    def gradient(self) -> torch.Tensor:
        """Return the gradient of the last step as one vector."""
        return torch.cat([param.grad.flatten() for param in self.model.parameters() if param.grad is not None])

    def compare(self, layouts: Sequence[Layout], left: int, batch_size: int, note: str = '') -> tuple[Layout, str]:
        """Return the layout that is clearly faster than those before it, with the first one's loss and gradient.

        Args:
            layouts: The first is the one to keep if no other is better.
            left: Images that this process has still to train on.
            batch_size: Images per step of the run.
            note: What to add to a comparison.

        Returns:
            The layout, and what was seen.
        """
        best, begin, images = layouts[0], time.perf_counter(), min(2, batch_size)
        self.step(images, best)  # the first one takes longer
        while True:  # a few images tell how many take some time, and those how long the run will take
            seconds, _ = self.step(images, best)
            if left / images * seconds < _LEAST_SECONDS:
                return best, f'since less than {_LEAST_SECONDS:g} s of training are too short to compare'
            if (more := min(batch_size, int(images * _STEP / seconds))) < 1.5 * images:
                break
            images = more
        times: dict[Layout, list[float]] = {}
        faults = self._inexact(layouts, images, times)
        for layout in [*times] * _ROUNDS:
            if time.perf_counter() - begin < _SECONDS:
                times[layout].append(self.step(images, layout)[0])
        if min(map(len, times.values())) < 2:
            return best, f'since steps of {images} images are too long to compare in {_SECONDS:g} s'
        speeds = {layout: images / min(seconds) for layout, seconds in times.items()}
        for layout, speed in speeds.items():
            if speed >= _GAIN * speeds[best]:
                best = layout
        shown = ', '.join([*(f'{layout} {round(speed, 1):,}' for layout, speed in speeds.items()), *faults.values()])
        shown = f'images/s of training in steps of {images} images: {shown}; {_GAIN:g} times as fast is needed{note}'
        if (most := max(max(seconds[1:]) / min(seconds) for seconds in times.values())) > _BUSY:
            shown += f'; the machine is busy: of equal steps, one took {most:.1f} times as long as another'
        return best, shown

    def _inexact(self, layouts: Sequence[Layout], images: int, times: dict[Layout, list[float]]) -> dict[Layout, str]:
        """Return what is wrong with the layouts whose loss or gradient is not that of the first; time the others."""
        faults, (seconds, wanted), gradient = {}, self.step(images, layouts[0]), self.gradient()
        times[layouts[0]] = [seconds]
        for layout in layouts[1:]:
            try:
                seconds, loss = self.step(images, layout)
            except RuntimeError as err:
                faults[layout] = f'{layout} fails ({str(err).splitlines()[0]})'
                continue
            cosine = torch.cosine_similarity(gradient, self.gradient(), dim=0).item()
            if abs(loss - wanted) <= _LOSS * abs(wanted) and cosine >= _GRADIENT:
                times[layout] = [seconds]
            else:
                faults[layout] = f'{layout} is not exact (loss {loss:.4g}, not {wanted:.4g}; gradient {cosine:.2f})'
        return faults


@HOOKS.register_module()
class SpeedHook(Hook):
    """Decide before the first step how the model computes, as ``speed`` of the config says, and note it in checkpoints.

    ``speed`` is ``'auto'``, ``'off'`` or False (as if there were no such key), or a dict of these keys, each True,
    False or ``'auto'``, the default:

    - ``channels_last``, ``amp`` (bfloat16 in training and evaluation): 'auto' times a few steps of each, at most 5 s in
      all, and takes what is 1.15 times as fast, with the same loss and gradient. Nothing is compared with
      ``randomness.deterministic``, or where less than half a minute of training is left. Resuming keeps the choice.
    - ``fused`` (the optimizer's), ``tf32``, ``cudnn_benchmark``: 'auto' is True on a GPU, the last one where all images
      have one size; all are False with ``randomness.deterministic``.
    - ``compile``: by ``torch.compile``; ``grad_checkpointing``: less memory for more time; 'auto' is False.

    Args:
        samples: Packed samples of the training set, for the comparison.

    Raises:
        ConfigError: If the model or the optimizer cannot do what is asked.
    """
    priority = 'VERY_LOW'  # after the hooks that freeze, before PreflightHook

    def __init__(self, samples: Sequence[Mapping] = ()) -> None:
        self.samples = [one for one in samples if isinstance(one, Mapping) and 'inputs' in one]
        self.lines: list[str] = []
        self._layout: Layout | None = None

    def before_run(self, runner: Runner) -> None:
        """Read the config, and set what needs no comparison."""
        given = runner.cfg.get('speed', 'auto')
        if not isinstance(given, Mapping):
            given = dict.fromkeys(SPEED_KEYS, False if given == 'off' else given)
        self._settings = dict.fromkeys(SPEED_KEYS, 'auto') | dict(given)
        self._given = {key: self._settings[key] for key in Layout._fields if self._settings[key] != 'auto'}
        self._device = next(unwrap_model(runner.model).parameters()).device.type
        self._is_exact = bool((runner.cfg.get('randomness') or {}).get('deterministic'))
        if is_training(runner):
            self.lines = [self._set_others(runner)]

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the choice of the run that is resumed or tested."""
        if is_resuming(runner) or not is_training(runner):
            self._layout = Layout(**(checkpoint_meta(checkpoint).get('speed') or {}))

    def before_train(self, runner: Runner) -> None:
        """Decide, the same in all processes."""
        self._layout, reason = from_main(self._decide(runner) if is_main_process() else None)
        line = f'{self._layout}, {reason}'
        if hasattr(runner.optim_wrapper, 'cast_dtype'):  # which float32 is left to
            line = line.replace('float32', type(runner.optim_wrapper).__name__)
        self.lines.insert(0, line)
        if self._layout.amp and not isinstance(unwrap_model(runner.model), HeadedModel):
            raise ConfigError("speed.amp=True: only for models of ftcls; set optim_wrapper.type='AmpOptimWrapper'")
        if any(self._layout):
            self._layout.apply(unwrap_model(runner.model))
            if runner.model is not unwrap_model(runner.model):
                wrap_again(runner)

    def before_test(self, runner: Runner) -> None:
        """Compute as the training did, where this device can."""
        layout = (self._layout or Layout())._replace(**self._given)
        if any(layout) and not is_training(runner):
            layout._replace(amp=layout.amp and has_bfloat16(self._device)).apply(unwrap_model(runner.model))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the choice; the weights are kept as others lay them out."""
        if self._layout is not None and any(self._layout):
            checkpoint['meta']['speed'] = self._layout._asdict()
            checkpoint['state_dict'].update({k: v.contiguous() for k, v in checkpoint['state_dict'].items()})

    def _decide(self, runner: Runner) -> tuple[Layout, str]:
        """Return the layout, and why."""
        model, loader, loop = unwrap_model(runner.model), runner.train_dataloader, runner.train_loop
        base = (self._layout or Layout())._replace(**self._given)
        fixed = {key: '' for key in self._given}
        if not any(isinstance(one, nn.Conv2d) for one in model.modules()):
            fixed.setdefault('channels_last', 'the model has no convolutions')
        if hasattr(runner.optim_wrapper, 'cast_dtype'):
            fixed.setdefault('amp', 'optim_wrapper sets the precision')
        elif not has_bfloat16(self._device):
            fixed.setdefault('amp', 'bfloat16 is not native here')
        values = [[getattr(base, key)] if key in fixed else [False, True] for key in base._fields]
        layouts = sorted(itertools.starmap(Layout, itertools.product(*values)), key=lambda one: one[::-1])
        batch_size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
        left = (loop.max_iters - loop.iter) * batch_size
        reasons = {
            'as the config says': len(self._given) == len(base),
            'as before the resume': self._layout is not None,
            'since randomness.deterministic=True asks for the same bits': self._is_exact,
            'since only models of ftcls are compared': not (isinstance(model, HeadedModel) and self.samples),
            f'since {" and ".join(filter(None, fixed.values()))}': len(layouts) == 1,
            f'since {left} images of training are too few to compare': left < _LEAST_IMAGES,
        }
        if reason := next((reason for reason, holds in reasons.items() if holds), None):
            if 0 < len(self._given) < len(base):
                given = ', '.join(f'{key}={value}' for key, value in self._given.items())
                reason = f'{given} as the config says, the rest {reason}'
            if self._layout not in (None, base):
                reason += f'; before the resume it was {self._layout}'
            return base, reason
        note = ''.join(f'; {text}' for text in fixed.values() if text)
        try:
            trial = Trial(model, self.samples, loader.collate_fn, runner.optim_wrapper.optim_context)
            return trial.compare(layouts, left, batch_size, note)
        except torch.OutOfMemoryError:
            return base, 'since a second copy of the model does not fit in the memory of the device'

    def _set_others(self, runner: Runner) -> str:
        """Set what needs no comparison; return a line."""
        is_fast = self._device == 'cuda' and not self._is_exact
        is_fixed = len({tuple(one['inputs'].shape) for one in self.samples}) == 1
        auto = dict(fused=is_fast, tf32=is_fast, cudnn_benchmark=is_fast and is_fixed, grad_checkpointing=False)
        chosen = auto | {key: self._settings[key] for key in auto if self._settings[key] != 'auto'}
        chosen['compile'] = bool(runner.cfg.get('compile'))
        chosen |= {key: value for key, value in (runner.cfg.get('env_cfg') or {}).items() if key == 'cudnn_benchmark'}
        if chosen['fused'] and not is_resuming(runner):  # a checkpoint has the optimizer's settings
            _fuse(runner, is_asked=self._settings['fused'] is True)
        if chosen['tf32']:
            torch.set_float32_matmul_precision('high')
        if chosen['cudnn_benchmark']:
            torch.backends.cudnn.benchmark = True
        if chosen['grad_checkpointing']:
            backbone = getattr(unwrap_model(runner.model), 'backbone', None)
            if not hasattr(backbone, 'checkpoint_gradients'):
                raise ConfigError('speed.grad_checkpointing=True: only backbones of ftcls can do that; remove it')
            backbone.checkpoint_gradients()
        return ', '.join(f'{key}={value}' for key, value in chosen.items())


def _fuse(runner: Runner, is_asked: bool) -> None:
    """Let the optimizer update all parameters in one kernel, unless it cannot or the config says otherwise."""
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    for group in getattr(optimizer, 'param_groups', ()):
        if group.get('fused', True) is None and not group['foreach']:
            group['fused'] = True
        elif is_asked and not group.get('fused'):
            kind = type(optimizer).__name__
            raise ConfigError(f'speed.fused=True: {kind} cannot, or optim_wrapper.optimizer says otherwise; remove it')
