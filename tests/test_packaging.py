"""What is installed is complete, the requirements too: a wheel works in an empty folder."""
import ast
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import documented_commands
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ['ftcls', 'configs', 'requirements', 'tools', 'tests']
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


def _files(folder: Path) -> set[Path]:
    return {
        file.relative_to(folder)
        for file in folder.glob('**/*') if file.is_file() and '__pycache__' not in file.parts
    }


def test_what_is_imported_is_required():
    imported = {DISTRIBUTIONS.get(name, name) for name in _imported(ROOT / 'ftcls') | _imported(ROOT / 'tools')}
    assert imported - _declared('runtime', 'optional') == BY_HAND


def test_every_requirement_has_a_floor():
    for file in (ROOT / 'requirements').glob('*.txt'):
        for line in file.read_text().splitlines():
            assert re.match(r'[\w-]+>=\d', line), f'{file.name}: {line}'


@pytest.fixture(scope='module')
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    pytest.importorskip('setuptools')
    tmp_path = tmp_path_factory.mktemp('sdist')
    # setuptools writes beside setup.py, so it gets a copy: without what a checkout gathers, as data and work_dirs
    names = [file.name for file in ROOT.iterdir() if file.suffix in ('.py', '.cfg', '.in', '.md')]
    for name in names + FOLDERS + ['Makefile', 'LICENSE']:
        source, copy = ROOT / name, tmp_path / 'checkout' / name
        copy.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
    _setup(tmp_path / 'checkout', 'sdist', '--formats', 'zip', '--dist-dir', str(tmp_path))
    archive, = tmp_path.glob('*.zip')
    shutil.unpack_archive(archive, tmp_path / 'unpacked')
    unpacked, = (tmp_path / 'unpacked').iterdir()
    return unpacked


@pytest.fixture(scope='module')
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution."""
    folder = tmp_path_factory.mktemp('wheel')
    pip = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-index', '--no-build-isolation']
    done = subprocess.run([*pip, '--wheel-dir', str(folder), str(sdist)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built, = folder.glob('*.whl')
    return built


@pytest.fixture(scope='module')
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that has the wheel's."""
    folder = tmp_path_factory.mktemp('site packages')
    shutil.unpack_archive(wheel, folder, 'zip')
    return folder


@pytest.fixture
def from_wheel(site: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run Python with the wheel, without a home, in a folder whose folders have the names of our own."""
    for name in ('ftcls', 'configs', 'tools'):
        (tmp_path / name / 'tutorial').mkdir(parents=True)
    kept = {name: value for name, value in os.environ.items() if name not in ('HOME', 'XDG_CACHE_HOME')}
    kept |= dict(PYTHONPATH=str(site), OMP_NUM_THREADS='1')

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=kept, capture_output=True, text=True)

    return run


def test_a_source_distribution_is_complete(sdist: Path) -> None:
    for folder in FOLDERS:
        assert _files(sdist / folder) == _files(ROOT / folder), folder
    version = re.search(r"'(.+)'", (ROOT / 'ftcls' / 'version.py').read_text())[1]
    assert _setup(sdist, '--version').split()[-1] == version and sdist.name == f'ftcls-{version}'


def test_a_wheel_has_package_configs_and_tools(site: Path) -> None:
    inside = _files(site / 'ftcls')
    for folder in ('configs', 'tools'):
        assert {file.relative_to(folder) for file in inside if file.parts[0] == folder} == _files(ROOT / folder)
    assert {file for file in inside if file.parts[0] not in ('configs', 'tools')} == _files(ROOT / 'ftcls')
    assert {path.name.partition('-')[0] for path in site.iterdir()} == {'ftcls'}
    entry_points, = site.glob('*.dist-info/entry_points.txt')
    assert 'ftcls = ftcls.cli:main' in entry_points.read_text()


# Two commands in one process, since most of the time goes into importing torch.
TWO_COMMANDS = """
import sys
from ftcls.cli import main
for line in ('train ftcls::tutorial/lenet5_finetune_digits.py', 'train lenet5_pretrain_digits --epochs 1 --cfg-options '
             'train_dataloader.dataset.indices=80'):
    sys.argv = ['ftcls', *line.split()]
    try:
        main()
    except SystemExit as done:
        print('exit code', done.code, file=sys.stderr)
"""


def test_a_wheel_works_in_an_empty_folder(from_wheel: Callable, site: Path, tmp_path: Path) -> None:
    before = _files(site)
    assert from_wheel('-m', 'ftcls').stdout.startswith('usage: ftcls COMMAND')
    done = from_wheel('-c', TWO_COMMANDS)
    assert re.findall('exit code (.)', done.stderr) == ['2', '0'] and 'Traceback' not in done.stderr, done.stderr
    assert 'Make it first: ftcls train lenet5_pretrain_digits\n' in done.stderr
    assert (tmp_path / 'work_dirs' / 'lenet5_pretrain_digits' / 'epoch_1.pth').is_file()
    assert _files(site) == before and str(ROOT) not in done.stdout + done.stderr


@pytest.fixture(scope='module')
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment with the wheel; what the wheel requires is this environment's."""
    folder = tmp_path_factory.mktemp('fresh')
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(folder)], check=True)
    packages, = folder.glob('lib/python*/site-packages')
    (packages / 'required.pth').write_text(sysconfig.get_path('purelib') + '\n')
    pip = [sys.executable, '-m', 'pip', '--python', str(folder / 'bin' / 'python'), 'install', '--quiet']
    subprocess.run([*pip, '--no-deps', '--no-index', str(wheel)], check=True)
    for path in (packages / 'ftcls').glob('**'):
        path.chmod(0o555)
    return folder / 'bin'


