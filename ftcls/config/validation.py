"""Checking a whole config before anything is built: types, arguments, kinds of values, all faults in one message."""
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseAveragedModel

from ftcls.registry import (BATCH_AUGMENTS, EVALUATOR, FUNCTIONS, LOOPS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS,
                            PARAM_SCHEDULERS, TRANSFORMS, Registry)
from ftcls.utils import ConfigError, did_you_mean, nearest
from ftcls.utils.arguments import (accepted_arguments, argument_faults, describe_type_error, matches_type,
                                   own_arguments, required_arguments)
from ftcls.utils.names import edits
from ftcls.utils.tree import find_paths
from .schema import (COMPONENT_KEYS, DEFAULT_TYPES, HANDED_ON, LEAST, NESTING_REGISTRIES, OPAQUE_KEYS, PLAIN_KEYS,
                     RANGES_OF_HANDED_ON, REGISTRY_OF_KEY, TOP_LEVEL_KEYS, TOP_LEVEL_KINDS, loader_keys)

__all__ = ['validate_config']

# Keys that MMEngine's builder itself takes out of a dict.
_BUILDER_KEYS = frozenset({'type', '_scope_', '_delete_'})
_AUGMENT_KEYS = ('augments', 'probs')
_TORCHVISION = 'torchvision/'


def validate_config(cfg: Config) -> None:
    """Check every ``type``, argument and value of a config.

    Raises:
        ConfigError: With one line a fault, each naming its path in the config, the value, and the nearest valid name.
    """
    faults = list(dict.fromkeys(_faults(cfg._cfg_dict)))
    if faults:
        head = f'{cfg.filename or "the config"}: {len(faults)} fault{"s" if len(faults) > 1 else ""}:'
        raise ConfigError('\n'.join([head] + [f'  {fault}' for fault in faults]))


def _faults(root: Mapping) -> Iterator[str]:
    for key, value in root.items():
        if key not in TOP_LEVEL_KEYS:
            yield from _misspelt_top_level(root, key, value)
        elif key.endswith('_dataloader'):
            yield from _loader_faults(value, key)
        elif key == 'train_cfg' and isinstance(value, Mapping) and 'type' not in value:
            name = 'EpochBasedTrainLoop' if value.get('by_epoch', True) else 'IterBasedTrainLoop'
            yield from _component_faults(value, key, LOOPS, name, extra=('by_epoch', ))
        elif key in REGISTRY_OF_KEY:
            yield from _visit(value, key, REGISTRY_OF_KEY[key], slot=True)
        elif key in PLAIN_KEYS:
            yield from _plain_faults(value, key)
        elif key in TOP_LEVEL_KINDS and not matches_type(value, TOP_LEVEL_KINDS[key]):
            yield describe_type_error(key, value, TOP_LEVEL_KINDS[key])
    yield from _groups_faults(root)
    yield from _least_faults(root)


def _misspelt_top_level(root: Mapping, key: str, value: Any) -> Iterator[str]:
    """A name nearly like one that is read, whose value is used nowhere else, is a misspelling and not a variable."""
    near = [known for known in nearest(key, TOP_LEVEL_KEYS) if known not in root or root[known] is None]
    is_part = isinstance(value, Mapping | list | tuple)
    # a number or a word may well be used by an expression, which leaves no trace in the config
    if near and edits(key, near[0]) <= (2 if is_part else 1) and not (is_part and len(find_paths(root, value)) > 1):
        yield f'{key}: nothing reads this name; did you mean {near[0]!r}?'


def _groups_faults(root: Mapping) -> Iterator[str]:
    """The Runner wants these keys all together or not at all."""
    for group in (('train_dataloader', 'train_cfg', 'optim_wrapper'), ('val_dataloader', 'val_cfg', 'val_evaluator'),
                  ('test_dataloader', 'test_cfg', 'test_evaluator')):
        missing = [k for k in group if root.get(k) is None]
        if missing and len(missing) < len(group):
            given = [k for k in group if k not in missing]
            yield f'{", ".join(missing)}: missing, while {", ".join(given)} is given; the three go together'
    if root.get('model') is None:
        yield 'model: missing; a config needs a model'


def _least_faults(root: Mapping) -> Iterator[str]:
    for path, least in LEAST.items():
        top, key = path.split('.')
        value = root[top].get(key) if isinstance(root.get(top), Mapping) else None
        if matches_type(value, int) and value < least:
            yield f'{path}: must be at least {least}, got {value}'


