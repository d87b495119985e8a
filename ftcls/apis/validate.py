"""Checking a whole config before anything is built: types, arguments, kinds of values, all faults in one message."""
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typeguard
from mmengine.config import Config
from mmengine.registry import Registry

from ftcls.registry import EVALUATOR, LOOPS, METRICS
from ftcls.utils import ConfigError, did_you_mean, nearest

from .config import places_of
from .config_schema import (DEFAULT_TYPES, GIVEN_BY_BUILDER, OPAQUE_KEYS, PLAIN_KEYS, REGISTRY_OF_KEY, TOP_LEVEL_KEYS,
                            loader_keys)

__all__ = ['validate_config', 'accepted_arguments']

# Keys that MMEngine's builder itself takes out of a dict.
_BUILDER_KEYS = frozenset({'type', '_scope_', '_delete_'})
# Classes whose annotations are trusted enough to check values against.
_TYPED_MODULES = ('ftcls.', 'torch.optim', 'mmengine.optim.scheduler', 'mmengine.runner.loops')


def validate_config(cfg: Config) -> None:
    """Check every ``type``, argument and value of a config.

    Raises:
        ConfigError: With one line a fault, each naming its path in the config, the value, and the nearest valid name.
    """
    faults = list(_faults(cfg))
    if faults:
        head = f'{cfg.filename or "the config"}: {len(faults)} fault{"s" if len(faults) > 1 else ""}:'
        raise ConfigError('\n'.join([head] + [f'  {fault}' for fault in faults]))


def _faults(cfg: Config) -> Iterator[str]:
    root = cfg._cfg_dict
    for key, value in root.items():
        if key not in TOP_LEVEL_KEYS:
            yield from _misspelt_top_level(root, key, value)
        elif key.endswith('_dataloader'):
            yield from _loader_faults(value, key)
        elif key == 'train_cfg' and isinstance(value, Mapping) and 'type' not in value:
            name = 'EpochBasedTrainLoop' if value.get('by_epoch', True) else 'IterBasedTrainLoop'
            yield from _component_faults(value, key, LOOPS, name, extra=('by_epoch', ))
        elif key in REGISTRY_OF_KEY:
            yield from _visit(value, key, REGISTRY_OF_KEY[key])
        elif key in PLAIN_KEYS:
            yield from _plain_faults(value, key)
    yield from _groups_faults(root)


def _misspelt_top_level(root: Mapping, key: str, value: Any) -> Iterator[str]:
    """A name nearly like one that is read, whose value is used nowhere else, is a misspelling and not a variable."""
    near = nearest(key, TOP_LEVEL_KEYS, most=1)
    if near and isinstance(value, Mapping | list | tuple) and _similar(key, near[0]) and len(places_of(root, value)) < 2:
        yield f'{key}: nothing reads this name; did you mean {near[0]!r}?'


def _similar(a: str, b: str) -> bool:
    return nearest(a, [b], most=1) == [b] and abs(len(a) - len(b)) <= 2


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


def _plain_faults(value: Any, path: str) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield f'{path}: must be a dict, got {value!r}'
        return
    for key, child in value.items():
        if key not in PLAIN_KEYS[path] and key not in _BUILDER_KEYS:
            yield f'{path}.{key}: unknown key{did_you_mean(key, PLAIN_KEYS[path])}'
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
        elif key in ('batch_size', 'num_workers') and (isinstance(child, bool) or not isinstance(child, int) or child < 0
                                                       or (key == 'batch_size' and child == 0)):
            yield f'{path}.{key}: must be a whole number{" above 0" if key == "batch_size" else ""}, got {child!r}'
        elif key in REGISTRY_OF_KEY:
            yield from _visit(child, f'{path}.{key}', REGISTRY_OF_KEY[key])
    if 'dataset' not in value:
        yield f'{path}.dataset: missing; which pictures shall be loaded?'
    if 'batch_size' not in value and 'batch_sampler' not in value:
        yield f'{path}.batch_size: missing'


def _visit(value: Any, path: str, registry: Registry) -> Iterator[str]:
    """Walk lists and dicts of components below ``path``."""
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            if isinstance(item, Mapping | list | tuple):
                yield from _visit(item, f'{path}.{i}', registry)
    elif isinstance(value, Mapping):
        if path == 'default_hooks':
            for name, hook in value.items():
                yield from _visit(hook, f'{path}.{name}', registry)
        elif 'type' in value or path in DEFAULT_TYPES:
            yield from _component_faults(value, path, registry, value.get('type', DEFAULT_TYPES.get(path)))
        elif path.rpartition('.')[2] in ('train_cfg', 'test_cfg'):  # a model's own, without a type
            yield from _children_faults(value, path, registry)
        elif path.rpartition('.')[2] in REGISTRY_OF_KEY or registry.name in ('transform', 'hook'):
            yield f'{path}: has no `type`; names such as {", ".join(sorted(_names(registry))[:4])} are possible'
        else:
            yield from _children_faults(value, path, registry)


