"""What a user gets for wrong configs and inputs: exit code 2 and one message with the remedy, before the first step."""
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import wrong_configs  # noqa: F401  (fills CASES)
import wrong_data  # noqa: F401
from places import CASES, Case, Place, make_place

from ftcls.apis import run_tool

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope='module')
def good_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp('good'))


@pytest.fixture
def place(good_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A fresh copy of a place in which all is well, and the current folder."""
    shutil.copytree(good_place.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT', 'FTCLS_TRACEBACK'):
        monkeypatch.delenv(name, raising=False)
    return Place(tmp_path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Run:
    """Run ``tools/<name>.py`` in this process; return its exit code and what it wrote to standard error."""

    def run(name: str, *arguments: str) -> tuple[int, str]:
        spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT / 'tools' / f'{name}.py')
        tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tool)
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *arguments])
        monkeypatch.setenv('LOCAL_RANK', '0')  # the tool sets it where it is not set
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            run_tool(tool.main)
        return left.value.code, capsys.readouterr().err

    return run


def command_line(case: Case, place: Place) -> list[str]:
    arguments = case.spoil(place) or []
    if arguments and arguments[0] in ('train', 'test'):
        return arguments
    return ['train', 'config.py', *arguments]


def assert_plain_message(code: int, err: str, parts: tuple[str, ...] = ()) -> None:
    assert code == 2, err
    assert re.findall('^error: |^.*Warning: ', err, flags=re.M) == ['error: '] and 'Traceback' not in err, err
    for part in parts:
        assert part in err


def assert_nothing_was_trained(folder: Path) -> None:
    """No checkpoint, no record of a training step."""
    assert not [p for p in folder.rglob('*.pth') if p.name not in ('good.pth', 'w.pth')]
    assert not [p for p in folder.rglob('metrics.jsonl') if p.read_text().strip()]


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_what_is_wrong_is_said_before_the_first_step(case: Case, place: Place, run: Run) -> None:
    code, err = run(*command_line(case, place))
    assert_plain_message(code, err, case.parts)
    assert_nothing_was_trained(place.folder)
    assert not Path('pwned').exists(), 'code from the file was run'


def test_there_are_enough_cases_and_all_is_well_without_them(place: Place, run: Run) -> None:
    assert len(CASES) >= 30
    code, err = run('train', 'config.py')
    assert (code, err) == (0, '')
    assert Path('work_dirs/config/epoch_1.pth').is_file()
    assert run('test', 'config.py', 'work_dirs/config/epoch_1.pth', '--out', 'out.json')[0] == 0
    assert Path('out.json').is_file()


def test_an_image_that_is_broken_inside_is_named_when_it_is_read(place: Place, run: Run) -> None:
    """To decode every image beforehand would take as long as an epoch: this one may come after some steps."""
    image = Path('data/train/bee/1.png')
    data = image.read_bytes()
    image.write_bytes(data[:200] + bytes(50) + data[250:])
    code, err = run('train', 'config.py')
    assert_plain_message(code, err, ('data/train/bee/1.png', 'broken or cut off', 'replace or remove it'))


@pytest.mark.parametrize('name',
                         ['several_faults_at_once', 'malicious_weights', 'weights_without_a_classifier_to_test'])
def test_the_real_command_line(name: str, place: Place) -> None:
    case = next(case for case in CASES if case.name == name)
    tool, *arguments = command_line(case, place)
    done = subprocess.run([sys.executable, str(ROOT / 'tools' / f'{tool}.py'), *arguments],
                          capture_output=True,
                          text=True,
                          env={
                              **os.environ, 'OMP_NUM_THREADS': '1'
                          },
                          timeout=120)
    assert_plain_message(done.returncode, done.stderr, case.parts)
    assert_nothing_was_trained(place.folder)
    assert not Path('pwned').exists()


def test_options_that_there_are_not(place: Place, run: Run) -> None:
    """`argparse` says these; its exit code is 2 as well."""
    for arguments in (['--batch-policy', 'acumulate'], ['--launcher', 'pytoch'], ['--sed', '1']):
        code, err = run('train', 'config.py', *arguments)
        assert code == 2 and 'usage:' in err and arguments[0] in err
    assert_nothing_was_trained(place.folder)
