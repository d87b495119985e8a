"""What is installed is complete: the requirements and the configs."""
import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Where a package is imported under another name than it is installed by.
DISTRIBUTIONS = {'PIL': 'pillow', 'cv2': 'opencv-python', 'sklearn': 'scikit-learn'}


def _imported(folder: Path) -> set[str]:
    """Return the top-level modules that the files of a folder import, wherever in a file."""
    names = set()
    for file in folder.glob('**/*.py'):
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.partition('.')[0])
    return names - sys.stdlib_module_names - {'ftcls'}


def _declared(*files: str) -> set[str]:
    lines = [line for file in files for line in (ROOT / 'requirements' / f'{file}.txt').read_text().splitlines()]
    return {match[0] for line in lines if (match := re.match(r'[\w-]+', line))}


def test_what_is_imported_is_required():
    imported = {DISTRIBUTIONS.get(name, name) for name in _imported(ROOT / 'ftcls') | _imported(ROOT / 'tools')}
    assert imported - _declared('runtime', 'optional') == set()


def test_every_requirement_has_a_floor():
    for file in (ROOT / 'requirements').glob('*.txt'):
        for line in file.read_text().splitlines():
            assert re.match(r'[\w-]+>=\d', line), f'{file.name}: {line}'


def test_a_wheel_carries_the_configs(tmp_path):
    pytest.importorskip('setuptools')
    subprocess.run([sys.executable, 'setup.py', '--quiet', 'build_py', '--build-lib',
                    str(tmp_path)],
                   cwd=ROOT,
                   check=True,
                   capture_output=True)
    packed, source = tmp_path / 'ftcls' / 'configs', ROOT / 'configs'
    assert {f.relative_to(packed)
            for f in packed.glob('**/*.py')} == {f.relative_to(source)
                                                 for f in source.glob('**/*.py')}
    assert (tmp_path / 'ftcls' / 'apis' / 'train.py').is_file()
