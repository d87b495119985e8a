"""Reading configs and overriding parts of them."""
import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import ConfigDict

from ftcls.config.loading import apply_overrides, config_folder, load_config, parse_value
from ftcls.utils import ConfigError, MissingFileError
from ftcls.utils.errors import OverrideError

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, **files: str) -> Path:
    """Write config files; returns the first one's path."""
    for name, text in files.items():
        (folder / f'{name}.py').write_text(text)
    return folder / f'{next(iter(files))}.py'


@pytest.mark.parametrize(('text', 'value'), [
    ('8', 8),
    ('1e-3', 1e-3),
    ('-2', -2),
    ('true', True),
    ('False', False),
    ('None', None),
    ('null', None),
    ('adam', 'adam'),
    ("'8'", '8'),
    ('a/b c.pth', 'a/b c.pth'),
    ('https://a.b/c-1.pth', 'https://a.b/c-1.pth'),
    ('1,2', [1, 2]),
    ('a,b', ['a', 'b']),
    ('[1, 2]', [1, 2]),
    ('(1, 2)', (1, 2)),
    ('[a,[b,1]]', ['a', ['b', 1]]),
    ('[(1,2),(3,4)]', [(1, 2), (3, 4)]),
    ('{"a": 1}', {
        'a': 1
    }),
    ('dict(type="SGD", lr=0.1)', {
        'type': 'SGD',
        'lr': 0.1
    }),
    ("dict({'^head': dict(lr_mult=10)}, a=1)", {
        '^head': {
            'lr_mult': 10
        },
        'a': 1
    }),
    ("dict({'a': 1}, b)", "dict({'a': 1}, b)"),
    ("dict(**{'a': 1})", "dict(**{'a': 1})"),
    ('[dict(type="A"), true]', [{
        'type': 'A'
    }, True]),
    ('', ''),
    ('a=b', 'a=b'),
])
def test_command_line_values_keep_their_type(text, value):
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_bases_are_merged_and_lists_reached(tmp_path):
    path = write(
        tmp_path,
        child="_base_ = './base.py'\nmodel = dict(a=2)\n",
        base="model = dict(a=1, b=[dict(c=1), dict(c=2)])\n")
    cfg = load_config(path, ['model.b.1.c=7', 'model.b.0.d=[1,2]', 'model.new.deep=x'])
    assert cfg.model == dict(a=2, b=[dict(c=1, d=[1, 2]), dict(c=7)], new=dict(deep='x'))


def test_a_component_takes_the_place_of_several(tmp_path):
    path = write(tmp_path, a="model = dict(loss=[dict(type='A'), dict(type='B', c=2)])\n")
    assert load_config(path, ["model.loss=dict(type='C')"]).model.loss == dict(type='C')
    assert load_config(path, ['model.loss=[dict(type="C")]']).model.loss == [dict(type='C')]
    assert load_config(path, ['model.loss.1.type=D']).model.loss[1] == dict(type='D', c=2)


def test_an_index_behind_the_end_of_a_list_that_another_override_shortens(tmp_path):
    path = write(tmp_path, a='model = dict(b=[dict(c=1), dict(c=2)])\n')
    with pytest.raises(ConfigError, match=r'cannot set model\.b\.1\.c'):
        load_config(path, {'model.b': [dict(c=1)], 'model.b.1.c': 3})


def test_an_import_before_base_is_no_lazy_config(tmp_path):
    path = write(
        tmp_path,
        child="import os\n_base_ = './base.py'\nlog_level = os.path.basename('x/INFO')\n",
        base='model = dict(a=1)\n')
    cfg = load_config(path)
    assert (cfg.model.a, cfg.log_level) == (1, 'INFO')


