"""Every command of the page on small datasets runs, and its Python lines fit a config."""
import re
from importlib.util import find_spec

import pytest
from commands import ROOT, make_place, run_document

from ftcls.apis import load_config, validate_config
from ftcls.registry import BATCH_AUGMENTS, TRANSFORMS

PAGE = ROOT / 'docs' / 'small_data.md'


def section(title: str) -> str:
    """Return one section of the page."""
    return re.search(rf'^## {title}\n(.*?)(?=^## |\Z)', PAGE.read_text(encoding='utf-8'), flags=re.M | re.S)[1]


@pytest.mark.slow
def test_commands_of_the_page(tmp_path):
    failures = run_document(PAGE, make_place(tmp_path))
    assert not failures, '\n\n'.join(failures)
    said = re.search(r'```text\n(augment .*)\n', section('Augmentation'))[1]
    assert said in (tmp_path / 'work_dirs' / 'head_x10' / 'preflight.txt').read_text()


def test_quoted_augmentations_fit_a_config():
    blocks = re.findall(r'```python\n(.*?)```', section('Augmentation'), flags=re.S)
    for block in blocks:
        scope: dict = {}
        exec(compile(block, str(PAGE), 'exec'), {}, scope)
        cfg = load_config(ROOT / 'configs' / 'strategies' / 'head_x10.py')
        cfg.merge_from_dict(scope)
        validate_config(cfg)
        for step in cfg.train_dataloader.dataset.pipeline:
            if step.type != 'Albumentations' or find_spec('albumentations'):
                TRANSFORMS.build(step)
        for augment in (cfg.data_preprocessor.get('batch_augments') or {}).get('augments', ()):
            BATCH_AUGMENTS.build(augment)
    assert len(blocks) == 3


@pytest.mark.parametrize('title, count', [('Splits', 1), ('Uneven classes', 2)])
def test_quoted_lines_fit_a_config(title, count):
    blocks = re.findall(r'```python\n(.*?)```', section(title), flags=re.S)
    for block in blocks:
        scope: dict = {}
        exec(compile(block, str(PAGE), 'exec'), {}, scope)
        cfg = load_config(ROOT / 'configs' / 'strategies' / 'head_x10.py')
        cfg.merge_from_dict({key: value for key, value in scope.items() if key in cfg})
        validate_config(cfg)
    assert len(blocks) == count


def test_the_table_names_what_there_is():
    names = re.findall(r'^\| `(\w+)` \|', section('Augmentation'), flags=re.M)
    missing = [name for name in names if not (TRANSFORMS.get(name) or BATCH_AUGMENTS.get(name))]
    assert missing == ['LabelSmoothLoss'] and len(names) == 12


def test_quoted_lines_of_several_labels_fit_a_config():
    blocks = re.findall(r'```python\n(.*?)```', section('Several labels per image'), flags=re.S)
    scope: dict = {}
    exec(compile(blocks[0], str(PAGE), 'exec'), {}, scope)
    cfg = load_config(ROOT / 'configs' / 'strategies' / 'head_x10.py')
    cfg.merge_from_dict(scope)
    validate_config(cfg)
    assert cfg.model.head.type == 'MultiLabelLinearClsHead' and 'scale' in cfg.train_dataloader.dataset.pipeline[1]
    assert len(blocks) == 1


def test_scores_of_several_labels_are_those_of_the_config():
    config = (ROOT / 'configs' / 'tutorial' / 'lenet5_finetune_digit_pairs.py').read_text(encoding='utf-8')
    scores = re.findall(r'(\d\d\.\d\d) +± (\d\.\d\d)', section('Several labels per image'))
    assert len(scores) == 3 and all(f'{mean} ± {spread}' in config for mean, spread in scores)
