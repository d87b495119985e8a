"""Stages and feature maps of a network that another library built, found by looking at it.

The network is opened into *units* in the order in which they run, and one batch of shapes is sent through (on the meta
device, so nothing is computed). Units of one resolution form a stage.
"""
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain

import torch
from torch import nn

from .base_backbone import Stage

__all__ = [
    'Unit', 'channels_of', 'find_stages', 'image_shape', 'images_first', 'open_units', 'output_shapes', 'recorded',
    'resolve'
]

Unit = tuple[str, nn.Module | nn.Parameter]  # name in the network, and a module or a parameter that belongs to no unit
Shape = tuple[int, ...]
Points = Mapping[Hashable, tuple[nn.Module, bool]]  # key to (module, whether its first input is meant, not its output)
_TRUNK = 0.9  # A container that holds this part of all parameters is the trunk, and is opened.
_SHRINK = 0.6  # a stage ends where the side of the map falls below this (a convolution's border reaches 2 / 3)


def _numel(item: nn.Module | nn.Parameter) -> int:
    return item.numel() if isinstance(item, nn.Parameter) else sum(p.numel() for p in item.parameters())


def _children(name: str, module: nn.Module) -> list[Unit]:
    own = [*module.named_parameters(recurse=False), *module.named_children()]
    return [(f'{name}.{key}'.removeprefix('.'), item) for key, item in own]


def open_units(model: nn.Module) -> list[Unit]:
    """Return the parts of a network in order: its children, with the trunk's container opened into its own children."""
    least = _TRUNK * max(_numel(model), 1)
    opened, waiting = [], _children('', model)
    while waiting:
        name, item = waiting.pop(0)
        is_container = isinstance(item, nn.Module) and list(item.children())
        if is_container and (type(item).forward is nn.Module.forward or _numel(item) >= least):  # lists are not called
            waiting = _children(name, item) + waiting
        else:
            opened.append((name, item))
    return opened


@contextmanager
def recorded(points: Points) -> Iterator[dict[Hashable, torch.Tensor]]:
    """Yield a dict, key to tensor (the first of several), that is filled with what passes at ``points``.

    The hooks are removed with the context, so that the network can be copied, pickled and exported.
    """
    kept: dict[Hashable, torch.Tensor] = {}

    def keep(key: Hashable, module: nn.Module, *args_and_output: object) -> None:
        value = args_and_output[-1]  # A hook before the module is given no output, so the last is the input.
        if isinstance(value, (tuple, list)) and value:
            value = value[0]
        if isinstance(value, torch.Tensor):
            kept[key] = value

    with ExitStack() as handles:
        for key, (module, is_input) in points.items():
            register = module.register_forward_pre_hook if is_input else module.register_forward_hook
            handles.enter_context(register(partial(keep, key)))
        yield kept


def output_shapes(model: nn.Module, points: Points, images: Shape) -> tuple[dict[str, Shape], list[Shape]]:
    """Return the shapes of what passes at ``points`` in eval mode, and of what the network returns for ``images``.

    Points that are not passed are missing in the result. The weights of the network and its mode do not change.
    """
    modes = {m: m.training for m in model.modules()}
    model.eval()
    state = [*model.named_parameters(), *model.named_buffers()]
    try:
        with torch.no_grad(), recorded(points) as kept:
            try:
                meta = {key: value.to('meta') for key, value in state}
                empty = torch.empty(images, device='meta')
                out = torch.func.functional_call(model, meta, (empty, ), tie_weights=False)  # for modules held twice
            except (NotImplementedError, RuntimeError, TypeError):
                out = model(torch.zeros(images))  # it makes tensors of its own, not on the meta device: run it for real
    finally:
        for module, mode in modes.items():
            module.training = mode
    if isinstance(out, torch.Tensor):
        out = [out]
    elif isinstance(out, dict):
        out = out.values()
    return {name: tuple(y.shape) for name, y in kept.items()}, [tuple(y.shape) for y in out]


def _drop_unused(model: nn.Module, units: Sequence[Unit], shapes: Mapping[str, Shape]) -> list[Unit]:
    """Remove from a network its auxiliary heads, which have parameters and do not run in eval mode; return the others.

    In training they would run without an effect on the features, and their parameters would get no gradient. A module
    also runs if only the modules in it are called.
    """
    kept = []
    for name, item in units:
        runs = any(f'{key}.'.startswith(f'{name}.') for key in shapes)
        if isinstance(item, nn.Module) and not runs and _numel(item) > 0:
            parent, _, key = name.rpartition('.')
            setattr(model.get_submodule(parent), key, None)
        else:
            kept.append((name, item))
    return kept