def _plain_faults(value: Any, path: str) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield f'{path}: must be a dict, got {value!r}'
        return
    kinds = PLAIN_KEYS[path]
    for key, child in value.items():
        if key in _BUILDER_KEYS and key not in kinds:
            continue
        if key not in kinds:
            yield f'{path}.{key}: unknown key{did_you_mean(key, kinds)}'
        elif not matches_type(child, kinds[key]):
            yield describe_type_error(f'{path}.{key}', child, kinds[key])
        elif f'{path}.{key}' in PLAIN_KEYS:
            yield from _plain_faults(child, f'{path}.{key}')


def _loader_faults(value: Any, path: str) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield f'{path}: must be a dict, got {type(value).__name__}'
        return
    allowed = loader_keys()
    for key, child in value.items():
        if key not in allowed and key not in _BUILDER_KEYS:
            yield f'{path}.{key}: not an argument of a dataloader{did_you_mean(key, allowed)}'
        elif key in ('batch_size', 'num_workers') and not matches_type(child, int):
            yield describe_type_error(f'{path}.{key}', child, int)
        elif key in REGISTRY_OF_KEY:
            yield from _visit(child, f'{path}.{key}', REGISTRY_OF_KEY[key], slot=True)
    if value.get('dataset') is None:
        yield f'{path}.dataset: missing; which pictures shall be loaded?'
    if 'batch_size' not in value and 'batch_sampler' not in value:
        yield f'{path}.batch_size: missing'


def _visit(value: Any, path: str, registry: Registry, slot: bool) -> Iterator[str]:
    """Walk lists and dicts of components below ``path``.

    Args:
        value: What stands there.
        path: Where it stands.
        registry: Where its ``type`` is looked up.
        slot: Whether a dict here must be a component, so that one without a ``type`` is a fault.
    """
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _visit(item, f'{path}.{i}', registry, slot)
    elif isinstance(value, Mapping):
        yield from _visit_dict(value, path, registry, slot)
    elif slot and isinstance(value, str | int | float):
        yield f'{path}: must be a dict with a `type`, or a list of such, got {value!r}'


def _visit_dict(value: Mapping, path: str, registry: Registry, slot: bool) -> Iterator[str]:
    default = DEFAULT_TYPES.get(path)
    if path in ('val_evaluator', 'test_evaluator') and 'metrics' in value:
        default = 'Evaluator'
    if 'type' in value or default is not None:
        yield from _component_faults(value, path, registry, value.get('type', default))
    elif path == 'default_hooks' or path == 'param_scheduler' and _holds_components(value):
        for name, child in value.items():
            yield from _visit(child, f'{path}.{name}', registry, slot)
    elif slot:
        yield f'{path}.type: missing{_examples(registry)}'
    else:
        yield from _children_faults(value, path, registry)


def _holds_components(value: Mapping) -> bool:
    """Tell whether a ``param_scheduler`` is a dict from an optimizer's name to its schedulers."""
    return bool(value) and all(isinstance(child, Mapping | list | tuple) for child in value.values())


def _examples(registry: Registry) -> str:
    registry.import_from_location()
    names = [name for name in sorted(registry.module_dict) if not name.startswith('Base')] or sorted(_names(registry))
    return f'; {", ".join(names[:4])} … are possible'


def _children_faults(value: Mapping, path: str, registry: Registry) -> Iterator[str]:
    """Check what is nested in a component, or in a dict of a model."""
    nests = registry.name in NESTING_REGISTRIES
    for key, child in value.items():
        here = f'{path}.{key}'
        if key in OPAQUE_KEYS or key in _BUILDER_KEYS:
            continue
        if registry is MODELS and key in ('train_cfg', 'batch_augments'):  # a model's own `train_cfg` is no loop
            yield from _augments_faults(child, here)
        elif registry is MODELS and key == 'test_cfg':
            continue
        elif key in REGISTRY_OF_KEY:
            yield from _visit(child, here, REGISTRY_OF_KEY[key], slot=not isinstance(child, str | int | float))
        elif nests and isinstance(child, Mapping | list | tuple):
            yield from _visit(child, here, registry, slot=key in COMPONENT_KEYS)


def _augments_faults(value: Any, path: str) -> Iterator[str]:
    """Check a dict of batch augmentations."""
    if not isinstance(value, Mapping):
        return
    for key, child in value.items():
        if key not in _AUGMENT_KEYS and key not in _BUILDER_KEYS:
            yield f'{path}.{key}: unknown key{did_you_mean(key, _AUGMENT_KEYS)}'
    yield from _visit(value.get('augments'), f'{path}.augments', BATCH_AUGMENTS, slot=True)


def _names(registry: Registry) -> set[str]:
    """All names that a ``type`` may have: the registry's own and its ancestors'."""
    registry.import_from_location()
    names: set[str] = set(registry.module_dict)
    while registry.parent is not None:
        registry = registry.parent
        registry.import_from_location()
        names |= set(registry.module_dict)
    return names


