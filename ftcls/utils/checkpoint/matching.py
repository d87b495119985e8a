"""Find the weights in a checkpoint and fit their names to a module's."""
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from math import prod
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from torch import nn

from ftcls.utils.errors import CheckpointError
from ftcls.utils.names import did_you_mean, enumerate_names
from ftcls.utils.tree import grouped
from .adapter_files import is_adapter
from .aligning import PARTS, rename_by_order
from .report import LoadReport

__all__ = ['find_state_dict', 'is_classifier', 'match_state_dict', 'own_tensors', 'unwrap_model']

Tensors = dict[str, torch.Tensor]

# Keys that training codes keep their weights under, the likeliest first.
_CONTAINERS = ('state_dict', 'model', 'model_state_dict', 'model_state', 'net', 'network', 'module', 'params',
               'weights', 'ema', 'model_ema', 'state_dict_ema', 'params_ema', 'ema_state_dict')
# What DistributedDataParallel, torch.compile and training codes put before every name.
_WRAPPERS = ('module.', '_orig_mod.', '_fsdp_wrapped_module.', 'model.', 'net.', 'network.', 'ema_model.')
# Names of the layer that gives the classes, in OpenMMLab, torchvision, timm, and codes for CIFAR and of U-Nets.
_CLASSIFIER = re.compile(r'((backbone\.)?(model\.)?(?=classifier\.))?'
                         r'(head|heads|fc|linear|classifier|last_linear|head_dist|aux_logits|AuxLogits|outc)(\.|$)')
_PARTS_OF_LAYERS = ('weight', 'bias', 'running_mean', 'running_var')  # other buffers may be bookkeeping
_MAX_DEPTH = 3  # components of a name that are tried as a prefix


def unwrap_model(module: nn.Module) -> nn.Module:
    """Take off the wrappers of distributed training and of test-time augmentation."""
    from mmengine.model import BaseTTAModel
    while is_model_wrapper(module) or isinstance(module, BaseTTAModel):
        module = module.module
    return module


def own_tensors(module: nn.Module | Tensors) -> Tensors:
    """Return the tensors of ``module.state_dict()``, wrappers taken off; or those of a state dict."""
    state = module if isinstance(module, Mapping) else unwrap_model(module).state_dict()
    return {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}


def is_classifier(name: str) -> bool:
    """Tell whether a parameter's name is one of the layer that gives the classes, in whatever library."""
    return _CLASSIFIER.match(name) is not None


def _is_weights(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(v, torch.Tensor) for v in dict.values(value))


