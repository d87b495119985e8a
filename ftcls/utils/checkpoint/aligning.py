"""Find a network's tensors in a file of the same network from another library, under whatever names.

OpenMMLab, torchvision and timm name the layers of one network differently, but register them in the same order: the
order in which they run. So the tensors of both sides are paired one by one, and only if all of them agree in kind and
shape. This needs no table of names for each network, library and depth.

Files of safetensors sort their names, so their order says nothing. It is that of the network of torchvision or timm
that has all of these names; one with more layers tells it for its smaller kin.
"""
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, reduce
from importlib import import_module
from itertools import accumulate, chain
from operator import gt

import torch
from torch import nn

from .adapter_files import is_adapter

__all__ = ['PARTS', 'TensorOrder', 'rename_by_order']

Tensors = dict[str, torch.Tensor]

PARTS = re.compile(r'((backbone|neck|decoder|head|model|timm_model|module)\.)*')  # the parts, and wrappers inside them
_COUNT = 'num_batches_tracked'
_ORDERED = ('mobilenetv2_100', 'mobilenet_v3_small', 'mobilenet_v3_large', 'convnext_large', 'vit_h_14', 'swin_b',
            'regnetx_004', 'regnetx_006', 'regnetx_008', 'regnetx_032', 'regnetx_320', 'resnet152c', 'resnet152d',
            'efficientnet_b7', 'efficientnet_v2_s', 'efficientnet_v2_l', 'regnet_x_800mf', 'regnet_x_3_2gf')


