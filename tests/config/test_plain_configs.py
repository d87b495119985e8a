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


def test_python_configs_and_overrides_import_beside_a_json_config(tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path /
     'own_hooks_1.py').write_text('from mmengine.hooks import Hook\nclass A(Hook): pass\nclass B(Hook): pass\n')
    (tmp_path / 'x.json').write_text('{"_base_": "' + SHIPPED + '", "custom_hooks": [{"type": "own_hooks_1.A"}]}')
    (tmp_path / 'y.py').write_text(f"_base_ = '{SHIPPED}'\ncustom_hooks = [dict(type='own_hooks_1.B')]\n")
    with pytest.raises(UserError, match=r"custom_hooks.0.type: 'own_hooks_1.A' is not a registered hook; a JSON"):
        validate_config(load_config(tmp_path / 'x.json'))
    validate_config(load_config(tmp_path / 'y.py'))
    validate_config(load_config(tmp_path / 'x.json', {'custom_hooks': [dict(type='own_hooks_1.B')]}))


@pytest.mark.parametrize('base', ['{{$FTCLS_NONE:b.json}}', '{{ fileDirname }}/b.json'])
def test_bases_and_their_variables_in_json(tmp_path: Path, base: str) -> None:
    (tmp_path / 'b.json').write_text('{"_base_": "' + SHIPPED + '", "x": {"max_epochs": 3, "by_epoch": true}}')
    (tmp_path / 'x.json').write_text('{"_base_": "' + base + '", "train_cfg": {{_base_.x}}}')
    assert load_config(tmp_path / 'x.json').train_cfg.max_epochs == 3
    (tmp_path / 'x.py').write_text(f"_base_ = '{base}'\ntrain_cfg = _base_.x\n")
    assert load_config(tmp_path / 'x.py').train_cfg.max_epochs == 3


def test_the_environment_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MMEngine takes a default for a regular expression."""
    monkeypatch.setenv('FTCLS_ROOT', 'C:\\data')
    monkeypatch.delenv('FTCLS_NONE', raising=False)
    (tmp_path /
     'x.py').write_text("a = {{'$FTCLS_NONE:[1,2]'}}\nb = r'{{$FTCLS_ROOT:x}}'\nc = '{{ $FTCLS_NONE : a(b }}'\n")
    cfg = load_config(tmp_path / 'x.py')
    assert (cfg.a, cfg.b, cfg.c) == ([1, 2], 'C:\\data', 'a(b')
    (tmp_path / 'x.py').write_text("a = '{{$FTCLS_NONE:}}'\n")
    with pytest.raises(UserError, match='FTCLS_NONE is not in the environment; set it, or give a default'):
        load_config(tmp_path / 'x.py')


@pytest.mark.filterwarnings('ignore')  # MMEngine leaves a file open after an error
@pytest.mark.parametrize(('name', 'text', 'said'), [
    ('x.json', '{"a": 1,}', 'cannot be read as json: Expecting property name'),
    ('x.json', '{"a": 1, "b": {"lr": 1, "lr": 2}}', "the key 'lr' is given twice"),
    ('x.yaml', 'lr: 1\nlr: 2', "the key 'lr' is given twice"),
    ('x.json', '[1]', 'a config must be a dict, not a list'),
    ('x.yaml', 'a: [1', 'cannot be read as yaml: while parsing'),
    ('x.json', '{"_base_": 5}', '`_base_` must be a plain string or a list of them'),
    ('x.json', '{"_base_": "x.json"}', 'circular `_base_`'),
    ('x.json', '{"_base_": "z.json"}', 'z.json" does not exist'),
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
