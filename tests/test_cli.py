"""What all tools share: `--help` is quick, errors of the user are plain messages."""
import subprocess
import sys
from pathlib import Path

import pytest

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
    from ftcls.utils.names import command
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
