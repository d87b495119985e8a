"""Configs as mmpretrain's users write them: classes as types, ``with read_base()``, plain dicts, names, old keys."""
from pathlib import Path

import pytest
from mmengine.config import Config

from ftcls.apis import list_models, load_config
from ftcls.config.validation import validate_config
from ftcls.utils import ConfigError, MissingFileError

BASE = """
from torch.optim import SGD

from ftcls.datasets import CustomDataset
from ftcls.datasets.transforms import LoadImageFromFile, PackInputs, Resize
from ftcls.models.backbones import ResNet
from ftcls.models.classifiers import ImageClassifier
from ftcls.models.heads import LinearClsHead
from ftcls.models.losses import CrossEntropyLoss
from ftcls.models.necks import GlobalAveragePooling

model = dict(
    type=ImageClassifier,
    backbone=dict(type=ResNet, depth=18),
    neck=dict(type=GlobalAveragePooling),
    head=dict(type=LinearClsHead, num_classes=1000, in_channels=512, loss=dict(type=CrossEntropyLoss)))
train_pipeline = [dict(type=LoadImageFromFile), dict(type=Resize, scale=32), dict(type=PackInputs)]
train_dataloader = dict(
    batch_size=4, num_workers=0, dataset=dict(type=CustomDataset, data_root='data', pipeline=train_pipeline))
train_cfg = dict(by_epoch=True, max_epochs=3)
optim_wrapper = dict(optimizer=dict(type=SGD, lr=0.1))
"""
LAZY = """
from mmengine.config import read_base

with read_base():
    from .base import *

from ftcls.engine.hooks import EMAHook

model.update(dict(head=dict(num_classes=3)))
custom_hooks = [dict(type=EMAHook, momentum=0.01)]
"""
USUAL = """
_base_ = './base.py'
model = dict(head=dict(num_classes=3))
custom_hooks = [dict(type='EMAHook', momentum=0.01)]
"""


def write(folder: Path, **files: str) -> Path:
    """Write ``<name>.py`` files; return the first."""
    for name, text in files.items():
        (folder / f'{name}.py').write_text(text, encoding='utf-8')
    return folder / f'{next(iter(files))}.py'


def test_classes_become_their_names(tmp_path):
    """Both styles give the same config, which can be written, read again and checked."""
    lazy = load_config(write(tmp_path, lazy=LAZY, base=BASE))
    assert lazy.model.backbone == dict(type='ResNet', depth=18)
    assert lazy.optim_wrapper.optimizer.type == 'SGD'
    assert lazy._cfg_dict == load_config(write(tmp_path, usual=USUAL))._cfg_dict
    validate_config(lazy)
    lazy.dump(tmp_path / 'dumped.py')
    assert load_config(tmp_path / 'dumped.py')._cfg_dict == lazy._cfg_dict
    assert load_config(tmp_path / 'lazy.py',
                       ['model.backbone.depth=34', 'optim_wrapper.optimizer.lr=1']).model.backbone.depth == 34


def test_what_is_not_ours_keeps_its_path(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, own_parts='from ftcls.models.backbones import LeNet5\nclass Own(LeNet5):\n    pass\nRATE = 0.5\n')
    cfg = load_config(
        write(
            tmp_path,
            mine=LAZY + 'from own_parts import RATE, Own\nmodel.backbone = dict(type=Own)\nrate = RATE\n',
            base=BASE))
    assert cfg.model.backbone.type == 'own_parts.Own'
    assert cfg.rate == 0.5


@pytest.mark.parametrize(('text', 'said'), [
    (LAZY + "train_pipeline = [dict(type='PackInputs')]",
     r"line \d+: 'train_pipeline' .*train_dataloader\.dataset\.pipeline"),
    ('with read_base():\n    from .gone import *', r'gone\.py .*does not exist'),
    ('with read_base():\n    from .child import *', 'circular `_base_`'),
    ('with read_base():\n    from no_such_package.configs.x import *', 'no_such_package is not installed'),
    (LAZY + 'from no_such_package.models import X\nmodel.backbone = dict(type=X)', 'no_such_package'),
])
def test_lazy_configs_are_refused_like_others(tmp_path, text, said):
    with pytest.raises((ConfigError, MissingFileError), match=said):
        load_config(write(tmp_path, child=text, base=BASE))


def test_faults_of_a_lazy_config_have_their_path(tmp_path):
    cfg = load_config(write(tmp_path, child=f'{LAZY}\nmodel.backbone.dept = 18\n', base=BASE))
    with pytest.raises(ConfigError, match="model.backbone.dept: ResNet takes no argument 'dept'; did you mean 'depth'"):
        validate_config(cfg)


def test_bases_come_from_the_configs_of_ftcls(tmp_path, log_records):
    lazy = 'from mmengine.config import read_base\nwith read_base():\n    from ftcls.configs._base_.models.resnet18 import *\n'
    usual = "_base_ = 'mmpretrain::_base_/models/resnet18.py'\n"
    expected = load_config('ftcls::_base_/models/resnet18.py')
    assert load_config(write(tmp_path, lazy=lazy)).model == load_config(write(tmp_path,
                                                                              usual=usual)).model == expected.model
    assert [text for _, text in log_records if 'mmpretrain::_base_/models/resnet18.py is read from' in text]
    with pytest.raises(MissingFileError, match="did you mean '_base_/models/resnet18.py'"):
        load_config(write(tmp_path, usual="_base_ = 'mmpretrain::_base_/models/resnet8.py'\n"))


