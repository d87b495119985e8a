"""Every command of the page on performance runs, and its settings fit a config."""
import re

from commands import ROOT, documented_commands, make_place, run_document

from ftcls.apis import load_config, validate_config

PAGE = ROOT / 'docs' / 'performance.md'


def test_commands_of_the_page(tmp_path):
    assert len(documented_commands(PAGE)) >= 2
    failures = run_document(PAGE, make_place(tmp_path))
    assert not failures, '\n\n'.join(failures)


def test_quoted_settings_fit_a_config():
    """The python blocks are settings of one config, one block for each."""
    blocks = re.findall(r'```python\n(.*?)```', PAGE.read_text(encoding='utf-8'), flags=re.S)
    assert blocks
    for block in blocks:
        settings: dict = {}
        exec(compile(block, str(PAGE), 'exec'), {}, settings)
        cfg = load_config(ROOT / 'configs' / 'tutorial' / 'cifar_resnet20_finetune_hymenoptera.py')
        cfg.merge_from_dict(settings)
        validate_config(cfg)
