"""No file, however made, runs code: each case reads a malicious one, which leaves a mark if anything in it is run.

``python tests/test_security.py`` prints a table of the cases.
"""
import contextlib
import gc
import io
import pickle
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import malicious_configs  # noqa: F401 (adds its attacks)
import pytest
import yaml
from malicious_files import ATTACKS, MARK, code, config, module, payload
from mmengine.config import Config

from ftcls.apis import load_config
from ftcls.utils import UserError
from ftcls.utils.plain_files import allow_imports, imports


def outcome(name: str, folder: Path) -> str:
    """Return how a case ends: what it returns, or the error."""
    sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return str(ATTACKS[name](folder))
    except UserError as err:
        return f'{type(err).__name__}: {err}'.replace('\n', ' ')
    finally:
        sys.path.remove(str(folder))
        imports.allowed = False
        imports.distrusted.clear()


pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(autouse=True, scope='module')
def collected() -> Iterator[None]:
    """Close the files that MMEngine leaves open after an error."""
    yield
    gc.collect()


@pytest.mark.parametrize('name', ATTACKS)
def test_runs_no_code(tmp_path: Path, name: str) -> None:
    text = outcome(name, tmp_path)
    assert not (tmp_path / MARK).exists(), text
    assert text != 'None', 'neither refused nor said to be harmless'


def test_attacks_are_real(tmp_path: Path) -> None:
    """The same objects run where they are read carelessly: the tests above prove something."""
    marks: Iterator[Path] = (tmp_path / str(number) for number in range(4))
    for read in (lambda folder: pickle.loads(pickle.dumps(payload(folder))),
                 lambda folder: yaml.unsafe_load(f"!!python/object/apply:os.system ['touch {folder / MARK}']"),
                 lambda folder: Config.fromstring(f'x = {code(folder)}', '.py'), lambda folder: exec(
                     (folder / f'{module(folder)}.py').read_text())):
        folder = next(marks)
        folder.mkdir()
        read(folder)
        assert (folder / MARK).exists()


def test_allowed_imports_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--allow-imports`` takes a JSON config at its word; a Python config always is."""
    monkeypatch.syspath_prepend(tmp_path)
    name = module(tmp_path)
    allow_imports()
    try:
        load_config(config(tmp_path, custom_imports=dict(imports=[name]), custom_hooks=[dict(type=f'{name}.X')]))
    finally:
        imports.allowed = False
        imports.distrusted.clear()
    assert (tmp_path / MARK).exists()


def test_every_tool_that_reads_a_config_can_allow_imports() -> None:
    tools = [path.read_text(encoding='utf-8') for path in Path(__file__).parents[1].glob('tools/*.py')]
    reading = [text for text in tools if 'args.config' in text or 'predict_files' in text]
    assert len(reading) >= 13
    assert all('apis.add_config_options(parser' in text for text in reading)


def main() -> None:
    """Print the table."""
    from ftcls.utils.table import render_table
    rows, ran = [], 0
    for name in ATTACKS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                text = outcome(name, Path(folder)).replace(folder, '')
            except Exception as err:
                text = f'NOT A USER ERROR: {type(err).__name__}: {err}'
            hit = (Path(folder) / MARK).exists()
        ran += hit
        rows.append((name, 'YES' if hit else 'no', text[:110]))
    print(render_table(dict.fromkeys(('file', 'code run', 'what happened'), 'left'), rows, width=10_000))
    print(f'\n{len(rows)} malicious files, code run {ran}')


if __name__ == '__main__':
    main()
