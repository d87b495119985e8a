"""Configs in JSON and YAML: what MMEngine writes is read again, types may name their scope, faults name their file."""
import gc
from pathlib import Path

import pytest

from ftcls.config.loading import load_config
from ftcls.config.validation import validate_config
from ftcls.utils import UserError
from ftcls.utils.tree import differences

SHIPPED = 'ftcls::tutorial/resnet50_finetune_cifar.py'


@pytest.mark.parametrize('suffix', ['json', 'yaml', 'yml'])
def test_a_dumped_config_is_read_again(tmp_path: Path, suffix: str) -> None:
    cfg = load_config(SHIPPED)
    cfg.dump(tmp_path / f'x.{suffix}')  # tuples are `!!python/tuple` in YAML
    again = load_config(tmp_path / f'x.{suffix}')
    validate_config(again)
    assert not list(differences(cfg.to_dict(), again.to_dict()))


def test_types_may_name_their_scope(tmp_path: Path) -> None:
    text = '{"_base_": "' + SHIPPED + '", "custom_hooks": [{"type": "mmengine.EMAHook"}, {"type": "ftcls.CurvesHook"}]}'
    (tmp_path / 'x.json').write_text(text)
    validate_config(load_config(tmp_path / 'x.json'))


@pytest.mark.filterwarnings('ignore')  # MMEngine leaves a file open after an error
@pytest.mark.parametrize(('name', 'text', 'said'), [
    ('x.json', '{"a": 1,}', 'cannot be read as json: Expecting property name'),
    ('x.json', '[1]', 'a config must be a dict, not a list'),
    ('x.yaml', 'a: [1', 'cannot be read as yaml: while parsing'),
    ('x.yaml', 'a: &b [*b]\nmodel: 1', 'x.yaml'),
])
def test_faults_name_the_file(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        validate_config(load_config(tmp_path / name))
    text = str(caught.value)
    del caught
    gc.collect()
    assert str(tmp_path / name) in text and said in text