@pytest.mark.parametrize(('override', 'parts'), [
    ('modle.a=1', ["'modle'", "'model'"]),
    ('model.b.5.c=1', ['model.b has the indices 0 to 1', "'5'", '0 to 1']),
    ('model.b.x=1', ['model.b has the indices 0 to 1']),
    ('model.a.x=1', ['model.a is the int 1']),
    ('model.a', ['key=value']),
    ('train_pipeline.0.c=1', ['would change nothing', 'train_dataloader.dataset.pipeline.0.c']),
    ('rate=2', ["'rate' is a variable", 'optim_wrapper.optimizer.lr']),
])
def test_overrides_that_lead_nowhere_are_refused(tmp_path, override, parts):
    path = write(
        tmp_path,
        cfg='rate = 0.25\nmodel = dict(a=1, b=[dict(c=1), dict(c=2)])\ntrain_pipeline = [dict(c=3)]\n'
        'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))\n'
        'optim_wrapper = dict(optimizer=dict(lr=rate))\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path, [override])
    for part in parts:
        assert part in str(caught.value)


def test_broken_config_files_are_named_with_their_line(tmp_path):
    with pytest.raises(MissingFileError, match=r'lenet\.py does not exist.*lenet5\.py'):
        write(tmp_path, lenet5='model = 1\n')
        load_config(tmp_path / 'lenet.py')
    with pytest.raises(MissingFileError, match=r"gone\.py \(a `_base_` of .*child\.py\) does not exist"):
        load_config(write(tmp_path, child="_base_ = './gone.py'\n"))
    with pytest.raises(MissingFileError, match="did you mean 'ftcls::_base_/models/resnet18.py'"):
        load_config(write(tmp_path, child="_base_ = '../_base_/models/resnet18.py'\n"))
    with pytest.raises(ConfigError, match=r'circular `_base_`: a\.py -> b\.py -> a\.py'):
        load_config(write(tmp_path, a="_base_ = './b.py'\n", b="_base_ = ['./a.py']\n"))
    with pytest.raises(ConfigError, match=r'bad\.py, line 2: syntax error: .*model = dict\(a=1'):
        load_config(write(tmp_path, bad='x = 1\nmodel = dict(a=1\n'))
    with pytest.raises(ConfigError, match=r'name\.py, line 2: NameError: .*undefined_name'):
        load_config(write(tmp_path, name='x = 1\nmodel = undefined_name\n'))
    with pytest.raises(ConfigError, match=r'base\.py, line 1: ZeroDivisionError'):
        load_config(write(tmp_path, child="_base_ = './base.py'\n", base='model = 1 / 0\n'))
    with pytest.raises(MissingFileError, match='is a folder'):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match='_base_.*plain string'):
        load_config(write(tmp_path, dyn="_base_ = 'a' + str(1)\n"))
    with pytest.raises(ConfigError, match=r'[Dd]uplicate'):
        load_config(
            write(tmp_path, two="_base_ = ['./x.py', './y.py']\n", x='model = dict(a=1)\n', y='model = dict(a=2)\n'))


def test_a_variable_of_a_base_that_changes_nothing_is_refused(tmp_path):
    base = 'rate = 0.25\npipeline = [dict(c=3)]\nx = dict(lr=rate)\n' \
           'train_dataloader = dict(dataset=dict(pipeline=pipeline))\n'
    idle = "_base_ = './base.py'\n\npipeline = [dict(c=4)]\n"
    with pytest.raises(
            ConfigError, match=r"child\.py, line 3: 'pipeline' .*base\.py.*train_dataloader\.dataset\.pipeline"):
        load_config(write(tmp_path, child=idle, base=base))
    used = load_config(
        write(tmp_path, child=idle + 'train_dataloader = dict(dataset=dict(pipeline=pipeline))\n', base=base))
    assert used.train_dataloader.dataset.pipeline == [dict(c=4)]
    load_config(write(tmp_path, child="_base_ = './base.py'\nrate = 0.25\nown = 3\n", base=base))


def test_a_base_that_comes_with_ftcls_is_found_from_anywhere(tmp_path):
    child = "_base_ = ['ftcls::_base_/models/lenet5.py']\nmodel = dict(head=dict(num_classes=3))\n"
    cfg = load_config(write(tmp_path, child=child), ['model.backbone.in_channels=3'])
    expected = load_config(config_folder() / '_base_/models/lenet5.py').model
    expected.head.num_classes = expected.backbone.in_channels = 3
    assert cfg.model == expected
    assert '_scope_' not in str(cfg)


