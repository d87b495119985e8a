"""Checking a whole config before anything is built: types, arguments and values, with all faults in one message."""
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from ftcls import registry as R
from ftcls.utils.arguments import (accepted_arguments, argument_faults, describe_type_error, matches_type, name_of,
                                   own_arguments, required_arguments)
from ftcls.utils.errors import ConfigError
from ftcls.utils.names import did_you_mean, edits, plural
from ftcls.utils.plain_files import is_distrusted
from ftcls.utils.tree import find_paths, walk
from .loading import load_config, used_names
from .schema import (COMPONENT_KEYS, KEYS, NESTED_KEYS, NESTING_REGISTRIES, OLD_KEYS, OPAQUE_KEYS, OPEN_KEYS, PASSED_ON,
                     TOP_LEVEL_KEYS, Key, default_type)

__all__ = ['validate_config']

_BUILDER_KEYS = frozenset({'type', '_scope_', '_delete_'})  # keys that MMEngine's builder itself takes out of a dict
_GROUPS = (('train_dataloader', 'train_cfg', 'optim_wrapper'), ('val_dataloader', 'val_cfg', 'val_evaluator'),
           ('test_dataloader', 'test_cfg', 'test_evaluator'))
_TORCHVISION = 'torchvision/'
_SCALAR = str | int | float
_CONTAINER = Mapping | list | tuple


def validate_config(cfg: Config) -> None:
    """Check every ``type``, argument and value of a config.

    Raises:
        ConfigError: With one line per fault, each naming its path in the config, the value, and the nearest valid name.
    """
    cfg = load_config(cfg)
    if faults := list(dict.fromkeys(_config_faults(cfg._cfg_dict, used_names(cfg.filename)))):
        head = f'{cfg.filename or "the config"}: {plural(len(faults), "fault")}:'
        raise ConfigError('\n  '.join([head, *faults]))


def _config_faults(root: Mapping, used: set[str] | None) -> Iterator[str]:
    for name, value in root.items():
        if name in TOP_LEVEL_KEYS:
            yield from _key_faults(value, name, KEYS[name])
        elif _is_variable(root, name, value, used):
            continue
        elif name in OLD_KEYS:
            yield f'{name}: a key of MMClassification 0.x, which nothing reads; write {OLD_KEYS[name]}'
        else:
            yield from _misspelt(name, name, (*TOP_LEVEL_KEYS, '_base_'))
    for path, node in walk(root):
        known = OPEN_KEYS.get(path.rpartition('.')[2], ())
        for name in node if isinstance(node, Mapping) and path else ():
            yield from _misspelt(f'{path}.{name}', str(name), ('_delete_', '_scope_', *known))
    yield from _missing_keys(root)


def _key_faults(value: Any, path: str, key: Key) -> Iterator[str]:
    """Check the value of a key, which holds components, a plain dict or a plain value."""
    if key.registry is not None:
        yield from _component_faults(value, path, _Types(key.registry), required=True)
    elif not matches_type(value, key.type):
        yield describe_type_error(path, value, key.type)
    elif key.items and isinstance(value, Mapping):
        yield from _plain_dict_faults(value, path, key.items)


def _is_variable(root: Mapping, name: str, value: Any, used: set[str] | None) -> bool:
    """Tell whether the config's files use a name; without files, whether its list or dict is in the config again."""
    if used is not None:
        return name in used
    return isinstance(value, _CONTAINER) and len(find_paths(root, value)) > 1


def _misspelt(path: str, name: str, known: Collection[str]) -> Iterator[str]:
    """Find a name that is nearly one of those known."""
    alike = [one for one in known if one.startswith('_') == name.startswith('_')]
    near = min(alike, key=lambda one: edits(name.lower(), one), default=None)
    if near and name not in known and edits(name.lower(), near) <= 2:
        yield f'{path}: nothing reads this name; did you mean {near!r}?'


