"""What every backbone shares: its stages, and the one place where they are frozen."""
import inspect
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import chain
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ftcls.utils import ConfigError
from ftcls.utils.tree import as_list
from ..freezing import FreezeRecord, set_bn_eval
from ..weight_init import InitCfg, with_default_init

__all__ = ['BaseBackbone', 'Stage', 'check_out_indices']

Stage = list[nn.Module | nn.Parameter]  # A stage: modules, and parameters of the network itself (a class token).


def check_out_indices(out_indices: int | Sequence[int], num_stages: int, name: str) -> tuple[int, ...]:
    """Return ``out_indices`` as ints in 0 ... ``num_stages`` - 1, -1 the last; raise a ConfigError for other stages."""
    indices = as_list(out_indices)
    wrong = [i for i in indices if not -num_stages <= i < num_stages]
    if wrong or not indices:
        raise ConfigError(f'out_indices={tuple(indices)}: {name} has {num_stages} stages; give one or more, from 0')
    return tuple(i % num_stages for i in indices)


def _blocks(item: nn.Module | nn.Parameter) -> list[nn.Module]:
    """Return the parts that are computed again: those of several layers, not those that hold other blocks."""
    if isinstance(item, nn.Parameter) or not list(item.children()):
        return []
    inner = [block for child in item.children() for block in _blocks(child)]
    return inner if inner and isinstance(item, nn.Sequential | nn.ModuleList) else [item]


