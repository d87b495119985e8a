"""A place that cannot be written is refused before the work, in the same words for each option."""
import subprocess
import sys
from pathlib import Path

import pytest

from ftcls.utils import ConfigError
from ftcls.utils.writable import check_writable

TOOLS = Path(__file__).parents[2] / 'tools'


def test_places(tmp_path: Path) -> None:
    file = tmp_path / 'file'
    file.touch()
    check_writable(out=None, show_dir=tmp_path / 'new/folder', save_path=file)
    assert list(tmp_path.iterdir()) == [file], 'nothing is left'
    for option, path in dict(out=file / 'a.csv', show_dir=file, out_dir=file / 'new', save_path=file / 'a').items():
        with pytest.raises(
                ConfigError, match=f"^{option}='{path}' cannot be written: Not a directory; .* --{option[:3]}"):
            check_writable(**{option: path})


def test_every_tool_asks() -> None:
    """Those that take a file or folder for results; the folders of runs are locked, a config and a model are checked."""
    locked = {'compare', 'kfold', 'tune', 'new_config', 'test', 'train', 'demo'}
    for tool in TOOLS.glob('*.py'):
        text = tool.read_text()
        options = [name for name in ('out', 'out-dir', 'show-dir', 'show-path', 'save-path') if f"'--{name}'" in text]
        for name in options if tool.stem not in locked else ():
            assert f'{name.replace("-", "_")}=args.' in text, f'{tool.name} --{name}: call apis.check_writable'


def test_predict_refuses_before_it_looks_for_a_model(tmp_path: Path) -> None:
    call = [sys.executable, TOOLS / 'predict.py', 'no_model', 'no.jpg', '--out', tmp_path / 'f/a.csv']
    (tmp_path / 'f').touch()
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith('error: out=') and done.stderr.count('\n') == 1
