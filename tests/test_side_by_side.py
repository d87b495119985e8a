"""The harness of the benchmarks: sides alternate, failures are reported, the table and its block are right."""
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def harness() -> ModuleType:
    """The module `benchmarks/side_by_side.py`."""
    spec = importlib.util.spec_from_file_location('side_by_side', ROOT / 'benchmarks' / 'side_by_side.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _prints(text: str) -> list[str]:
    return [sys.executable, '-S', '-c', text]


def test_sides_alternate_and_a_failure_is_reported(harness: ModuleType, tmp_path: Path) -> None:

    def says(side):
        return _prints(f'open({str(tmp_path / "order")!r}, "a").write("{side}"); print("log"); print(\'{{"s": 1}}\')')

    commands = dict(
        ours=says('o'),
        peer=says('p'),
        broken=_prints('raise ValueError("no such file")'),
        mute=_prints(''),
        chatty=_prints('print("no numbers")'))
    results = harness.alternate(commands, rounds=3)
    assert (tmp_path / 'order').read_text() == 'opopop'
    assert results['ours'] == [{'s': 1}] * 3
    # a side that fails is run once
    assert len(results['broken']) == len(results['mute']) == len(results['chatty']) == 1
    text = harness.table(results)
    assert '| failed | broken | exit code 1: ValueError: no such file | | |' in text
    assert 'no numbers' in text and '| failed | mute |' in text


def test_table_has_median_spread_and_ratio(harness: ModuleType) -> None:
    results = dict(
        peer=[dict(rate=100), dict(rate=300), dict(rate=200)],
        ours=[dict(rate=250, chose='bf16'),
              dict(rate=1250, chose='bf16'),
              dict(rate=300.4, chose='fp32')])
    rows = harness.table(results).splitlines()
    assert rows[0].endswith('ours / side |')
    assert rows[2:] == [
        '| rate | ours | 300 | 250–1,250 |  |', '| rate | peer | 200 | 100–300 | 1.50 |', '| chose | ours | fp32 | | |'
    ]


def test_block_is_replaced_alone(harness: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / 'page.md'
    page.write_text('before\n<!-- bench:a -->\nold\n<!-- /bench:a -->\n<!-- bench:b -->\nkept\n<!-- /bench:b -->\n')
    monkeypatch.setattr(sys, 'argv', ['benchmarks/a.py', '--peers', sys.executable, '--write'])
    for _ in range(2):
        harness.write_block('a', '| new \\1 |', peers=sys.executable, page=page)
    text = page.read_text()
    assert text.startswith(
        'before\n<!-- bench:a -->\n\n| new \\1 |\n\n`python benchmarks/a.py --peers PYTHON --write`, 20')
    assert text.endswith('.\n<!-- /bench:a -->\n<!-- bench:b -->\nkept\n<!-- /bench:b -->\n')
    assert 'old' not in text and ' cores (' in text and text.count('torch ') == 2
    with pytest.raises(SystemExit, match='bench:c'):
        harness.write_block('c', '', page=page)


def test_a_script_measures_its_sides(harness: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture) -> None:
    script = tmp_path / 'toy.py'
    script.write_text(f'import sys\nsys.path.insert(0, {str(ROOT / "benchmarks")!r})\n'
                      'from side_by_side import main\n'
                      'main("toy", {s: lambda args, s=s: {"s": len(s)} for s in ("ours", "torchvision", "peer")},'
                      ' own=["torchvision"])')
    monkeypatch.setattr(sys, 'argv', [str(script), '--quick'])
    exec(compile(script.read_text(), str(script), 'exec'), {})
    text = capsys.readouterr().out
    assert '| s | torchvision | 11 | 11–11 | 0.36 |' in text
    assert 'Left out' in text and text.rstrip().endswith('peer.')
    monkeypatch.setattr(sys, 'argv', [str(script), '--quick', '--write'])
    with pytest.raises(SystemExit):
        exec(compile(script.read_text(), str(script), 'exec'), {})


@pytest.mark.parametrize('sides, written', [(('ours', ), []), (('ours', 'ours twice'), ['toy'])])
def test_no_table_is_overwritten_where_all_sides_fail(harness: ModuleType, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch, sides: tuple[str, ...],
                                                      written: list[str]) -> None:
    script = tmp_path / 'toy.py'
    script.write_text('import sys\nprint(\'{"s": 1}\')\nsys.exit(sys.argv[-1] == "ours")')
    blocks: list[str] = []
    monkeypatch.setattr(harness, 'write_block', lambda name, *arguments, **settings: blocks.append(name))
    monkeypatch.setattr(sys, 'argv', [str(script), '--rounds', '1', '--write'])
    with pytest.raises(SystemExit, match='1'):
        harness.main('toy', dict.fromkeys(sides, dict))
    assert blocks == written