def test_a_config_that_comes_with_ftcls_is_loaded_by_its_name():
    cfg = load_config('ftcls::tutorial/lenet5_pretrain_digits.py')
    assert cfg.pretty_text == load_config(config_folder() / 'tutorial/lenet5_pretrain_digits.py').pretty_text


def test_a_wrong_name_of_a_shipped_config_gives_the_nearest(tmp_path):
    with pytest.raises(
            MissingFileError, match=r"ftcls::tutorial/lenet_pretrain.*'tutorial/lenet5_pretrain_digits\.py'"):
        load_config('ftcls::tutorial/lenet_pretrain_digits.py')
    with pytest.raises(MissingFileError, match=r"ftcls::_base_/models/resnet5\.py.*'_base_/models/resnet50\.py'"):
        load_config(write(tmp_path, child="_base_ = 'ftcls::_base_/models/resnet5.py'\n"))


def test_shipped_configs_are_found_in_a_wheel(tmp_path):
    """The files are where setup.py puts them: the configs inside the package, no checkout around it."""
    package = tmp_path / 'ftcls'
    shutil.copytree(ROOT / 'ftcls', package, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copytree(ROOT / 'configs', package / 'configs')
    code = "from ftcls.config.loading import load_config; print(load_config('ftcls::_base_/models/unet.py').filename)"
    environment = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    out = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert Path(out.stdout.decode().strip()) == package / 'configs/_base_/models/unet.py'


BASE = """
model = dict(head=dict(type='LinearClsHead', num_classes=2, in_channels=4, topk=(1, ),
                       loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1)), mean=[1.0, 2.0])
train_dataloader = dict(
    batch_size=2, collate_fn=dict(type='default_collate'), sampler=dict(type='DefaultSampler'), num_workers=2,
    dataset=dict(type='CustomDataset', split='train', val_fraction=0.3, split_seed=4, exclude='a'))
optim_wrapper = dict(type='OptimWrapper', clip_grad=dict(max_norm=1), constructor='X', optimizer=dict(type='SGD', lr=1))
param_scheduler = [dict(type='LinearLR', end=3), dict(type='StepLR', step_size=2)]
custom_hooks = [dict(type='CurvesHook')]
log_level = 'DEBUG'
env_cfg = dict(cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork'))
"""


@pytest.mark.parametrize(
    'path, value',
    [
        ('train_dataloader.dataset.val_fraction', None),  # takes None
        ('train_dataloader.dataset.exclude', 'absent'),
        ('train_dataloader.dataset.split_seed', 'absent'),
        ('train_dataloader.collate_fn', 'absent'),
        ('train_dataloader.sampler', 'absent'),
        ('train_dataloader.num_workers', 'absent'),
        ('optim_wrapper.clip_grad', None),
        ('optim_wrapper.constructor', 'absent'),
        ('optim_wrapper.optimizer.momentum', 'absent'),
        ('optim_wrapper.optimizer.foreach', None),
        ('model.head.topk', 'absent'),
        ('model.head.num_classes', None),  # required: the check refuses it
        ('model.head.loss', None),
        ('env_cfg.mp_cfg', 'absent'),
        ('log_level', 'absent'),
        ('custom_hooks', None),
    ])
def test_none_takes_back_what_a_base_sets(tmp_path, path, value):
    write(tmp_path, base=BASE)
    lines = ['_base_ = "./base.py"']
    top, *keys = path.split('.')
    text = 'None'
    for key in reversed(keys):
        text = f'dict({key}={text})'
    child = write(tmp_path, child='\n'.join([*lines, f'{top} = {text}\n']))
    for cfg in (load_config(child), load_config(tmp_path / 'base.py', [f'{path}=None'])):
        node = cfg
        for key in [top, *keys][:-1]:
            node = node[key]
        assert node.get(path.rpartition('.')[2], 'absent') == value


@pytest.mark.parametrize(('override', 'hint'), [
    ('step_size=3', "'param_scheduler.1.step_size'"),
    ('optimizer.lr=1', "'optim_wrapper.optimizer.lr'"),
    ('modle.type=1', "'model'"),
])
def test_a_key_without_its_path_is_answered_with_the_path(tmp_path, override, hint):
    key = override.split('.')[0].split('=')[0]
    with pytest.raises(ConfigError, match=f"the config has no key '{key}'; did you mean {hint}"):
        load_config(write(tmp_path, base=BASE), [override])


def test_overrides_that_fit_are_set_beside_those_that_do_not(tmp_path):
    with pytest.raises(OverrideError, match="(?s)no key 'foo'.*mean.3.* the indices 0 to 1") as caught:
        load_config(write(tmp_path, base=BASE), ['foo=1', 'model.mean.3=1', 'model.mean.1=3'])
    assert caught.value.cfg.model.mean == [1.0, 3]


def test_no_split_needs_no_fraction(tmp_path):
    cfg = load_config(write(tmp_path, base=BASE), ['train_dataloader.dataset.split=None'])
    assert cfg.train_dataloader.dataset == dict(type='CustomDataset', split=None, exclude='a')


def test_none_in_a_list_removes_a_component(tmp_path):
    cfg = load_config(write(tmp_path, base=BASE), ['param_scheduler.0=None', 'model.mean.1=3'])
    assert cfg.param_scheduler == [dict(type='StepLR', step_size=2)] and cfg.model.mean == [1.0, 3]


def test_none_may_empty_a_list(tmp_path):
    cfg = load_config(write(tmp_path, base=BASE), ['custom_hooks=[dict(type="EMAHook")]', 'custom_hooks.0=None'])
    assert cfg.custom_hooks == []


def test_the_overrides_of_arms_are_left_as_they_are(tmp_path):
    arms = {'a': {'optim_wrapper.optimizer': dict(_delete_=True, type='SGD', lr=None), 'param_scheduler': [None]}}
    assert load_config(write(tmp_path, child=f'_base_ = "./base.py"\narms = {arms}\n', base=BASE)).arms == arms


def test_overrides_are_left_as_they_are(tmp_path):
    cfg = load_config(write(tmp_path, base=BASE))
    whole = ConfigDict(type='Adam', lr=None, _delete_=True)
    overrides = {'optim_wrapper.optimizer': whole, 'param_scheduler': [None], 'model.mean': [1.0, 3]}
    before = copy.deepcopy(overrides)
    for _ in range(2):
        apply_overrides(copy.deepcopy(cfg), overrides)
        assert overrides == before


@pytest.mark.parametrize('overrides', [
    ['param_scheduler.0.type=StepLR', 'param_scheduler.0._delete_=True', 'param_scheduler.0.step_size=5'],
    ['param_scheduler.0=dict(_delete_=True,type="StepLR",step_size=5)'],
    ['param_scheduler=[dict(_delete_=True,type="StepLR",step_size=5),dict(_delete_=False,type="StepLR",step_size=2)]'],
])
def test_delete_reaches_lists(tmp_path, overrides):
    cfg = load_config(write(tmp_path, base=BASE), overrides)
    assert cfg.param_scheduler == [dict(type='StepLR', step_size=5), dict(type='StepLR', step_size=2)]


def test_delete_in_a_file(tmp_path):
    child = "_base_ = './base.py'\ncustom_hooks = [dict(_delete_=True, type='EMAHook')]\n" \
        "optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam'))\n"
    cfg = load_config(write(tmp_path, child=child, base=BASE))
    assert cfg.custom_hooks == [dict(type='EMAHook')] and cfg.optim_wrapper.optimizer == dict(type='Adam')


def test_delete_of_all_leaves_nothing(tmp_path):
    cfg = load_config(write(tmp_path, base=BASE), ['param_scheduler.0._delete_=True'])
    assert cfg.param_scheduler[0] == {}  # the check asks for its type


def test_an_import_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'broken_parts.py').write_text('import no_such_library')
    (tmp_path / 'config.py').write_text("custom_imports = dict(imports=['broken_parts'])")
    with pytest.raises(ConfigError, match=r"import broken_parts \(No module named 'no_such_library'\); .*PYTHONPATH"):
        load_config(tmp_path / 'config.py')