def image_shape(channels: int, size: int | tuple[int, int]) -> Shape:
    """Return the shape of a batch of one image."""
    return 1, channels, *((size, size) if isinstance(size, int) else size)


def resolve(model: nn.Module, stage_names: Sequence[Sequence[str]]) -> list[Stage]:
    """Return for each stage the modules and parameters of these names in ``model``."""
    items = dict(model.named_parameters(remove_duplicate=False))
    items.update(model.named_modules(remove_duplicate=False))
    return [[items[name] for name in names] for names in stage_names]


def _is_plain(module: nn.Module) -> bool:
    """Tell whether a module is a layer or a short run of layers (convolution, norm, activation), not of blocks."""
    return not any(list(child.children()) for child in module.children())


def find_stages(model: nn.Module,
                images: Shape,
                points: Points | None = None) -> tuple[list[list[str]], dict[Hashable, Shape], list[Shape]]:
    """Find the stem and the stages of a network; remove its auxiliary heads, which do not run in eval mode.

    The stem is the layers up to the first block or the first reduction of size after the first layer, and all
    parameters outside of units. A new stage begins where the size of the feature map falls; in networks whose size
    stays the same (transformers), at each block.

    Returns:
        The names of the units of each stage (item 0 the stem), the shape of each unit's output by name and at
        ``points``, and the shapes of what the network returns for images of shape ``images``, (N, C, H, W).
    """
    units = open_units(model)
    while True:
        inner = chain.from_iterable(_children(name, item) for name, item in units if isinstance(item, nn.Module))
        outputs = {name: (item, False) for name, item in [*units, *inner] if isinstance(item, nn.Module)}
        shapes, outs = output_shapes(model, {**outputs, **(points or {})}, images)
        units = _drop_unused(model, units, shapes)
        stages = _group(units, shapes)
        if len(stages) > 2:
            return stages, shapes, outs
        # All of the trunk is in one stage: it is one unit beside other large ones. Open the largest run of blocks.
        runs = [(_numel(x), i) for i, (_, x) in enumerate(units) if isinstance(x, nn.Sequential) and not _is_plain(x)]
        if not runs:
            return _group(units, {}), shapes, outs
        i = max(runs)[1]
        units[i:i + 1] = _children(*units[i])


def _group(units: Sequence[Unit], shapes: Mapping[str, Shape]) -> list[list[str]]:
    """Return the names of the units of the stem and of each stage; without shapes, each block is a stage."""
    stages: list[list[Unit]] = [[]]
    side, stem_begun = None, False
    for name, item in units:
        if isinstance(item, nn.Parameter):
            stages[0].append((name, item))
            continue
        shape = shapes.get(name, ())
        now = shape[2] if len(shape) == 4 else None  # in (N, C, H, W) and (N, H, W, C) of square images the side
        is_block = _numel(item) > 0 and stem_begun and not _is_plain(item)  # the first layer is the stem
        shrinks = now is not None and side is not None and now <= _SHRINK * side
        if shrinks or (is_block and (now is None or len(stages) == 1)):
            stages.append([])
        if now is not None and (side is None or shrinks):
            side = now
        stem_begun = stem_begun or _numel(item) > 0
        stages[-1].append((name, item))
    return [[name for name, _ in stage] for stage in _without_empty(stages)]


def _without_empty(stages: list[list[Unit]]) -> list[list[Unit]]:
    """Join a stage without layers (a pooling, a norm) to the stage after it; if it is the last, to the one before."""
    kept, waiting = [stages[0]], []
    for stage in stages[1:]:
        waiting = waiting + stage
        if any(p.ndim > 1 for _, item in stage for p in item.parameters()):  # a norm's weights are vectors
            kept.append(waiting)
            waiting = []
    kept[-1] = kept[-1] + waiting
    return kept


def _is_channels_last(shape: Shape) -> bool:
    """Tell whether a feature map of square images has shape (N, H, W, C)."""
    return len(shape) == 4 and shape[1] == shape[2] != shape[3]


def channels_of(shape: Shape) -> int:
    """Return the number of channels of (N, C, H, W), (N, H, W, C), (N, L, C) or (N, C)."""
    return shape[1] if len(shape) == 4 and not _is_channels_last(shape) else shape[-1]


def images_first(x: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Return a feature map as (N, C, H, W), given the shape it had for a square image; vectors do not change."""
    return x.permute(0, 3, 1, 2) if _is_channels_last(shape) else x
