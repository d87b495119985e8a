"""What is installed is complete: the requirements and the configs."""
import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Where a package is imported under another name than it is installed by.
DISTRIBUTIONS = {
    'annotated_types': 'annotated-types',
    'PIL': 'pillow',
    'cv2': 'opencv-python',
    'pytorch_grad_cam': 'grad-cam',
    'sklearn': 'scikit-learn',
    'yaml': 'pyyaml'
}
# Left to the user, who is told how: albumentations brings opencv-python-headless, which overwrites opencv-python's
# files; ray is large and of use on several machines only.
BY_HAND = {'albumentations', 'ray'}


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


def _setup(folder: Path, *args: str) -> str:
    return subprocess.run([sys.executable, 'setup.py', '--quiet', *args],
                          cwd=folder,
                          check=True,
                          capture_output=True,
                          text=True).stdout


def _sources(folder: Path) -> set[Path]:
    return {f.relative_to(folder) for f in folder.glob('**/*') if f.suffix in ('.py', '.txt', '.sh')}


def test_what_is_imported_is_required():
    imported = {DISTRIBUTIONS.get(name, name) for name in _imported(ROOT / 'ftcls') | _imported(ROOT / 'tools')}
    assert imported - _declared('runtime', 'optional') == BY_HAND


def test_every_requirement_has_a_floor():
    for file in (ROOT / 'requirements').glob('*.txt'):
        for line in file.read_text().splitlines():
            assert re.match(r'[\w-]+>=\d', line), f'{file.name}: {line}'


def test_a_wheel_carries_the_configs(tmp_path):
    pytest.importorskip('setuptools')
    _setup(ROOT, 'build_py', '--build-lib', str(tmp_path))
    assert _sources(tmp_path / 'ftcls' / 'configs') == _sources(ROOT / 'configs')
    for name in ('apis/training/train.py', 'apis/report/report.html', 'apis/report/report.css', 'apis/report/report.js',
                 'scaffold/config_template.txt'):
        assert (tmp_path / 'ftcls' / name).is_file()


def test_an_unpacked_sdist_can_be_built(tmp_path):
    pytest.importorskip('setuptools')
    # setuptools writes beside setup.py, so it gets a copy: without what a checkout gathers, as data and work_dirs
    parts = [file.name for file in ROOT.iterdir() if file.suffix in ('.py', '.cfg', '.in', '.md')]
    folders = ['ftcls', 'configs', 'requirements', 'tools', 'tests']
    for name in parts + folders + ['Makefile']:
        source, copy = ROOT / name, tmp_path / 'checkout' / name
        copy.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
    _setup(tmp_path / 'checkout', 'sdist', '--formats', 'zip', '--dist-dir', str(tmp_path))
    archive, = tmp_path.glob('*.zip')
    shutil.unpack_archive(archive, tmp_path / 'unpacked')
    unpacked, = (tmp_path / 'unpacked').iterdir()
    for folder in folders:
        assert _sources(unpacked / folder) == _sources(ROOT / folder), folder
    version = re.search(r"'(.+)'", (ROOT / 'ftcls' / 'version.py').read_text())[1]
    assert _setup(unpacked, '--version').split()[-1] == version and unpacked.name == f'ftcls-{version}'
    _setup(unpacked, 'build_py', '--build-lib', str(tmp_path / 'built'))
    assert _sources(tmp_path / 'built' / 'ftcls' / 'configs') == _sources(ROOT / 'configs')
