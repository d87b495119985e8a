"""The promises of the layout: imports run downward, no cycles, small files and functions, docstrings on public things."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = dict(
    registry=0,
    structures=0,
    signals=0,
    utils=0,
    version=0,
    datasets=1,
    models=1,
    evaluation=1,
    visualization=1,
    engine=2,
    config=3,
    apis=4,
    experiments=5,
    scaffold=5,
    cli=6,
    __main__=7)
# The order inside a room: each part imports only those before it.
INSIDE = dict(
    apis=('training', 'inference', 'analysis', 'export', 'report'),
    config=('choices', 'epochs', 'batch_policy', 'schema', 'reading', 'loading', 'validation', 'resolve'),
    experiments=('run', 'report', 'search_space', 'compare', 'kfold', 'tune', 'tune_ray'))
MAX_FILE, MAX_FUNCTION, MAX_WIDTH = 400, 60, 120
MOST_CONDITIONAL_EXPRESSIONS = 12  # per 1,000 lines
SOURCES = sorted((ROOT / 'ftcls').rglob('*.py'))
TREES = {path: ast.parse(path.read_text(encoding='utf-8')) for path in SOURCES}


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix('').parts
    return parts[:-1] if parts[-1] == '__init__' else parts


MODULES = {module_of(path) for path in SOURCES}


def imported(path: Path, everywhere: bool = True) -> set[tuple[str, ...]]:
    """Return the modules of ftcls that a file imports, those inside functions included where ``everywhere``."""
    package = module_of(path) if path.name == '__init__.py' else module_of(path)[:-1]
    nodes = list(ast.walk(TREES[path])) if everywhere else TREES[path].body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split('.')) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split('.')) if node.module else ()
            names = [base + (alias.name, ) for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == 'ftcls':
                found.add(name if name in MODULES else name[:-1])
    return found - {module_of(path), ('ftcls', )}


def functions():
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield path, node


def test_imports_run_downward():
    arrows = []
    for path in SOURCES:
        own = module_of(path)
        if len(own) < 2:
            continue
        for target in imported(path):
            if len(target) > 1 and target[1] != own[1] and FLOORS[target[1]] >= max(FLOORS[own[1]], 1):
                arrows.append(f'{".".join(own)} -> {".".join(target)}')
    assert not arrows


def test_imports_run_downward_inside_rooms():
    arrows = []
    for path in SOURCES:
        own = module_of(path)
        if len(own) < 3 or own[1] not in INSIDE:
            continue
        order = INSIDE[own[1]]
        for target in imported(path):
            if len(target) > 2 and target[1] == own[1] and order.index(target[2]) > order.index(own[2]):
                arrows.append(f'{".".join(own)} -> {".".join(target)}')
    assert not arrows


def test_every_room_has_a_floor():
    assert {module[1] for module in MODULES if len(module) > 1} <= set(FLOORS)


def test_no_import_cycles():
    graph = {module_of(p): imported(p, everywhere=False) for p in SOURCES}
    done, trail = set(), []

    def visit(module):
        assert module not in trail, 'cycle: ' + ' -> '.join('.'.join(m) for m in trail[trail.index(module):] + [module])
        if module in done:
            return
        trail.append(module)
        for target in graph.get(module, ()):
            # a package's own __init__ gathers its files
            if target != module[:len(target)]:
                visit(target)
        trail.pop()
        done.add(module)

    for module in graph:
        visit(module)


def test_tools_import_apis_alone():
    """`from ftcls import apis` alone, whose names are imported on their first use: `--help` needs none."""
    for path in (ROOT / 'tools').glob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('ftcls'):
                names = [alias.name for alias in node.names]
                assert (node.module, names) == ('ftcls', ['apis']), f'{path.name} imports {names} of {node.module}'


@pytest.mark.parametrize('folder', ['ftcls', 'tools', 'tests', 'configs', 'benchmarks'])
def test_files_stay_small(folder):
    long = {
        str(p.relative_to(ROOT)): n
        for p in (ROOT / folder).rglob('*.py') if (n := len(p.read_text(encoding='utf-8').splitlines())) > MAX_FILE
    }
    assert not long


def test_lines_stay_short_and_conditional_expressions_few():
    wide, nested, count, lines = [], [], 0, 0
    for path, tree in TREES.items():
        text = path.read_text(encoding='utf-8').splitlines()
        lines += len(text)
        wide += [f'{path.relative_to(ROOT)}:{n}' for n, line in enumerate(text, 1) if len(line) > MAX_WIDTH]
        found = [node for node in ast.walk(tree) if isinstance(node, ast.IfExp)]
        count += len(found)
        nested += [
            f'{path.relative_to(ROOT)}:{node.lineno}' for node in found if sum(
                isinstance(inner, ast.IfExp) for inner in ast.walk(node)) > 1
        ]
    assert not wide and not nested
    assert 1000 * count / lines <= MOST_CONDITIONAL_EXPRESSIONS


def test_functions_stay_small():
    long = []
    for path, node in functions():
        doc = node.body[0] if ast.get_docstring(node) is not None else None
        lines = node.end_lineno - node.lineno + 1 - (doc.end_lineno - doc.lineno + 1 if doc else 0)
        if lines > MAX_FUNCTION:
            long.append(f'{path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines')
    assert not long


def test_parameters_and_returns_are_annotated():
    bare = []
    for path, node in functions():
        params = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        params += [p for p in (node.args.vararg, node.args.kwarg) if p]
        missing = [p.arg for p in params if p.annotation is None and p.arg not in ('self', 'cls')]
        if missing or (node.returns is None and node.name != '__init__'):
            bare.append(f'{path.relative_to(ROOT)}:{node.lineno} {node.name} {missing or "return"}')
    assert not bare


def test_public_things_have_docstrings():
    bare = []
    for path, tree in TREES.items():
        if path.name != '__init__.py' or path.parent.name == 'ftcls':
            bare += [] if ast.get_docstring(tree) else [str(path)]
        for owner in [tree] + [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith('_')]:
            for node in owner.body:
                public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_')
                if public and not ast.get_docstring(node):
                    bare.append(f'{path.relative_to(ROOT)}:{node.lineno} {node.name}')
    assert not bare


def test_no_assert_and_no_print_in_the_library():
    # a text handed to a caller's `say=print` is a caller's choice
    found = [
        f'{path.relative_to(ROOT)}:{node.lineno}' for path, tree in TREES.items() for node in ast.walk(tree)
        if isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'print'
                                            and path.name not in ('cli.py', 'inference.py'))
    ]
    assert not found