def _find(registry: Registry, name: Any) -> Any:
    if not isinstance(name, str):
        return name if callable(name) else None
    registry.import_from_location()
    found = registry.get(name)
    return found if callable(found) else None


def _component_faults(value: Mapping, path: str, registry: Registry, name: Any, extra: tuple = ()) -> Iterator[str]:
    """Check one dict against the class that its ``type`` names, then what is nested in it."""
    component = _find(registry, name)
    if component is None and registry is METRICS:
        component = _find(EVALUATOR, name)
    if component is None:
        yield f'{path}.type: {name!r} is not a registered {registry.name}{did_you_mean(str(name), _names(registry))}'
        return
    given = {key: child for key, child in value.items() if key not in _BUILDER_KEYS}
    yield from _given_faults(given, path, component, (*extra, *registry.taken))
    for key in _missing_arguments(component, registry, given):
        yield f'{path}.{key}: {getattr(component, "__name__", name)} needs this argument'
    if path == 'optim_wrapper':
        yield from _plain_faults(value.get('clip_grad'), 'optim_wrapper.clip_grad')
        maker = value.get('constructor')
        if maker is not None and _find(OPTIM_WRAPPER_CONSTRUCTORS, maker) is None:
            near = did_you_mean(str(maker), _names(OPTIM_WRAPPER_CONSTRUCTORS))
            yield f'optim_wrapper.constructor: {maker!r} is not a registered optim wrapper constructor{near}'
    nested = _with_prefix(value) if isinstance(name, str) and name.startswith(_TORCHVISION) else value
    if not getattr(component, 'builds_own_parts', False):
        yield from _children_faults(nested, path, registry)


def _given_faults(given: Mapping, path: str, component: Callable, taken: tuple) -> Iterator[str]:
    # components are checked by their own signatures, see `_children_faults`
    values = {
        key: child
        for key, child in given.items()
        if not (isinstance(child, Mapping | list | tuple) and (key in REGISTRY_OF_KEY or key in COMPONENT_KEYS))
        or key not in own_arguments(component)
    }
    values = {key: child for key, child in values.items() if key != 'clip_grad'}
    if getattr(component, '__name__', '') in HANDED_ON:
        yield from _handed_on_faults(given, path, component, component.__name__, taken)
        values = {key: child for key, child in values.items() if key in own_arguments(component)}
    yield from argument_faults(component, values, path, taken)


def _missing_arguments(component: Callable, registry: Registry, given: Mapping) -> list[str]:
    """Return the required arguments that are neither given nor added by the builder.

    A base class's required arguments are its subclass's business, except of schedulers, whose mixin names none.
    """
    if registry is FUNCTIONS:  # called later, not now
        return []
    required = required_arguments(component, with_bases=registry is PARAM_SCHEDULERS)
    return [key for key in required if key not in given and key not in registry.given]


def _averages(model: Any) -> bool:
    return inspect.isclass(model) and issubclass(model, BaseAveragedModel)


def _handed_on_faults(given: Mapping, path: str, component: Callable, label: str, extra: tuple) -> Iterator[str]:
    """Check the arguments that a class hands on against the model that it hands them to."""
    named, made_of = HANDED_ON[component.__name__]
    known = own_arguments(component)
    name = given.get(named, known[named].default)
    averaging = {one for one in _names(MODELS) if _averages(_find(MODELS, one))}
    model = _find(MODELS, name)
    if not _averages(model):
        yield f'{path}.{named}: {name!r} is no model of averaged weights{did_you_mean(str(name), averaging)}'
        return
    takes = {key: param for key, param in own_arguments(model).items() if key != made_of}
    for key, child in given.items():
        if key in known or key in extra:
            continue
        if key not in takes and accepted_arguments(model) is not None:
            hint = '; did you mean \'momentum\', which is 1 - decay?' if key == 'decay' else did_you_mean(
                key, [*known, *takes, *extra])
            yield f'{path}.{key}: {label} with {named}={name!r} takes no argument {key!r}{hint}'
        elif key in RANGES_OF_HANDED_ON:
            low, high = RANGES_OF_HANDED_ON[key]
            if not matches_type(child, float) or not low < child < high:
                yield f'{path}.{key}: must be a number above {low}' + (f' and below {high}' if high < float('inf') else
                                                                       '') + f', got {child!r}'


def _with_prefix(value: Any) -> Any:
    """Return a torchvision transform's config with the prefix before all types in it, where it may be left out."""
    if isinstance(value, list | tuple):
        return [_with_prefix(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    copied = {key: _with_prefix(child) for key, child in value.items()}
    name = copied.get('type')
    if isinstance(name, str) and not name.startswith(_TORCHVISION) and _find(TRANSFORMS, _TORCHVISION + name):
        copied['type'] = _TORCHVISION + name
    return copied
