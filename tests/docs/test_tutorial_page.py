"""Every command of the tutorial runs, and the quoted lines are those of the config."""
import ast
import re

from commands import ROOT, make_place, run_document

from ftcls.apis import load_config

TUTORIAL = ROOT / 'docs' / 'tutorial.md'


def test_commands_of_the_tutorial(tmp_path):
    failures = run_document(TUTORIAL, make_place(tmp_path))
    assert not failures, '\n\n'.join(failures)
    table = (tmp_path / 'work_dirs' / 'resnet50_finetune_cifar' / 'preflight.txt').read_text()
    # the last command resumed
    assert re.search(r'backbone\.layer2 +epoch_1\.pth +FROZEN', table)
    assert re.search(r'backbone\.layer3 +epoch_1\.pth +trained', table)


def test_quoted_config_is_the_config():
    cfg = load_config(ROOT / 'configs' / 'tutorial' / 'resnet50_finetune_cifar.py')
    blocks = re.findall(r'```python\n(.*?)```', TUTORIAL.read_text(encoding='utf-8'), flags=re.S)
    checked = 0
    for block in blocks:
        scope: dict = {}
        exec(compile(ast.parse(block), 'tutorial', 'exec'), {}, scope)
        for key, value in scope.items():
            if key in cfg:
                _assert_within(value, cfg[key], key)
                checked += 1
    assert checked >= 5


def _assert_within(part, whole, path):
    if isinstance(part, dict):
        for key, value in part.items():
            _assert_within(value, whole[key], f'{path}.{key}')
    else:
        assert part == whole, path