def _missing_keys(root: Mapping) -> Iterator[str]:
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = root.get(name)
        if isinstance(loader, Mapping) and loader.get('dataset') is None:
            yield f'{name}.dataset: missing; name the dataset to load'
        if isinstance(loader, Mapping) and not {'batch_size', 'batch_sampler'} & loader.keys():
            yield f'{name}.batch_size: missing'
    for group in _GROUPS:
        given = [name for name in group if root.get(name) is not None]
        missing = [name for name in group if name not in given]
        if missing and any(root[name] for name in given):  # a mere `val_cfg=dict()` asks for nothing
            yield f'{", ".join(missing)}: missing, while {", ".join(given)} is given; the three go together'
    if root.get('model') is None:
        yield 'model: missing; a config needs a model'


def _plain_dict_faults(value: Mapping, path: str, items: Mapping[str, Any]) -> Iterator[str]:
    """Check a dict that is not a component: it may have no other items than these."""
    for name, child in value.items():
        here = f'{path}.{name}'
        if name in items:
            if not matches_type(child, items[name]):
                yield describe_type_error(here, child, items[name])
            elif name in KEYS:
                yield from _key_faults(child, here, KEYS[name])
        elif name not in _BUILDER_KEYS:
            yield f'{here}: unknown key{did_you_mean(name, items)}'


@dataclass(frozen=True)
class _Types:
    """Where the ``type`` of a component is looked up: a registry, and a prefix of names that may be left out."""
    registry: R.Registry
    prefix: str = ''

    def find(self, name: Any) -> Callable | None:
        """Return the class or function of this name; of a class the class itself."""
        found = name
        if isinstance(name, str):
            found = self.registry.get(self.prefix + name) or self.registry.get(name)
            if found is None and self.registry is R.METRICS:
                found = R.EVALUATOR.get(name)
        return found if callable(found) else None

    def names(self) -> set[str]:
        """Return all names that a ``type`` may have."""
        names, registry = set(), self.registry
        while registry is not None:
            registry.import_from_location()
            names |= set(registry.module_dict)
            registry = registry.parent
        return names

    def examples(self, path: str) -> list[str]:
        """Return a few names for a component at this path: for a backbone those of backbones, ours first."""
        part = path.rpartition('.')[2]
        known, own = [name for name in self.names() if not name.startswith('Base')], self.registry.module_dict
        return sorted(known, key=lambda name: (part not in self.find(name).__module__, name not in own, name))[:4]

    def unknown(self, name: Any) -> str:
        """Return the sentence on a name that is not registered."""
        text = f'{name!r} is not a registered {self.registry.name}{did_you_mean(str(name), self.names())}'
        if '.' in str(name) and is_distrusted(name):
            text += '; a JSON or YAML config imports nothing, unless --allow-imports is given'
        return text

    def inside(self, name: Any) -> '_Types':
        """Return where the components inside of the one with this name are looked up."""
        if isinstance(name, str) and (self.prefix + name).startswith(_TORCHVISION):
            return _Types(self.registry, _TORCHVISION)
        return _Types(self.registry)


def _component_faults(value: Any, path: str, types: _Types, required: bool) -> Iterator[str]:
    """Check a component, or a list or dict of components.

    Args:
        value: The value at ``path``.
        path: Where it is in the config.
        types: Where its ``type`` is looked up.
        required: Whether a dict here must be a component, so that one without a ``type`` is a fault.
    """
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _component_faults(item, f'{path}.{i}', types, required)
    elif isinstance(value, Mapping):
        if (name := value.get('type', default_type(path.rpartition('.')[2], value))) is not None:
            yield from _one_component_faults(value, name, path, types)
        elif _is_dict_of_components(value, path):
            for key, child in value.items():
                yield from _component_faults(child, f'{path}.{key}', types, required)
        elif required:
            yield f'{path}.type: missing; for example {", ".join(types.examples(path))}'
        else:
            yield from _nested_faults(value, path, types)
    elif required and isinstance(value, _SCALAR):
        yield f'{path}={value!r}: must be a dict with a `type`, or a list of these'


def _is_dict_of_components(value: Mapping, path: str) -> bool:
    """Tell whether a dict maps names to components: of hooks, or of the schedulers of several optimizers."""
    if path == 'default_hooks':
        return True
    return path == 'param_scheduler' and bool(value) and all(isinstance(one, _CONTAINER) for one in value.values())