@dataclass(frozen=True)
class TensorOrder:
    """Attribute ``tensor_order`` of a network whose tensors other libraries register in the same order.

    Attributes:
        regroup: Regular expressions and what replaces them in a file's names before these are put in order: modules
            that run by turns and lie in two lists, as ``transitions.0`` to ``stages.0.transition``.
        last: Components of names that come last in their block, wherever the file has them.
        resized: Ends of the names of tensors whose size depends on the image's. These agree in kind only; the network's
            ``resize_weight(value, shape)`` fits them.
        converted: Regular expressions for a file's names, and what is done to these tensors.
        computed: Ends of the names of tensors that the network computes; they are left out.
        others: Beginnings of the network's own names that are not paired, such as a classifier in the backbone.
        optional: Beginnings of the network's own names that a file may lack.
    """
    regroup: Sequence[tuple[str, str]] = ()
    last: Sequence[str] = ()
    resized: tuple[str, ...] = ()
    converted: Sequence[tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = ()
    computed: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def place(self, name: str) -> str:
        """Return a file's name with what :attr:`regroup` replaces."""
        return reduce(lambda text, rule: re.sub(*rule, text), self.regroup, name)

    def arrange(self, names: Sequence[str]) -> list[str]:
        """Return a file's names in the order in which the layers run."""
        if sum(map(gt, names, names[1:])) < 3:  # sorted, in one run for each dtype
            order = next((one for one in map(_order_of, _ORDERED) if one.keys() >= set(map(_inner, names))), {})
            names = sorted(names, key=lambda name: order.get(_inner(name), 0))
        rank, keys = {}, {}
        for i, name in enumerate(names):
            paths = accumulate(self.place(name).split('.'), '{}.{}'.format)
            keys[name] = [(path.split('.')[-1] in self.last, rank.setdefault(path, i)) for path in paths]
        return sorted(names, key=keys.get)


def _kind_and_size(name: str, tensor: torch.Tensor) -> tuple:
    """Return the kind of a tensor and its shape without ones: a 1x1 convolution and a linear layer have the same."""
    kinds = ('bias', 'running_mean', 'running_var')
    name = name.replace('beta', 'bias')
    return next((k for k in kinds if name.endswith(k)), 'weight'), tuple(size for size in tensor.shape if size != 1)


def _inner(name: str) -> str:
    return name[len(PARTS.match(name)[0]):]


@cache
def _order_of(network: str) -> dict[str, int]:
    """Return the names of the tensors of a network in their order, and their places in it; none without timm.

    torchvision's RegNet reads numbers from tensors while it is built, so the meta device does not do.
    """
    from torchvision.models import get_model, list_models
    device = 'cpu' if network.startswith('regnet_') else 'meta'
    with suppress(ImportError), torch.random.fork_rng([]), torch.device(device):
        build = get_model if network in list_models() else import_module('timm').create_model
        return {_inner(name): i for i, name in enumerate(build(network).state_dict())}
    return {}


def rename_by_order(theirs: Tensors, module: nn.Module) -> tuple[Tensors, dict[str, str]]:
    """Give the tensors of a file the names of the network in ``module``, if all of that network's are there in order.

    Args:
        theirs: Tensors by name, in the file's order.
        module: A network with a :class:`TensorOrder`, or a model that has one.

    Returns:
        The file's tensors, those of the network under its names (behind the file's prefix) and in its shapes; and the
        old and the new names of these. Both are empty if the network is another.
    """
    if (network := next((m for m in module.modules() if hasattr(m, 'tensor_order')), None)) is None:
        return {}, {}
    order = network.tensor_order
    theirs = {name: tensor for name, tensor in theirs.items() if not name.endswith(order.computed)}
    with_counts = any(name.endswith(_COUNT) for name in theirs)  # whole numbers are bookkeeping, but for these

    def is_paired(name: str, tensor: torch.Tensor) -> bool:
        return not is_adapter(name) and (tensor.is_floating_point() or (with_counts and name.endswith(_COUNT)))

    ours = {n: t for n, t in network.state_dict().items() if is_paired(n, t) and not n.startswith(order.others)}
    names = order.arrange([name for name, tensor in theirs.items() if is_paired(name, tensor)])
    flexible = [n for n, tensor in ours.items() if tensor.ndim == 4][:1]  # of images of any channels (adapt_input)
    flexible += [n for n in ours if n.endswith(order.resized)]

    def agree(own: str, name: str) -> bool:
        wanted, found = _kind_and_size(own, ours[own]), _kind_and_size(name, theirs[name])
        return wanted == found or (own in flexible and wanted[0] == found[0] and ours[own].ndim == theirs[name].ndim)

    by_name = {_inner(order.place(name)): name for name in names}  # the own names in another order (safetensors sorts)
    for wanted in (list(ours), [name for name in ours if not name.startswith(order.optional)]):
        same = [by_name.get(_inner(order.place(own)), '') for own in wanted]
        windows = (names[start:start + len(wanted)] for start in range(len(names) - len(wanted) + 1))
        for found in chain([same], windows):
            if all(found) and all(map(agree, wanted, found)):
                return _renamed(theirs, dict(zip(found, wanted)), network)
    return {}, {}


def _renamed(theirs: Tensors, pairs: dict[str, str], network: nn.Module) -> tuple[Tensors, dict[str, str]]:
    """Return ``theirs`` with the names of ``pairs``; nothing if it has more layers beside these.

    A norm may lie beside the classifier (``head.norm``, ``head.fc``), so only what has matrices counts.
    """
    start, order, ours = PARTS.match(next(iter(pairs)))[0], network.tensor_order, network.state_dict()
    names = {name: start.removesuffix('model.') + own for name, own in pairs.items()}
    containers = tuple(start + name[len(start):].split('.')[0] + '.' for name in pairs if theirs[name].ndim > 1)
    if any(n.startswith(containers) and n not in names and t.is_floating_point() for n, t in theirs.items()):
        return {}, {}
    state = {names.get(name, name): tensor for name, tensor in theirs.items()}
    for name, own in pairs.items():
        value = theirs[name]
        for pattern, convert in order.converted:
            value = convert(value) if re.search(pattern, name) else value
        if own.endswith(order.resized) and value.shape != ours[own].shape:
            value = network.resize_weight(value, ours[own].shape)
        elif value.numel() == ours[own].numel():
            value = value.reshape(ours[own].shape)
        state[names[name]] = value
    return state, names