@pytest.fixture
def ftcls(installed: Path, tmp_path: Path) -> Callable[[str], str]:
    """Run a line of a shell in an empty folder of the fresh environment; return its output."""
    kept = {name: value for name, value in os.environ.items() if name not in ('HOME', 'PYTHONPATH', 'VIRTUAL_ENV')}
    kept |= dict(PATH=f'{installed}:{os.environ["PATH"]}', OMP_NUM_THREADS='1', http_proxy='http://127.0.0.1:9')

    def run(line: str) -> str:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = str(probe.getsockname()[1])
        env = {**kept, 'PORT': port, 'XDG_CACHE_HOME': str(tmp_path / 'cache')}
        done = subprocess.run(['bash', '-c', line], cwd=tmp_path, env=env, capture_output=True, text=True)
        output = done.stdout + done.stderr
        assert done.returncode == 0 and str(ROOT) not in output and 'tools/' not in output, f'{line}\n{output}'
        return output

    return run


@pytest.mark.slow
def test_a_fresh_environment_does_everything(ftcls: Callable, tmp_path: Path) -> None:
    import torch

    from ftcls.models.backbones import CifarResNet
    rng = np.random.RandomState(0)
    for name, level in (('sea lion', 60), ('bee', 190)):
        (tmp_path / 'my photos' / name).mkdir(parents=True)
        for number in range(12):
            image = np.clip(rng.normal(level, 20, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / 'my photos' / name / f'{number}.png')
    torch.save({f'module.{k}': v for k, v in CifarResNet(20).state_dict().items()}, tmp_path / 'weights.th')
    assert Path(ftcls('python -c "import ftcls; print(ftcls.__file__)"').strip()).parts[-3] == 'site-packages'
    ftcls('ftcls check "my photos"')
    ftcls('ftcls new --data "my photos" --weights weights.th --device cpu')
    written = (tmp_path / 'my photos.py').read_text()
    assert 'Written by ftcls new;' in written
    lines = re.findall('^ftcls .*', written, flags=re.M)
    assert lines == [f"ftcls {verb} 'my photos.py'{rest}" for verb, rest in (
        ('train', ' --dry-run'), ('lr', ''), ('train', ''))]  # yapf: disable
    for line in lines:
        ftcls(f'{line} --cfg-options train_cfg.max_epochs=2'.replace('lr ', 'lr --steps 10 '))
    ftcls("ftcls train 'my photos.py' --resume --cfg-options train_cfg.max_epochs=3")
    run, config = "'work_dirs/my photos'", "'my photos.py'"
    last = "'work_dirs/my photos/epoch_3.pth'"
    for line in (f'test {run}', f'predict {run} "my photos" --out seen.csv', f'print {config}', f'browse {config}',
                 f'vis_scheduler {config}', f'print_params {config}',
                 f'wise_ft weights.th {last} --out half.pth --config {config}',
                 f'compare {config} --arms scratch,probe --seeds 1 --budget 1', f'kfold {config} --folds 2',
                 f'tune {config} --space "optim_wrapper.optimizer.lr=loguniform(1e-3,1e-1)" --trials 1'):
        ftcls(f'ftcls {line}')


@pytest.mark.slow
def test_commands_of_the_page_in_a_fresh_environment(ftcls: Callable) -> None:
    shorter = ((r'demo --seeds 3', 'demo --seeds 1 --epochs 1'), (r'--seeds 3', '--seeds 1 --budget 1'),
               (r'digits 8$', 'digits 2 --epochs 1'), (r'^torchrun --nproc_per_node=8',
                                                       'python -m torch.distributed.run --nproc_per_node=2'))
    for line in documented_commands(ROOT / 'docs' / 'command.md'):
        for pattern, replacement in shorter:
            line = re.sub(pattern, replacement, line)
        if not line.startswith(('pip ', 'eval ', 'register-')):
            ftcls(line)
    ftcls('ftcls calibrate lenet5_pretrain_digits work_dirs/lenet5_pretrain_digits/epoch_15.pth')
