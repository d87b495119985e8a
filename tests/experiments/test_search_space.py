"""What a search draws from: read, checked against the config, put into it."""
import json
from pathlib import Path

import pytest
from mmengine.config import Config

from ftcls.apis import load_config, read_space
from ftcls.experiments.search_space import Dimension, check_space, with_values
from ftcls.utils import ConfigError, MissingFileError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def cfg() -> Config:
    return load_config(ROOT / 'configs' / 'tutorial' / 'lenet5_finetune_digits.py')


@pytest.mark.parametrize('text, wanted', [
    ('uniform(0, 0.5)', Dimension('a', 'uniform', 0, 0.5)),
    (' loguniform( 1e-4,1e-1)', Dimension('a', 'loguniform', 1e-4, 1e-1)),
    ('int(-1,3)', Dimension('a', 'int', -1, 3)),
    ("choice(SGD, [1, 2], dict(type='Adam', lr=0.1), None)",
     Dimension('a', 'choice', choices=('SGD', '[1, 2]', "dict(type='Adam', lr=0.1)", 'None'))),
])
def test_distributions(text: str, wanted: Dimension) -> None:
    assert Dimension.parse('a', text) == wanted


def test_choices_become_values() -> None:
    dimension = Dimension.parse('a', "choice(SGD, [1, 2], dict(type='Adam', lr=0.1), None, 0.5)")
    assert [dimension.value(c) for c in dimension.choices] == ['SGD', [1, 2], dict(type='Adam', lr=0.1), None, 0.5]


@pytest.mark.parametrize('text, said', [
    ('lognuiform(1,2)', "did you mean 'loguniform'"),
    ('0.1', 'expected one of uniform'),
    ('uniform(1)', 'least and the greatest number'),
    ('int(0.5,2)', 'whole number'),
    ('uniform(2,1)', 'first number must be below'),
    ('loguniform(0,1)', 'numbers above 0'),
    ('choice(a)', 'at least two values'),
    ('choice(a,a)', 'each once'),
    ('choice(a,b=1)', 'without names'),
    ('choice(a,)b)', 'cannot be read'),
])
def test_what_is_no_distribution(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Dimension.parse('a', text)


def test_files(tmp_path: Path) -> None:
    content = {'optim_wrapper.optimizer.lr': 'loguniform(1e-4, 1e-1)', 'train_dataloader.batch_size': 'choice(8, 16)'}
    (tmp_path / 's.json').write_text(json.dumps(content))
    (tmp_path / 's.py').write_text(f'space = {content}\n')
    from_json, from_py = ([str(d) for d in read_space([str(tmp_path / name)])] for name in ('s.json', 's.py'))
    assert from_json == from_py == [
        f'{key}={text.replace("1e-4, 1e-1", "0.0001, 0.1")}' for key, text in content.items()
    ]
    with pytest.raises(MissingFileError, match='no such file'):
        read_space([str(tmp_path / 'absent.py')])
    (tmp_path / 't.py').write_text('spaces = {}\n')
    with pytest.raises(ConfigError, match='must hold space'):
        read_space([str(tmp_path / 't.py')])
    with pytest.raises(ConfigError, match='is given twice'):
        read_space(['a=int(1,2)', 'a=int(1,3)'])


def test_values_go_into_a_copy(cfg: Config) -> None:
    space = read_space(
        ['optim_wrapper.optimizer.lr=uniform(0,1)', 'train_dataloader.batch_size&val_dataloader.batch_size=int(2,9)'])
    new = with_values(cfg, {space[0].key: 0.25, space[1].key: 7}, space)
    assert (new.optim_wrapper.optimizer.lr, new.train_dataloader.batch_size, new.val_dataloader.batch_size) == (0.25, 7,
                                                                                                                7)
    assert cfg.optim_wrapper.optimizer.lr != 0.25


@pytest.mark.parametrize('item, said', [
    ('optim_wrapper.optimiser.lr=uniform(0,1)', "optimiser.*did you mean 'optimizer"),
    ('modelx.backbone.depth=choice(1,2)', "--space modelx.*did you mean 'model'"),
    ('optim_wrapper.optimizer.type=choice(SGD, Adamm)', "Adamm.*did you mean 'Adam"),
    ('train_dataloader.batch_size=int(0,8)', 'train_dataloader.batch_size'),
])
def test_keys_and_values_are_checked_before_the_first_trial(cfg: Config, item: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_space(cfg, read_space([item]))
