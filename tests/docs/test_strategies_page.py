"""Every command of the page on strategies runs, and the quoted lines are those of the configs."""
import ast
import re

import pytest
from commands import ROOT, make_place, run_document

from ftcls.apis import load_config, validate_config

PAGE = ROOT / 'docs' / 'strategies.md'


@pytest.mark.slow
def test_commands_of_the_strategies(tmp_path):
    failures = run_document(PAGE, make_place(tmp_path))
    assert not failures, '\n\n'.join(failures)
    assert 'labelled' not in (tmp_path / 'work_dirs' / 'compare' / 'shots2' / 'table.txt').read_text()
    assert (tmp_path / 'work_dirs' / 'spread' / 'compare.png').is_file()
    assert (tmp_path / 'work_dirs' / 'lenet5_finetune_digits' / 'calibration' / 'reliability.png').is_file()


def blocks():
    """Yield the config named before each quoted block, or None, and what the block sets."""
    text = PAGE.read_text(encoding='utf-8')
    for match in re.finditer(r'```python\n(.*?)```', text, flags=re.S):
        scope: dict = {}
        exec(compile(ast.parse(match[1]), 'strategies', 'exec'), {}, scope)
        paragraph = text[:match.start()].rstrip().rsplit('\n\n', 1)[-1]
        named = re.match(r'`(\w+\.py)`', paragraph)
        yield named and named[1], scope


def test_quoted_lines_are_those_of_the_configs():
    checked = set()
    for name, scope in blocks():
        cfg = load_config(ROOT / 'configs' / 'strategies' / (name or 'head_x10.py'))
        if name is None:  # for any config
            cfg.merge_from_dict(scope)
            validate_config(cfg)
            continue
        for key, value in scope.items():
            _assert_within(value, cfg[key], key)
        checked.add(name)
    assert checked == {
        'head_x10.py', 'layerwise_decay.py', 'discriminative.py', 'probe.py', 'frozen_stem.py', 'gradual_unfreezing.py',
        'lpft.py', 'bn_eval.py', 'bn_frozen.py', 'l2sp.py', 'ema.py', 'lora.py', 'bitfit.py', 'norm_only.py'
    }


def test_every_strategy_is_on_the_page_with_its_measured_score():
    text = PAGE.read_text(encoding='utf-8')
    for path in (ROOT / 'configs' / 'strategies').glob('*.py'):
        score = re.search(r'(\d\d\.\d\d) ± (\d+\.\d\d)', path.read_text(encoding='utf-8'))
        assert re.search(rf'^{path.stem} +{score[1]} +± {score[2]}', text, flags=re.M), path.name


def _assert_within(part, whole, path):
    if isinstance(part, dict):
        for key, value in part.items():
            _assert_within(value, whole[key], f'{path}.{key}')
    else:
        assert part == whole, path