def _children_faults(value: Mapping, path: str, registry: Registry) -> Iterator[str]:
    for key, child in value.items():
        if key not in OPAQUE_KEYS and isinstance(child, Mapping | list | tuple):
            yield from _visit(child, f'{path}.{key}', _child_registry(key, registry))


def _child_registry(key: str, registry: Registry) -> Registry:
    """A model's own `train_cfg`/`test_cfg` hold no loops."""
    if key in ('train_cfg', 'test_cfg'):
        return registry
    return REGISTRY_OF_KEY.get(key, registry)


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
    return registry.get(name)


def _component_faults(value: Mapping, path: str, registry: Registry, name: Any, extra: tuple = ()) -> Iterator[str]:
    """Check one dict against the class that its ``type`` names, then what is nested in it."""
    component = _find(registry, name)
    if component is None and registry is METRICS:
        component = _find(EVALUATOR, name)
    if component is None:
        yield f'{path}.type: {name!r} is not a registered {registry.name}{did_you_mean(str(name), _names(registry))}'
        return
    label = getattr(component, '__name__', str(name))
    allowed = accepted_arguments(component)
    if path == 'optim_wrapper':
        extra = ('paramwise_cfg', 'constructor')
        if 'clip_grad' in value:
            yield from _plain_faults(value['clip_grad'], 'optim_wrapper.clip_grad')
    elif registry.name == 'parameter scheduler':
        extra = ('convert_to_iter_based', )
    for key, child in value.items():
        if key in _BUILDER_KEYS or key in extra:
            continue
        if allowed is not None and key not in allowed:
            yield f'{path}.{key}: {label} takes no argument {key!r}{did_you_mean(key, list(allowed) + list(extra))}'
            continue
        if allowed is not None:
            yield from _kind_faults(component, allowed[key], child, f'{path}.{key}')
    for key in _missing(component, registry, value):
        yield f'{path}.{key}: {label} needs this argument'
    yield from _children_faults({k: v for k, v in value.items() if k != 'clip_grad'}, path, registry)


def _missing(component: Any, registry: Registry, value: Mapping) -> list[str]:
    """Required arguments that are neither given nor added by a builder; a base class's are its subclass's business."""
    if registry.name == 'function':  # called later, not now
        return []
    return [
        key for key, param in inspect.signature(component).parameters.items()
        if param.default is inspect.Parameter.empty and key not in value and key not in GIVEN_BY_BUILDER
        and param.kind in (param.POSITIONAL_OR_KEYWORD, param.KEYWORD_ONLY)
    ]


def accepted_arguments(component: Callable) -> dict[str, inspect.Parameter] | None:
    """Return the arguments that a class or function takes, those of its base classes included where it passes ``**kwargs`` on.

    Returns:
        Name to parameter, or None where anything goes: a class says so with ``accepts_extra_arguments = True``.
    """
    if getattr(component, 'accepts_extra_arguments', False):
        return None
    own = dict(inspect.signature(component).parameters)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in own.values())
    arguments = {k: p for k, p in own.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    if not open_ended:
        return arguments
    if not inspect.isclass(component):
        return None
    for base in component.__mro__[1:]:
        if '__init__' not in vars(base) or base is object:
            continue
        params = {k: p for k, p in inspect.signature(base.__init__).parameters.items() if k != 'self'}
        arguments = {**{k: p for k, p in params.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}, **arguments}
        if not any(p.kind is p.VAR_KEYWORD for p in params.values()):
            break
    return arguments


def _kind_faults(component: Any, param: inspect.Parameter, value: Any, path: str) -> Iterator[str]:
    """Check a plain value against the parameter's annotation; nested components are checked on their own."""
    module = getattr(component, '__module__', '')
    if isinstance(value, Mapping) or not module.startswith(_TYPED_MODULES) or param.annotation is inspect.Parameter.empty:
        return
    try:
        annotation = typing.get_type_hints(component.__init__ if inspect.isclass(component) else component)[param.name]
    except Exception:  # an annotation that cannot be resolved says nothing about the value
        return
    if not _fits(value, annotation):
        shown = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace('typing.', '')
        yield f'{path}: must be of type {shown}, got {value!r} ({type(value).__name__})'


def _fits(value: Any, annotation: Any) -> bool:
    """Tell whether a value has the annotated type; lists stand for tuples, since overrides and JSON know no tuples."""
    candidates = [value]
    if isinstance(value, list):
        candidates.append(tuple(value))
    elif isinstance(value, tuple):
        candidates.append(list(value))
    for candidate in candidates:
        try:
            typeguard.check_type(candidate, annotation, collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS,
                                 forward_ref_policy=typeguard.ForwardRefPolicy.IGNORE)
            return True
        except typeguard.TypeCheckError:
            continue
    # True is an int for Python, hardly ever for a config
    return False
