"""Mixed precision: bfloat16 where the device has it, else float16 with loss scaling."""
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from ftcls.registry import OPTIM_WRAPPERS
from ftcls.utils import ConfigError, did_you_mean
from ftcls.utils.log import warn
from .groups import PositiveFactor

__all__ = ['AmpOptimWrapper', 'convert_to_amp']

_DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16}
_SCALER_OPTIONS = ('init_scale', 'growth_factor', 'backoff_factor', 'growth_interval', 'enabled')


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(OptimWrapper):
    """Run the forward pass in half precision; keep weights, gradients and updates in float32.

    Takes the place of MMEngine's class of the same name, which needs a GPU: this one also runs on the CPU (bfloat16).

    Args:
        loss_scale: How the loss is scaled so that small gradients survive in float16: ``'dynamic'`` (doubled every
            2,000 steps, halved after an overflow), a number (kept), or a dict of ``torch.amp.GradScaler``'s options.
            With ``'dynamic'``, bfloat16 is not scaled, since it has float32's range.
        dtype: ``'bfloat16'`` or ``'float16'``; None takes bfloat16 on a CPU and on a GPU that computes it natively.
        **kwargs: ``optimizer``, ``accumulative_counts`` and ``clip_grad``, as in MMEngine's ``OptimWrapper``.

    Attributes:
        cast_dtype: The chosen dtype.
        skipped_steps: How many updates were left out because a gradient was not finite.

    Raises:
        ConfigError: If the device cannot do what is asked: float16 on the CPU, or bfloat16 on a GPU without it.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> wrapper = AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
        >>> with wrapper.optim_context(model):
        ...     loss = model(torch.ones(1, 2)).sum()
        >>> wrapper.cast_dtype, loss.dtype
        (torch.bfloat16, torch.bfloat16)
    """

    def __init__(self,
                 loss_scale: Literal['dynamic'] | PositiveFactor | Mapping[str, Any] = 'dynamic',
                 dtype: str | torch.dtype | None = None,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.device_type = next(p.device.type for group in self.optimizer.param_groups for p in group['params'])
        self.cast_dtype = _choose_dtype(dtype, self.device_type)
        self._fixed_scale = float(loss_scale) if isinstance(loss_scale, int | float) else None
        self.loss_scaler = _build_scaler(loss_scale, self.cast_dtype, self.device_type)
        self.skipped_steps = 0
        self._stepped = True
        if self.loss_scaler.is_enabled():
            self.optimizer.register_step_post_hook(self._note_step)

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Get ready for a training, as MMEngine's runner asks, and log what was chosen."""
        scaling = f'loss scale {self.loss_scaler.get_scale():g}' if self.loss_scaler.is_enabled() else 'no loss scaling'
        name = str(self.cast_dtype).removeprefix('torch.')
        print_log(f'mixed precision: {name} on {self.device_type}, {scaling}', logger='current')
        super().initialize_count_status(model, init_counts, max_counts)

    def _note_step(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        """Note that the optimizer ran; a fused one always runs, and is told by ``found_inf`` to change nothing."""
        found_inf = getattr(optimizer, 'found_inf', None)
        self._stepped = found_inf is None or not bool(found_inf)

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Back-propagate the scaled ``loss``, shape ()."""
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        """Update the parameters, or skip the update where a gradient is not finite, and adapt the loss scale."""
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self._stepped = not self.loss_scaler.is_enabled()  # a disabled scaler just lets the optimizer step
        self.loss_scaler.step(self.optimizer, **kwargs)
        if not self._stepped:
            self.skipped_steps += 1
            if self.skipped_steps.bit_count() == 1:
                text = f'update skipped: a gradient is not finite at loss scale {self.loss_scaler.get_scale():g}'
                warn(f'{text} ({self.skipped_steps} skipped so far)')
        self.loss_scaler.update(self._fixed_scale)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Cast the forward pass, and do not exchange gradients between processes while they are accumulated."""
        with super().optim_context(model), torch.autocast(self.device_type, dtype=self.cast_dtype):
            yield

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state with the scaler's, ``loss_scaler``, and ``skipped_steps``."""
        scaler = self.loss_scaler.state_dict()
        return super().state_dict() | {'loss_scaler': scaler, 'skipped_steps': self.skipped_steps}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state; one that was saved without loss scaling leaves the scaler as it is."""
        state_dict = dict(state_dict)
        self.skipped_steps = state_dict.pop('skipped_steps', 0)
        # An empty state is that of a run without scaling, which GradScaler refuses to load.
        if scaler := state_dict.pop('loss_scaler', None):
            self.loss_scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)


def _choose_dtype(dtype: str | torch.dtype | None, device_type: str) -> torch.dtype:
    """Return the dtype asked for, if the device has it, or the best one that it has."""
    native_bfloat16 = device_type != 'cuda' or torch.cuda.is_bf16_supported(including_emulation=False)
    if dtype is None:
        return torch.bfloat16 if native_bfloat16 else torch.float16
    name = str(dtype).removeprefix('torch.')
    if name not in _DTYPES:
        raise ConfigError(f"optim_wrapper.dtype={name!r}: must be 'bfloat16' or 'float16'; for full precision set "
                          f"optim_wrapper.type='OptimWrapper'{did_you_mean(name, _DTYPES)}")
    if name == 'float16' and device_type == 'cpu':
        raise ConfigError("optim_wrapper.dtype='float16': the CPU trains in bfloat16; remove it")
    if name == 'bfloat16' and not native_bfloat16:
        raise ConfigError("optim_wrapper.dtype='bfloat16': this GPU does not compute it; remove it")
    return _DTYPES[name]


def _build_scaler(loss_scale: Any, dtype: torch.dtype, device_type: str) -> GradScaler:
    """Build the scaler, disabled where nothing is to be scaled."""
    if loss_scale == 'dynamic':
        return GradScaler(device_type, enabled=dtype == torch.float16)
    if not isinstance(loss_scale, Mapping):
        return GradScaler(device_type, init_scale=float(loss_scale))
    for key in loss_scale:
        if key not in _SCALER_OPTIONS:
            raise ConfigError(f'optim_wrapper.loss_scale: unknown key {key!r}{did_you_mean(key, _SCALER_OPTIONS)}')
    return GradScaler(device_type, **loss_scale)


def convert_to_amp(optim_wrapper_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an ``optim_wrapper`` config that trains in mixed precision, as ``--amp`` asks.

    Raises:
        ConfigError: If its type is one that is not known to have a counterpart in mixed precision.

    Example:
        >>> convert_to_amp(dict(optimizer=dict(type='SGD', lr=0.1)))
        {'loss_scale': 'dynamic', 'optimizer': {'type': 'SGD', 'lr': 0.1}, 'type': 'AmpOptimWrapper'}
    """
    wrapper_type = optim_wrapper_cfg.get('type', 'OptimWrapper')
    name = getattr(wrapper_type, '__name__', wrapper_type)
    if name.rpartition('.')[2] not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ConfigError(f"--amp: optim_wrapper.type={name!r} has no mixed precision; it must be 'OptimWrapper'")
    return {'loss_scale': 'dynamic', **optim_wrapper_cfg, 'type': 'AmpOptimWrapper'}