def find_state_dict(checkpoint: Mapping, depth: int = 4) -> tuple[Tensors, str]:
    """Find the weights inside a checkpoint, as they are named there.

    Returns:
        The tensors by name, and the key that they were found under (``'model.state_dict'`` if nested, ``''`` for the
        checkpoint itself).

    Raises:
        CheckpointError: If there are none, or several under keys that say nothing.
    """
    items = dict(dict.items(checkpoint))
    for key in _CONTAINERS:
        inner = items.get(key)
        if depth and isinstance(inner, Mapping) and inner:
            with suppress(CheckpointError):
                found, path = find_state_dict(inner, depth - 1)
                return found, f'{key}.{path}'.rstrip('.')
    tensors = {k: v.detach() for k, v in items.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    if tensors:
        return tensors, ''
    if len(others := [k for k, v in items.items() if _is_weights(v)]) == 1:
        return find_state_dict(items[others[0]])[0], str(others[0])
    found = enumerate_names(others) or 'none'
    raise CheckpointError(f'the checkpoint has no weights under {enumerate_names(_CONTAINERS, 6)} (its keys: '
                          f'{enumerate_names(items, 12)}; dicts of tensors in it: {found}); save one under state_dict')


def _strip_wrappers(names: Iterable[str]) -> str:
    """Return the beginning that all names share and that only wrappers put there."""
    names, stripped = list(names), ''
    while names and (more := [w for w in _WRAPPERS if all(name.startswith(stripped + w) for name in names)]):
        stripped += more[0]
    return stripped


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Yield a name's beginnings, of none to three components, each with the rest."""
    parts = name.split('.')
    for i in range(min(len(parts), _MAX_DEPTH + 1)):
        yield ''.join(p + '.' for p in parts[:i]), '.'.join(parts[i:])


def _best_prefixes(theirs: Tensors, ours: Tensors) -> tuple[str, str]:
    """Return what to take off their names and what to put in its place so that most fit by name and shape.

    Where less than half of ours would fit, it is another architecture: then by name alone, for a report that helps. Of
    the beginnings that fit as many, those that change the least are taken.
    """
    by_ending: dict[str, list[tuple[str, torch.Size]]] = {}
    for name, tensor in ours.items():
        for start, ending in _splits(name):
            by_ending.setdefault(ending, []).append((start, tensor.shape))
    fits, same_names = Counter(), Counter()
    for name, tensor in theirs.items():
        for start, ending in _splits(name):
            for add, shape in by_ending.get(ending, ()):
                same_names[start, add] += 1
                fits[start, add] += shape == tensor.shape
    if not fits:
        return '', ''
    votes = fits if 2 * max(fits.values()) >= len(ours) else same_names
    return min(votes, key=lambda pair: (-votes[pair], -fits[pair], len(pair[0]) + len(pair[1]), pair))


def _under_prefix(state_dict: Tensors, prefix: str, module: nn.Module) -> tuple[Tensors, str]:
    """Return the tensors under ``prefix``, with it taken off, and all that was taken off."""
    wrapped = _strip_wrappers(state_dict)
    for start in (prefix, wrapped + prefix):
        if inside := {k[len(start):]: v for k, v in state_dict.items() if k.startswith(start)}:
            return inside, start
    names, shown = [k[len(wrapped):] for k in state_dict], prefix.rstrip('.')
    top = dict.fromkeys(name.split('.')[0] for name in names)
    text = f'no weight in the file begins with the prefix {shown!r}; they begin with {enumerate_names(top, 12)}'
    starts = [start.rstrip('.') for name in names for start, _ in _splits(name)]
    text += did_you_mean(shown, starts, lists=False)
    _, best = match_state_dict(state_dict, module)
    if best.loaded:
        inner = best.strip.removeprefix(wrapped).rstrip('.') or None
        text += f'; prefix={inner!r} would load {len(best.loaded)} of {best.num_tensors} tensors'
    raise CheckpointError(text)


def _adapt_input(weight: torch.Tensor, channels: int, how: str) -> torch.Tensor:
    """Return the first layer's weight (N, C, h, w) for ``channels`` instead of C, see :func:`match_state_dict`."""
    own, mean = weight.shape[1], weight.mean(1, keepdim=True)
    if how == 'repeat':
        return weight[:, [i % own for i in range(channels)]] * (own / channels)
    if how == 'sum':
        return (mean * (own / channels)).repeat(1, channels, 1, 1)
    kept = weight[:, :own * (channels > own)]
    return torch.cat([kept, mean.repeat(1, channels - kept.shape[1], 1, 1)], dim=1)


class _Matcher:
    """Pairs the file's names, which began with ``taken``, with the module's, and keeps account."""

    def __init__(self, theirs: Tensors, ours: Tensors, taken: str, adapt_input: str | None) -> None:
        strip, add = _best_prefixes(theirs, ours)
        strip = taken + strip
        self.theirs, self.ours, self.adapt_input = {taken + k: v for k, v in theirs.items()}, ours, adapt_input
        self.input_layer = next((name for name, tensor in ours.items() if tensor.ndim == 4), '')
        self.report = LoadReport(strip=strip, add=add)
        self.wrapped = _strip_wrappers(self.theirs)
        under = {add + name[len(strip):]: name for name in self.theirs if name.startswith(strip)}
        self.pairs = {own: name for own, name in under.items() if own in ours}  # the module's name -> the file's
        self.ours_classifier = list(filter(is_classifier, ours))
        if len(self.ours_classifier) == len(ours):  # the module is a head: then it is what was asked for
            self.ours_classifier = []

    def _theirs_classifier(self) -> list[str]:
        used, starts = set(self.pairs.values()), (self.wrapped, self.report.strip)
        free = [name for name in self.theirs if name not in used]
        return [n for n in free if any(n.startswith(start) and is_classifier(n[len(start):]) for start in starts)]

    def _pair_classifiers(self) -> None:
        """Pair the layers that give the classes with the module's own, the last with the last, under whatever names."""
        theirs = self._theirs_classifier()
        for leaf in ('weight', 'bias'):
            free = [n for n in self.ours_classifier if n not in self.pairs and n.endswith('.' + leaf)]
            last = [n for n in theirs if n.endswith('.' + leaf)]
            self.pairs.update(zip(reversed(free), reversed(last)))

    def match(self) -> tuple[Tensors, LoadReport]:
        """Return the tensors that fit, under the module's names, and the report."""
        self._pair_classifiers()
        report, matched = self.report, {}
        casts: Counter = Counter()
        for name, tensor in self.ours.items():
            if name not in self.pairs:
                self._note_missing(name)
                continue
            value = self._for_input(name, self.theirs[self.pairs[name]], tensor.shape)
            if value.shape != tensor.shape:
                self._note_mismatch(name, tuple(value.shape), tuple(tensor.shape))
                continue
            matched[name] = value
            if value.dtype != tensor.dtype and value.is_floating_point():
                casts[f'{str(value.dtype)[6:]} -> {str(tensor.dtype)[6:]}'] += 1
        heads = self._theirs_classifier()
        used = {*self.pairs.values(), *heads}
        report.expected |= dict.fromkeys(heads, 'left in the file: the classifier that the weights were trained with')
        report.unexpected = [name for name in self.theirs if name not in used]
        self._find_left_over(matched)
        self._count(matched, casts)
        return matched, report

    def _for_input(self, name: str, value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Return a weight, the first layer's for the model's number of channels if that is asked."""
        if name != self.input_layer or value.shape == shape or value[:, :1].shape != (shape[0], 1, *shape[2:]):
            return value
        self.report.input_channels = (value.shape[1], shape[1])
        self.report.adapt_input = self.adapt_input or ''
        return _adapt_input(value, shape[1], self.adapt_input) if self.adapt_input else value

    def _find_left_over(self, matched: Tensors) -> None:
        """Find what the file has among loaded tensors, and has no place in the model.

        A whole child of a part, as ``layer4`` for a backbone of three stages, may be left out on purpose, and so may
        the end of the trunk, the container that most of the part lies in.
        """
        report, apart = self.report, set(self.ours_classifier)
        place = {name: i for i, name in enumerate(self.theirs)}
        numbers = [n for n in matched if n not in apart and self.theirs[self.pairs[n]].is_floating_point()]
        loaded = grouped((PARTS.match(name)[0], name) for name in numbers)  # part -> the model's names
        ends = {part: max(place[self.pairs[n]] for n in names) for part, names in loaded.items()}
        layers = {name.rpartition('.')[0] for name in matched}
        modules = {'.'.join(n.split('.')[:i]) for n in self.ours for i in range(1, n.count('.') + 1)}
        for name in report.unexpected:
            own = report.add + name[len(report.strip):]
            part = PARTS.match(own)[0]
            if not name.startswith(report.strip) or part not in loaded or not self.theirs[name].is_floating_point():
                continue
            parent, _, kind = own.rpartition('.')
            is_half = parent in layers and kind in _PARTS_OF_LAYERS
            while parent and parent not in modules:
                parent = parent.rpartition('.')[0]
            parent = f'{parent}.'.lstrip('.')
            inside = sum(n.startswith(parent) for n in loaded[part])
            is_end = place[name] > ends[part] and 2 * inside > len(loaded[part])
            if is_half or (inside and len(parent) > len(part) and not is_end):
                report.left_over.append(name)
                if is_half:
                    report.half_loaded.append(name)
        other_shapes = sum(n not in apart for n in report.mismatched)
        report.part_size = sum(map(len, loaded.values())) + other_shapes + len(report.left_over)

    def _note_missing(self, name: str) -> None:
        if name in self.ours_classifier or is_adapter(name):
            kind = 'adapter' if is_adapter(name) else 'classifier'
            self.report.expected[name] = f'not loaded (a new {kind}): the file has none; it starts afresh'
        elif not name.endswith('num_batches_tracked'):
            self.report.missing.append(name)

    def _note_mismatch(self, name: str, theirs: tuple, ours: tuple) -> None:
        if name in self.ours_classifier:
            sizes = f'{theirs} in the file, {ours} in the model'
            self.report.expected[name] = f'not loaded (a classifier of another size): {sizes}; it starts afresh'
        else:
            self.report.mismatched[name] = (theirs, ours)

    def _count(self, matched: Tensors, casts: Counter) -> None:
        report, apart = self.report, {*self.ours_classifier, *filter(is_adapter, self.ours)}
        needed = [n for n in self.ours if n not in apart and not n.endswith('num_batches_tracked')]
        report.loaded = list(matched)
        report.casts = dict(casts)
        report.required = len(needed)
        report.required_loaded = sum(n in matched for n in needed)
        counted = {*matched, *needed, *apart}
        report.num_tensors = len(counted)
        report.num_params = sum(self.ours[n].numel() for n in counted)
        report.num_loaded_params = sum(t.numel() for t in matched.values())


def match_state_dict(state_dict: Tensors,
                     module: nn.Module | Tensors,
                     prefix: str | None = None,
                     adapt_input: str | None = None) -> tuple[Tensors, LoadReport]:
    """Fit the names of weights to those of a module.

    Without a ``prefix`` the beginnings of the names are exchanged so that most tensors fit by name and shape
    (``module.conv1.weight`` to ``backbone.conv1.weight``). With one, only the names that have it count. The classifier
    is paired with the module's own where the sizes agree, whatever its name (``fc``, ``linear``, ``classifier``,
    ``head.fc``, ``heads.head``); where it differs or one side has none, the report says so under ``expected``. Names
    of the same network in another library are found by :func:`rename_by_order`.

    Args:
        state_dict: Tensors by name; not changed.
        module: The module, or a state dict with its names; not changed. Wrappers are looked through.
        prefix: Beginning of the wanted names in the file, ``'backbone'`` or ``'backbone.'``.
        adapt_input: How the first convolution is fitted to images of n channels instead of the file's k: 'sum': each
            channel gets the sum of the k weights / n (for grey, as timm does); 'repeat': the weights in turn, times
            k / n; 'mean': the k weights, and for further channels their mean (RGB is seen as before). None does not.

    Returns:
        The tensors that fit by name and shape, under the module's names, and what became of all of them.

    Raises:
        CheckpointError: If no name begins with ``prefix``.
    """
    ours, taken = own_tensors(module), ''
    if prefix:
        state_dict, taken = _under_prefix(state_dict, prefix.rstrip('.') + '.', module)
    matched, report = _Matcher(state_dict, ours, taken, adapt_input).match()
    if report.required_loaded < report.required and not isinstance(module, Mapping):
        renamed, names = rename_by_order(state_dict, unwrap_model(module))
        found, by_order = _Matcher(renamed, ours, taken, adapt_input).match()
        if by_order.required_loaded > report.required_loaded:
            if any(old != new for old, new in names.items()):
                by_order.renamed = {taken + old: taken + new for old, new in names.items()}
            shapes = {new: (tuple(state_dict[old].shape), tuple(renamed[new].shape)) for old, new in names.items()}
            by_order.resized = {name: pair for name, pair in shapes.items() if prod(pair[0]) != prod(pair[1])}
            return found, by_order
    return matched, report
