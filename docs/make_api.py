"""Write the pages of the API reference: one for ``ftcls.apis``, one for each package with registered classes."""
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

MORE = ('ftcls.structures', 'ftcls.registry', 'ftcls.utils.errors')


def bounded_types() -> dict[str, str]:
    """Return the names of ``ftcls.utils.types`` and the annotations that they stand for, the longest first."""
    from sphinx.util.typing import stringify_annotation

    from ftcls.utils import types
    texts = {name: stringify_annotation(getattr(types, name), 'smart') for name in types.__all__}
    return dict(sorted(texts.items(), key=lambda item: -len(item[1])))


def named_types(signature: str) -> str:
    """Write the names of types in place of what they stand for, and leave out bounds that are not given."""
    for name, text in bounded_types().items():
        signature = signature.replace(text, name)
    return re.sub(r'\b[gl][te]=None, |, [gl][te]=None\b', '', signature)


def packages() -> list[str]:
    """Return the packages that hold registered classes, the deepest first, so that each class is on one page."""
    from ftcls import registry
    found = set()
    for one in vars(registry).values():
        if isinstance(one, registry.Registry):
            one.import_from_location()
            modules = {cls.__module__ for cls in one.module_dict.values() if inspect.isclass(cls)}
            found |= {_package(module) for module in modules if module.startswith('ftcls.')}
    return sorted(found, key=lambda name: (-name.count('.'), name))


def _package(module: str) -> str:
    """Return the package of a module, or the module if it is one itself."""
    return module if hasattr(import_module(module), '__path__') else module.rpartition('.')[0]


def _entries(module: str, seen: set[int]) -> list[tuple[str, str]]:
    """Return directive and full name of what a module hands on, without what is on another page."""
    entries = []
    for name in sorted(import_module(module).__all__, key=str.lower):
        found: Any = getattr(import_module(module), name)
        if id(found) in seen or not (inspect.isclass(found) or inspect.isfunction(found)):
            continue
        if not found.__module__.startswith('ftcls'):
            continue
        seen.add(id(found))
        kind = 'autofunction' if inspect.isfunction(found) else 'autoclass'
        if inspect.isclass(found) and issubclass(found, BaseException):
            kind = 'autoexception'
        entries.append((kind, f'{module}.{name}'))
    return entries


def _page(module: str, entries: list[tuple[str, str]]) -> str:
    lines = [f'``{module}``', '=' * (len(module) + 4), '', (inspect.getdoc(import_module(module)) or '').strip(), '']
    lines += ['.. currentmodule:: ' + module, '', '.. autosummary::', '']
    lines += [f'   {name.rpartition(".")[2]}' for _, name in entries] + ['']
    for directive, name in entries:
        lines += [f'.. {directive}:: {name}', '']
    return '\n'.join(lines)


def _index(names: list[str]) -> str:
    types = {
        name: re.sub(r'~[a-z_]+\.|\b[gl][te]=None, |, [gl][te]=None\b', '', text)
        for name, text in bounded_types().items()
    }
    return '\n'.join([
        'API reference', '=============', '',
        'What a program calls is in ``ftcls.apis``; what a config names is in the other packages.', '', '.. toctree::',
        '   :maxdepth: 1', '', *(f'   {name}' for name in names), '',
        'Types with bounds, from ``ftcls.utils.types``; the registries refuse other values:', '',
        *(f'- ``{name}``: ``{text}``' for name, text in sorted(types.items())), ''
    ])


def write_api(folder: Path) -> None:
    """Write the pages as .rst files; a file that would not change is left alone, so that a second build is quick."""
    seen: set[int] = set()
    pages = {module: _entries(module, seen) for module in ['ftcls.apis', *packages(), *MORE]}
    texts = {module: _page(module, entries) for module, entries in pages.items() if entries}
    names = ['ftcls.apis', *sorted(name for name in texts if name != 'ftcls.apis')]
    texts['index'] = _index(names)
    folder.mkdir(exist_ok=True)
    for path in folder.glob('*.rst'):
        if path.stem not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / f'{name}.rst'
        if not path.is_file() or path.read_text(encoding='utf-8') != text:
            path.write_text(text, encoding='utf-8')
