"""The command `ftcls`, and what all tools share: `--help` is quick, errors of the user are plain messages."""
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ftcls
from ftcls.cli import main
from ftcls.utils.names import SHORT_COMMANDS, command

ROOT = Path(__file__).resolve().parent.parent
TOOLS = sorted(path for path in (ROOT / 'tools').glob('*.py') if path.stem != 'dist_launch')
HELP = """
import runpy, sys
sys.argv = [{tool!r}, '--help']
try:
    runpy.run_path({tool!r}, run_name='__main__')
except SystemExit as done:
    assert done.code == 0
heavy = {{'torch', 'mmengine', 'numpy', 'matplotlib', 'sklearn'}} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize('tool', TOOLS, ids=lambda path: path.stem)
def test_help_imports_nothing_heavy(tool: Path) -> None:
    done = subprocess.run([sys.executable, '-c', HELP.format(tool=str(tool))], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'usage: ' in done.stdout


def test_options_may_have_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftcls import apis
    given = ['--work_dir=a_b', '--cfg_options', 'a_b=--c_d', 'x_y']
    monkeypatch.setattr(sys, 'argv', ['tool.py', *given])
    with pytest.raises(SystemExit):
        apis.run_tool(lambda: None)
    assert sys.argv[1:] == ['--work-dir=a_b', '--cfg-options', 'a_b=--c_d', 'x_y']


def test_a_text_names_the_command_that_the_user_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for called, train, new in (
        ('tools/train.py', 'python tools/train.py', 'python tools/new_config.py'),
        (str(ROOT / 'tools' / 'test.py'), f'python {ROOT}/tools/train.py', f'python {ROOT}/tools/new_config.py'),
        ('ftcls train', 'ftcls train', 'ftcls new'),
        ('train.py', 'ftcls train', 'ftcls new'),  # the user's own script
        ('', 'ftcls train', 'ftcls new'),
    ):
        monkeypatch.setattr(sys, 'argv', [called])
        assert (command('train'), command('new_config')) == (train, new)
        assert command('train', 'my config.py', '--epochs', 3) == f"{train} 'my config.py' --epochs 3"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Run `ftcls` with arguments in this process; return its exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', ['/bin/ftcls', *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code, *capsys.readouterr()

    return run


def _first_line(tool: Path) -> str:
    return tool.read_text().partition('"""')[2].splitlines()[0].removesuffix('"""')


def test_help_lists_every_tool_with_what_it_does(call: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('COLUMNS', '200')
    code, out, _ = call('--help')
    assert code == 0 and (code, out, '') == call()
    for tool in TOOLS:
        assert f'  {SHORT_COMMANDS.get(tool.stem, tool.stem):<18}{_first_line(tool)}\n' in out
    for script in ('dist_train', 'dist_test', 'slurm_train'):
        assert f'  {script} ' in out
    assert 'dist_launch' not in out and 'dist_run' not in out
    assert max(map(len, call('--help')[1].splitlines())) < 200
    monkeypatch.setenv('COLUMNS', '70')
    assert max(map(len, call('--help')[1].splitlines())) <= 70


def test_help_takes_less_than_half_a_second(tmp_path: Path) -> None:
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, '-X', 'importtime', '-m', 'ftcls', '--help'],
                              cwd=tmp_path,
                              env={
                                  **os.environ, 'PYTHONPATH': str(ROOT)
                              },
                              capture_output=True,
                              text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        assert done.stdout.startswith('usage: ftcls COMMAND')
        assert 'argparse' in done.stderr and 'torch' not in done.stderr and 'mmengine' not in done.stderr
    assert min(took) < 0.5


@pytest.mark.parametrize('tool', TOOLS, ids=lambda path: path.stem)
def test_a_tool_is_called_by_its_short_name_and_by_that_of_its_file(tool: Path, call: Callable) -> None:
    assert tool.read_text().endswith("\n\nif __name__ == '__main__':\n    apis.run_tool(main)\n")
    short = SHORT_COMMANDS.get(tool.stem, tool.stem)
    for name in {short, tool.stem, tool.stem.replace('_', '-')}:
        code, out, _ = call(name, '--help')
        assert code == 0 and out.startswith(f'usage: ftcls {short} ')


def test_a_shell_script_is_handed_the_arguments_and_this_python(call: Callable,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(os, 'execvp', lambda program, words: given.append(words) or sys.exit(7))
    monkeypatch.delenv('PYTHON', raising=False)
    assert call('dist_train', 'my config.py', '2', '--work-dir=x y')[0] == 7
    assert given == [['bash', str(ROOT / 'tools' / 'dist_train.sh'), 'my config.py', '2', '--work-dir=x y']]
    assert os.environ.pop('PYTHON') == sys.executable


@pytest.mark.parametrize('arguments, said', [
    (('trian', ), "'trian' is not a command; did you mean 'train'?"),
    (('lr_findr', 'x.py'), "'lr_findr' is not a command; did you mean 'lr_finder'?"),
    (('frobnicate', ), "'frobnicate' is not a command; see `ftcls --help`"),
    (('dist_launch', ), "'dist_launch' is not a command"),
    (('../tools/train', ), "'../tools/train' is not a command"),
    (('my_config.py', ), "'my_config.py' is not a command"),
    (('--verbose', 'train'), 'required: COMMAND'),
    (('new', ), 'ftcls new: error: the following arguments are required: --data'),
    (('new', '--data', '.', '--time', '-5min'), '--time -5min: must be a number above 0 with s, min or h'),
])
def test_a_wrong_call_is_refused(arguments: tuple[str, ...], said: str, call: Callable) -> None:
    code, out, err = call(*arguments)
    assert code == 2 and not out and said in err


def test_version(call: Callable) -> None:
    assert call('--version') == (0, f'ftcls {ftcls.__version__}\n', '')


@pytest.mark.parametrize('line, words', [
    ('ftcls ', {'train', 'new', 'dist_train', '--version'}),
    ('ftcls tr', {'train'}),
    ('ftcls new --', {'--data', '--backbone'}),
    ('ftcls new_config --da', {'--data'}),
    ('ftcls train "my config.py" --laun', {'--launcher'}),
    ('ftcls train x.py --launcher ', {'pytorch', 'slurm'}),
    ('ftcls dist_train x.py 2 --re', set()),
    ('ftcls trian --', set()),
])
def test_tab_completes_commands_options_and_choices(line: str, words: set[str], tmp_path: Path) -> None:
    pytest.importorskip('argcomplete')
    environment = dict(
        _ARGCOMPLETE='1', _ARGCOMPLETE_IFS='\n', _ARGCOMPLETE_STDOUT_FILENAME=str(tmp_path / 'answer'), COMP_LINE=line)
    code = 'import sys; from ftcls.cli import main; sys.modules["torch"] = None; main()'
    subprocess.run([sys.executable, '-c', code],
                   env={
                       **os.environ,
                       **environment, 'COMP_POINT': str(len(line.encode())),
                       'PYTHONPATH': str(ROOT)
                   },
                   cwd=tmp_path,
                   capture_output=True)
    answer = (tmp_path / 'answer').read_text().split() if (tmp_path / 'answer').is_file() else []
    assert words <= set(answer) and bool(words) == bool(answer)