def _recomputed(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    forward = partial(type(block).forward, block)
    if not torch.is_grad_enabled() or not any(isinstance(x, torch.Tensor) and x.requires_grad for x in args):
        return forward(*args, **kwargs)
    contexts = dict(context_fn=lambda: (nullcontext(), _statistics_fixed(block)))
    return checkpoint(forward, *args, use_reentrant=False, **contexts, **kwargs)


@contextmanager
def _statistics_fixed(module: nn.Module) -> Iterator[None]:
    """Keep BatchNorm from counting a batch again when checkpointing recomputes a block; its output is the same."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    before = [(m.momentum, m.num_batches_tracked.clone()) for m in norms]
    for norm in norms:
        norm.momentum = 0.
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


class BaseBackbone(BaseModule):
    """Base of all backbones: images in, a tuple of feature maps out.

    A subclass builds its modules and defines :meth:`forward`. Those of ftcls also set ``out_channels``, define
    ``stages()``, and end their ``__init__`` with ``self.freeze_stages(frozen_stages)``. Freezing is written here and
    nowhere else. ``stages()`` returns the stages in order from the input: item 0 is the stem, item k the k-th stage,
    and every parameter of the backbone is in exactly one of them. Only freezing, layer-wise rates, unfreezing,
    gradient checkpointing and the feature cache need it, see :meth:`stage_list`.

    Args:
        init_cfg: Where the weights come from, in MMEngine's form. Entries of type ``Pretrained`` are loaded over the
            default initialization; other entries replace it.
        default_init: MMEngine ``init_cfg`` dicts; none keeps what the layers start with.
        norm_eval: Keep all BatchNorm layers in eval mode, so that their running statistics do not move.

    Attributes:
        out_channels: Channels of each returned feature map.
        frozen_stages: -1 nothing, 0 the stem, k the stem and the first k stages, see :meth:`freeze_stages`. A subclass
            without ``stages()`` may keep a number of its own here, and freeze by itself.

    Example:
        >>> class Tiny(BaseBackbone):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.conv = nn.Conv2d(3, 8, kernel_size=3)
        ...     def forward(self, x):
        ...         return (self.conv(x), )
        >>> Tiny()(torch.rand(2, 3, 32, 32))[0].shape
        torch.Size([2, 8, 30, 30])
    """

    out_channels: tuple[int, ...]

    def __init__(self, init_cfg: InitCfg = None, default_init: Sequence[dict] = (), norm_eval: bool = False) -> None:
        super().__init__(init_cfg=with_default_init(init_cfg, default_init) or None)
        self.norm_eval = norm_eval
        self.frozen_stages = -1

    @abstractmethod
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the feature maps of a batch of images (N, C, H, W) float, one for each of ``out_channels``."""

    @property
    def has_stages(self) -> bool:
        """Whether the class defines ``stages()``; a network may have its blocks under that name."""
        return inspect.ismethod(getattr(self, 'stages', None))

    def stage_list(self) -> list[Stage]:
        """Return what ``stages()`` does.

        Raises:
            ConfigError: If the class does not define ``stages()``.
        """
        if self.has_stages:
            return self.stages()
        parts = ', '.join(f'[self.{name}]' for name, _ in self.named_children())
        raise ConfigError(f'model.backbone: {type(self).__name__} has no stages(), for freezing and layer-wise rates; '
                          f'write `def stages(self): return [{parts}]`: the stem, then each stage')

    @property
    def num_stages_total(self) -> int:
        """The number of stages, the stem not counted; it is the largest allowed ``frozen_stages``."""
        return len(self.stage_list()) - 1

    def stage_of_parameters(self) -> dict[str, int]:
        """Return for each parameter, by its name in the backbone, the index of its stage (0 the stem).

        Example:
            >>> ResNet(18).stage_of_parameters()['layer2.0.conv1.weight']
            2
        """
        index = {}
        for k, stage in enumerate(self.stage_list()):
            for item in stage:
                index.update(dict.fromkeys([item] if isinstance(item, nn.Parameter) else item.parameters(), k))
        return {name: index[param] for name, param in self.named_parameters()}

    def freeze_stages(self, frozen_stages: int, reason: str = 'model.backbone.frozen_stages') -> None:
        """Freeze the stem and the first ``frozen_stages`` stages; release what an earlier call froze beyond them.

        Frozen modules are in eval mode, also after ``train()``: BatchNorm statistics do not move and dropout is off.

        Args:
            frozen_stages: -1 nothing, 0 the stem, k the stem and the first k stages.
            reason: Noted in the :class:`FreezeRecord`; what was frozen for other reasons stays frozen.

        Raises:
            ConfigError: If there are not that many stages.
        """
        most = self.num_stages_total
        if not -1 <= frozen_stages <= most:
            raise ConfigError(f'frozen_stages={frozen_stages!r}: must be from -1 (nothing) over 0 (the stem) to {most} '
                              f'(everything), for {type(self).__name__} has {most} stages here')
        stage_of, record = self.stage_of_parameters(), FreezeRecord.of(self)
        params = dict(self.named_parameters())
        record.release(params.values(), reason)
        record.freeze([param for name, param in params.items() if stage_of[name] <= frozen_stages], reason)
        self.frozen_stages = frozen_stages
        self.train(self.training)

    def checkpoint_gradients(self) -> None:
        """Keep for the backward pass only what goes into each block, and compute the block again there: less memory.

        Raises:
            ConfigError: If the backbone has no blocks.
        """
        blocks = [block for item in chain.from_iterable(self.stage_list()) for block in _blocks(item)]
        if not blocks:
            raise ConfigError(f'speed.grad_checkpointing=True: {type(self).__name__} has no blocks; remove it')
        for block in blocks:
            block.forward = partial(_recomputed, block)

    def train(self, mode: bool = True) -> 'BaseBackbone':
        """Switch to training mode, except what is frozen; or, with ``mode=False``, to eval mode."""
        super().train(mode)
        if not mode:
            return self
        if self.has_stages and self.frozen_stages >= 0:
            for item in chain.from_iterable(self.stages()[:self.frozen_stages + 1]):  # also such as dropout
                if isinstance(item, nn.Module):
                    item.eval()
        for child in self.children():
            FreezeRecord.of(self).eval_frozen(child)
        if self.norm_eval:
            set_bn_eval(self)
        return self