def test_classes_of_mmpretrain_are_read_as_ours(tmp_path, log_records):
    theirs = [text.replace('from ftcls.', 'from mmpretrain.') for text in (LAZY, BASE)]
    cfg = load_config(write(tmp_path, lazy=theirs[0].replace('engine.hooks', 'engine'), base=theirs[1]))
    assert cfg._cfg_dict == load_config(write(tmp_path, usual=USUAL, base=BASE))._cfg_dict
    assert 'mmpretrain.engine.EMAHook is read as ftcls.engine.EMAHook' in [text for _, text in log_records]
    with pytest.raises(ConfigError, match='ftcls.models.NoSuchNet does not exist'):
        load_config(write(tmp_path, lazy=LAZY + 'from mmcls.models import NoSuchNet\nmodel.update(type=NoSuchNet)\n'))


def test_styles_are_not_mixed_and_data_runs_no_python(tmp_path):
    with pytest.raises(ConfigError, match='lazy.py: has `with read_base'):
        load_config(write(tmp_path, child="_base_ = './lazy.py'\n", lazy=LAZY, base=BASE))
    data = tmp_path / 'data.json'
    data.write_text('{"_base_": "mmpretrain::_base_/models/resnet18.py"}')
    with pytest.raises(ConfigError, match='mmpretrain::_base_/models/resnet18.py.* is Python, which would be run'):
        load_config(data)


def test_a_config_by_its_name():
    assert load_config('resnet50_8xb32_in1k').filename.endswith('configs/resnet/resnet50_8xb32_in1k.py')
    assert 'resnet50_8xb32_in1k' in list_models()
    with pytest.raises(MissingFileError, match="'resnet50_8xb32_in1k'"):
        load_config('resnet50_8xb23_in1k')


def test_a_dict_is_a_config():
    from ftcls.models.backbones import LeNet5
    cfg = load_config(
        dict(model=dict(type='ImageClassifier', backbone=dict(type=LeNet5))), ['model.backbone.num_classes=3'])
    assert isinstance(cfg, Config)
    assert cfg.model.backbone == dict(type='LeNet5', num_classes=3)
    with pytest.raises(ConfigError, match='_base_'):
        load_config(dict(_base_='x.py'))
    with pytest.raises(ConfigError, match="model.backbone.num_clases: .*'num_classes'"):
        validate_config(dict(model=dict(type='ImageClassifier', backbone=dict(type=LeNet5, num_clases=3))))


@pytest.mark.parametrize(('old', 'today'), [
    ('data = dict(samples_per_gpu=32)', 'data: .*train_dataloader'),
    ("optimizer = dict(type='SGD', lr=0.1)", 'optimizer: .*optim_wrapper'),
    ("runner = dict(type='EpochBasedRunner', max_epochs=3)", 'runner: .*train_cfg'),
    ("lr_config = dict(policy='step', step=[3])", 'lr_config: .*param_scheduler'),
])
def test_old_keys_name_the_new_ones(tmp_path, old, today):
    cfg = load_config(write(tmp_path, child=f'{USUAL}\n{old}\n', base=BASE))
    with pytest.raises(ConfigError, match=today):
        validate_config(cfg)


def test_an_optimizer_that_is_a_variable_is_no_old_key(tmp_path):
    text = "optimizer = dict(type='Adam', lr=0.1)\noptim_wrapper = dict(optimizer=dict(_delete_=True, **optimizer))\n"
    validate_config(load_config(write(tmp_path, child=USUAL + text, base=BASE)))


def test_the_style_of_the_peer_passes(tmp_path):
    """What mmpretrain's base files have: hooks, scope, visualizer, loops without data."""
    runtime = """
default_scope = 'mmpretrain'
default_hooks = dict(
    timer=dict(type='IterTimerHook'), logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'), checkpoint=dict(type='CheckpointHook', interval=1),
    sampler_seed=dict(type='DistSamplerSeedHook'), visualization=dict(type='VisualizationHook', enable=False))
custom_hooks = [
    dict(type='ClassNumCheckHook'), dict(type='PreciseBNHook', num_samples=8192, interval=1, priority='ABOVE_NORMAL'),
    dict(type='EMAHook', momentum=1e-4, evaluate_on_origin=True, priority='ABOVE_NORMAL')]
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
val_cfg = dict()
test_cfg = dict()
model = dict(backbone=dict(type='mmpretrain.ResNet'))
optim_wrapper = dict(optimizer=dict(type='Lamb', lr=0.005, weight_decay=0.02))
"""
    validate_config(load_config(write(tmp_path, child="_base_ = './base.py'\n" + runtime, base=BASE)))
    faulty = runtime.replace('num_samples', 'number').replace('momentum=1e-4', 'evaluate_on_orign=True')
    cfg = load_config(write(tmp_path, child="_base_ = './base.py'\n" + faulty, base=BASE))
    with pytest.raises(ConfigError) as caught:
        validate_config(cfg)
    assert 'custom_hooks.1.number' in str(caught.value)
    assert 'custom_hooks.2.evaluate_on_orign' in str(caught.value)
