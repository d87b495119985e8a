"""A name that is nearly a key is refused, with the key, whether the key itself is there or not; a variable is not."""
from pathlib import Path

import pytest
from base_config import changed, faults_of

from ftcls.config.loading import load_config
from ftcls.config.validation import validate_config
from ftcls.utils import ConfigError

ROOT = Path(__file__).resolve().parents[2]
BASE = "_base_ = 'ftcls::tutorial/lenet5_pretrain_digits.py'\n"


def written(folder: Path, text: str, name: str = 'child.py') -> Path:
    (folder / name).write_text(text, encoding='utf-8')
    return folder / name


@pytest.mark.parametrize(('text', 'name', 'right'), [
    ("optim_wraper = dict(optimizer=dict(lr=0.5))", 'optim_wraper', 'optim_wrapper'),
    ("train_cgf = dict(max_epochs=3)", 'train_cgf', 'train_cfg'),
    ("Model = dict(head=dict(topk=(1, )))", 'Model', 'model'),
    ("custom_hook = [dict(type='EMAHook')]", 'custom_hook', 'custom_hooks'),
    ("work_dirs = 'here'", 'work_dirs', 'work_dir'),
    ("resum = True", 'resum', 'resume'),
    ("_bases_ = ['x.py']", '_bases_', '_base_'),
    ("randomnes: dict = dict(seed=3)", 'randomnes', 'randomness'),
    ("# optim_wraper is not a use of it\noptim_wraper = dict()", 'optim_wraper', 'optim_wrapper'),
])
def test_beside_the_right_key(tmp_path: Path, text: str, name: str, right: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate_config(load_config(written(tmp_path, BASE + text)))
    assert f'{name}: nothing reads this name; did you mean {right!r}?' in str(caught.value)


def test_in_a_base_and_in_json(tmp_path: Path) -> None:
    written(tmp_path, BASE + 'optim_wraper = dict()', 'middle.py')
    json = written(tmp_path, '{"_base_": "ftcls::tutorial/lenet5_pretrain_digits.py", "train_cgf": {"max_epochs": 1}}',
                   'child.json')
    for path in (written(tmp_path, "_base_ = 'middle.py'"), json):
        with pytest.raises(ConfigError, match='nothing reads this name; did you mean'):
            validate_config(load_config(path))


@pytest.mark.parametrize('text', [
    "optim_wrappers = dict(a=dict(optimizer=dict(lr=0.1)))\noptim_wrapper = optim_wrappers['a']",
    "models = dict(head=dict(topk=(1, )))\nmodel = dict(**models)",
    "launchers = 2\ntrain_cfg = dict(max_epochs=1 + launchers)",
    "resum = 'x'\ndef name():\n    return resum\nwork_dir = name()",
    "pipelines = []",
    "max_epochs = 3",
])
def test_variables_that_are_used_or_like_no_key_are_fine(tmp_path: Path, text: str) -> None:
    validate_config(load_config(written(tmp_path, BASE + text)))


def test_a_variable_that_a_child_uses_is_fine(tmp_path: Path) -> None:
    written(tmp_path, BASE + 'arm = dict(max_epochs=7)', 'middle.py')
    child = written(tmp_path, "_base_ = 'middle.py'\ntrain_cfg = {{_base_.arm}}")
    assert load_config(child).train_cfg.max_epochs == 7
    validate_config(load_config(child))
    validate_config(load_config(written(tmp_path, "_base_ = 'middle.py'\ntrain_cfg = _base_.arm")))


@pytest.mark.parametrize(('path', 'value', 'said'), [
    ('default_hooks.checkpont', dict(type='CheckpointHook', interval=2), "did you mean 'checkpoint'?"),
    ('default_hooks.check_point', dict(type='CheckpointHook'), "did you mean 'checkpoint'?"),
    ('default_hooks.loger', dict(type='LoggerHook'), "did you mean 'logger'?"),
    ('default_hooks.Timer', dict(type='IterTimerHook'), "did you mean 'timer'?"),
    ('default_hooks.param_schedulers', dict(type='ParamSchedulerHook'), "did you mean 'param_scheduler'?"),
    ('train_cfg.max_epoch', 3, "did you mean 'max_epochs'"),
    ('train_cfg.val_intervall', 3, "did you mean 'val_interval'"),
    ('env_cfg.cudnn_benchmrk', True, "did you mean 'cudnn_benchmark'"),
    ('env_cfg.mp_cfg.opencv_num_thread', 1, "did you mean 'opencv_num_threads'"),
    ('randomness.sead', 1, "did you mean 'seed'"),
    ('optim_wrapper.clip_gard', dict(max_norm=1.), "did you mean 'clip_grad'"),
    ('optim_wrapper.optimiser', dict(type='SGD', lr=0.1), "did you mean 'optimizer'"),
    ('optim_wrapper.paramwise_cgf', dict(), "did you mean 'paramwise_cfg'"),
    ('optim_wrapper.optimizer.momentun', 0.9, "did you mean 'momentum'"),
    ('train_dataloader.batchsize', 3, "did you mean 'batch_size'"),
    ('train_dataloader.num_worker', 3, "did you mean 'num_workers'"),
    ('train_dataloader._delete', True, "did you mean '_delete_'?"),
    ('optim_wrapper.paramwise_cfg', dict(_delete=True), "did you mean '_delete_'?"),
    ('model.head._deleted_', True, "did you mean '_delete_'?"),
    ('model.head._scop_', 'mmengine', "did you mean '_scope_'?"),
    ('train_dataloader.dataset.metainfo', dict(clases=['a']), "did you mean 'classes'?"),
    ('env_cfg.dist_cfg', dict(backendd='gloo'), "did you mean 'backend'?"),
    ('compile', dict(bakend='eager'), "did you mean 'backend'?"),
    ('auto_scale_lr.base_batchsize', 4, "did you mean 'base_batch_size'"),
])
def test_inside_of_a_key(path: str, value: object, said: str) -> None:
    faults = faults_of(changed({path: value}))
    assert any(fault.startswith(path) and said in fault for fault in faults), faults


def test_other_hooks_are_no_near_misses() -> None:
    hooks = dict(visualization=dict(type='CurvesHook'), early_stopping=dict(type='EarlyStoppingHook', monitor='x'))
    validate_config(changed({f'default_hooks.{name}': hook for name, hook in hooks.items()}))


@pytest.mark.parametrize('path', sorted(ROOT.joinpath('configs').glob('*/*.py')), ids=lambda path: path.stem)
def test_shipped_configs_have_none(path: Path) -> None:
    if path.parent.name != '_base_':
        try:
            validate_config(load_config(path))
        except ConfigError as err:
            assert 'nothing reads' not in str(err)