def _one_component_faults(value: Mapping, name: Any, path: str, types: _Types) -> Iterator[str]:
    """Check one dict against the class that its ``type`` names, then what is nested in it, by its own signature."""
    if (component := types.find(name)) is None:
        hint = '; TIMMBackbone takes any network of timm by its model_name' if path.endswith('backbone') else ''
        yield f'{path}.type: {types.unknown(name)}{hint}'
        return
    given = {key: child for key, child in value.items() if key not in _BUILDER_KEYS}
    taken = types.registry.taken
    if path == 'train_cfg' and 'type' not in value:
        taken += ('by_epoch', )
    if name_of(component) in PASSED_ON:
        yield from _passed_on_faults(given, path, component, taken)
    else:
        holders = [key for key in given if key in COMPONENT_KEYS or KEYS.get(key, Key()).registry is not None]
        nested = [key for key in holders if isinstance(given[key], _CONTAINER)]
        types_by_key = {**KEYS.get(path, Key()).items, **dict.fromkeys(nested, Any)}
        yield from argument_faults(component, given, path, taken, types_by_key)
    for key in _missing_arguments(component, types.registry, given):
        yield f'{path}.{key}: missing; {name_of(component)} needs this argument'
    if path == 'optim_wrapper' and value.get('constructor') is not None:
        constructors = _Types(R.OPTIM_WRAPPER_CONSTRUCTORS)
        if constructors.find(value['constructor']) is None:
            yield f'{path}.constructor: {constructors.unknown(value["constructor"])}'
    if not getattr(component, 'builds_own_parts', False):
        yield from _nested_faults(value, path, types.inside(name))


def _missing_arguments(component: Callable, registry: R.Registry, given: Mapping) -> list[str]:
    """Return the required arguments that are neither given nor added by the builder.

    The required arguments of a base class are not asked for, except of schedulers, whose mixin names none.
    """
    if registry is R.FUNCTIONS:  # called later, not now
        return []
    required = required_arguments(component, with_bases=registry is R.PARAM_SCHEDULERS)
    return [key for key in required if key not in given and key not in registry.given]


def _nested_faults(value: Mapping, path: str, types: _Types) -> Iterator[str]:
    """Check what is nested in a component, or in a dict of a model."""
    is_model = types.registry is R.MODELS
    for name, child in value.items():
        here = f'{path}.{name}'
        if name in OPAQUE_KEYS or name in _BUILDER_KEYS or (is_model and name == 'test_cfg'):
            continue
        key = KEYS.get(name, Key())
        if is_model and name == 'train_cfg':  # a model's own `train_cfg` is not a loop
            name, key = 'batch_augments', KEYS['batch_augments']
        if key.registry is not None:
            inner = types if key.registry is types.registry else _Types(key.registry)
            yield from _component_faults(child, here, inner, required=not isinstance(child, _SCALAR))
        elif name in NESTED_KEYS and isinstance(child, Mapping):
            yield from _plain_dict_faults(child, here, key.items)
        elif types.registry in NESTING_REGISTRIES and isinstance(child, _CONTAINER):
            yield from _component_faults(child, here, types, required=name in COMPONENT_KEYS)


def _passed_on_faults(given: Mapping, path: str, component: Callable, taken: tuple[str, ...]) -> Iterator[str]:
    """Check the arguments of a class that passes those it does not know on to a model of averaged weights."""
    argument, types_by_key = PASSED_ON[component.__name__]
    known = own_arguments(component)
    yield from argument_faults(component, {key: child for key, child in given.items() if key in known}, path)
    name = given.get(argument, known[argument].default)
    models = _Types(R.MODELS)
    averaging = [one for one in models.names() if _is_averaging(models.find(one))]
    if not _is_averaging(models.find(name)):
        yield f'{path}.{argument}: {name!r} is not a model of averaged weights{did_you_mean(str(name), averaging)}'
        return
    passed = {key: child for key, child in given.items() if key not in known and key not in taken}
    if 'decay' in passed and 'decay' not in (accepted_arguments(models.find(name)) or {}):
        yield f'{path}.decay: {name} takes no argument \'decay\'; did you mean \'momentum\', which is 1 - decay?'
        del passed['decay']
    yield from argument_faults(models.find(name), passed, path, (*known, *taken), types_by_key)


def _is_averaging(model: Any) -> bool:
    from mmengine.model import BaseAveragedModel
    return isinstance(model, type) and issubclass(model, BaseAveragedModel)
