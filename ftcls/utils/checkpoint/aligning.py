"""Find a network's tensors in a file of the same network from another library, under whatever names.

OpenMMLab, torchvision and timm name the layers of one network differently, but register them in the same order: the
order in which they run. So the tensors of both sides are paired one by one, and only if all of them agree in kind and
shape. This needs no table of names for each network, library and depth.
"""
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import nn

__all__ = ['PARTS', 'TensorOrder', 'rename_by_order']

Tensors = dict[str, torch.Tensor]

PARTS = re.compile(r'((backbone|neck|decoder|head|model|timm_model|module)\.)*')  # the parts, and wrappers inside them
_KINDS = ('bias', 'running_mean', 'running_var')  # any other tensor is a weight


@dataclass(frozen=True)
class TensorOrder:
    """Attribute ``tensor_order`` of a network whose tensors other libraries register in the same order.

    Attributes:
        regroup: Regular expressions and what replaces them in a file's names before these are put in order: modules
            that run by turns and lie in two lists, as ``transitions.0`` to ``stages.0.transition``.
        last: Components of names that come last in their block, wherever the file has them.
        resized: Ends of the names of tensors whose size depends on the image's; these agree in kind only.
        others: Beginnings of the network's own names that are not paired, such as a classifier in the backbone.
    """
    regroup: Sequence[tuple[str, str]] = ()
    last: Sequence[str] = ()
    resized: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def arrange(self, names: Sequence[str]) -> list[str]:
        """Return a file's names in the order in which the layers run."""
        rank, paths = {}, {}
        for i, name in enumerate(names):
            place = name
            for pattern, replacement in self.regroup:
                place = re.sub(pattern, replacement, place)
            paths[name] = list(accumulate(place.split('.'), '{}.{}'.format))
            for path in paths[name]:
                rank.setdefault(path, i)
        return sorted(names, key=lambda n: [(path.split('.')[-1] in self.last, rank[path]) for path in paths[n]])


def _kind(name: str) -> str:
    return next((kind for kind in _KINDS if name.endswith(kind)), 'weight')


def _squeezed(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return the shape without ones: a 1x1 convolution and a linear layer have the same."""
    return tuple(size for size in tensor.shape if size != 1)


def _find_module(module: nn.Module) -> tuple[nn.Module, TensorOrder] | None:
    found = ((m, getattr(m, 'tensor_order', None)) for m in module.modules())
    return next(((m, order) for m, order in found if order is not None), None)


def rename_by_order(theirs: Tensors, module: nn.Module) -> tuple[Tensors, dict[str, str]]:
    """Give the tensors of a file the names of the network in ``module``, if all of that network's are there in order.

    Args:
        theirs: Tensors by name, in the file's order.
        module: A network with a :class:`TensorOrder`, or a model that has one.

    Returns:
        The file's tensors, those of the network under its names (behind the file's prefix) and in its shapes; and the
        old and the new names of these. Both are empty if the network is another.
    """
    network, order = _find_module(module) or (None, TensorOrder())
    if network is None:
        return {}, {}
    ours = {n: t for n, t in network.state_dict().items() if t.is_floating_point() and not n.startswith(order.others)}
    names = order.arrange([name for name, tensor in theirs.items() if tensor.is_floating_point()])
    # The first convolution may be for images of other channels, see `adapt_input`.
    first = next((n for n, tensor in ours.items() if tensor.ndim == 4), None)

    def agree(own: str, name: str) -> bool:
        a, b = ours[own], theirs[name]
        flexible = (own == first or own.endswith(order.resized)) and a.ndim == b.ndim
        return _kind(own) == _kind(name) and (flexible or _squeezed(a) == _squeezed(b))

    for start in range(len(names) - len(ours) + 1):
        window = names[start:start + len(ours)]
        if all(map(agree, ours, window)):
            return _renamed(theirs, dict(zip(window, ours)), ours)
    return {}, {}


def _renamed(theirs: Tensors, pairs: dict[str, str], ours: Tensors) -> tuple[Tensors, dict[str, str]]:
    """Return ``theirs`` with the names of ``pairs``; nothing if it has more layers beside these."""
    start = PARTS.match(next(iter(pairs)))[0]
    containers = {name[len(start):].split('.')[0] for name in pairs}
    others = [
        n[len(start):] for n in theirs if n not in pairs and n.startswith(start) and theirs[n].is_floating_point()
    ]
    if containers & {name.split('.')[0] for name in others}:
        return {}, {}
    names = {name: start + own for name, own in pairs.items()}
    for name, own in pairs.items():
        if name.endswith('running_mean'):
            end = 'num_batches_tracked'
            names[name.removesuffix('running_mean') + end] = start + own.removesuffix('running_mean') + end
    state = {names.get(name, name): tensor for name, tensor in theirs.items()}
    for own in pairs.values():
        value = state[start + own]
        if value.numel() == ours[own].numel():
            state[start + own] = value.reshape(ours[own].shape)
    return state, names
