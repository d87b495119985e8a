"""From a folder to a config: what is found, what is written, and that it runs."""
import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ftcls.apis import TrainOptions, load_config, new_config, train
from ftcls.engine.hooks.speed import Layout
from ftcls.models.backbones import CifarResNet, TIMMBackbone
from ftcls.scaffold.budget import Pace, parse_time
from ftcls.scaffold.folder_report import report_folder
from ftcls.scaffold.hyperparameters import choose_hyperparameters, fit_time
from ftcls.scaffold.model_presets import make_preset
from ftcls.utils import CheckpointError, ConfigError, DataError, MissingFileError


def write_images(folder: Path, count: int, seed: int, size: tuple[int, int] = (40, 30)) -> None:
    """Write PNG files of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(folder / f'{i}.png')


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A tidy folder of two classes, and weights."""
    monkeypatch.chdir(tmp_path)
    for seed, (split, name, count) in enumerate([('train', 'ant', 8), ('train', 'bee', 8), ('val', 'ant', 3),
                                                 ('val', 'bee', 3)]):
        write_images(tmp_path / 'data' / split / name, count, seed)
    torch.save({f'module.{k}': v for k, v in CifarResNet(20).state_dict().items()}, tmp_path / 'weights.th')
    return tmp_path


def dry_run(path):
    train(
        load_config(path, ['train_dataloader.num_workers=0', 'val_dataloader.num_workers=0']),
        TrainOptions(dry_run=True))


def test_tidy_folder(place):
    done = new_config('data', 'my/own.py', weights='weights.th', device='cpu')
    cfg, text = load_config(done.path), done.path.read_text()
    assert cfg.model.backbone == dict(
        type='CifarResNet', depth=20, out_indices=(2, ), frozen_stages=1,
        init_cfg=dict(type='Pretrained', checkpoint='weights.th'))  # yapf: disable
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 2
    assert (cfg.train_dataloader.batch_size, cfg.train_cfg.max_epochs) == (4, 125)  # 500 steps of 4 pictures
    assert cfg.train_dataloader.dataset.data_prefix == 'train' and cfg.val_dataloader.dataset.data_prefix == 'val'
    assert cfg.test_dataloader == cfg.val_dataloader and 'classes' not in cfg.train_dataloader.dataset
    assert cfg.randomness.seed == 0 and 'exclude' not in text and 'WARNING' not in text
    assert max(map(len, text.splitlines())) <= 120
    # it can be given to others: no path of this machine
    assert 'ftcls::_base_/models/cifar_resnet20.py' in text and str(Path(__file__).parents[2]) not in text
    # every chosen value stands under its reason
    for key in ('batch_size=4', 'lr=', 'weight_decay=', 'frozen_stages=', 'train_cfg = ', 'param_scheduler = '):
        lines = text.splitlines()
        at = next(i for i, line in enumerate(lines) if line.strip().startswith(key))
        assert lines[at - 1].strip().startswith('# '), key
    dry_run(done.path)


def test_messy_folder(place):
    data = place / 'data'
    (data / 'val').rename(data / 'Validation')
    write_images(data / 'train' / '.hidden', 2, 9)
    write_images(data / 'stray', 2, 10)
    write_images(data / 'Validation' / 'cat', 1, 11)
    (data / 'train' / 'cow').mkdir()
    (data / 'train' / 'ant' / 'notes.txt').write_text('none')
    (data / 'train' / 'ant' / 'fake.jpg').write_text('none')
    (data / 'train' / 'bee' / 'empty.png').touch()
    whole = (data / 'train' / 'bee' / '0.png').read_bytes()
    (data / 'train' / 'bee' / 'cut.png').write_bytes(whole[:len(whole) // 2])
    (data / 'Validation' / 'bee' / 'again.png').write_bytes(whole)
    (data / 'train' / 'ant' / 'bee.png').write_bytes(whole)
    done = new_config('data', 'my.py', weights='weights.th', device='cpu')
    said = '\n'.join(done.describe())
    for part in ("folder '.hidden' (1)", '*.txt (1)', 'ant/fake.jpg (is text', 'bee/empty.png (is empty (0 bytes))',
                 'bee/cut.png (', 'does not have the class: cat', 'left out: stray', 'left out: cow',
                 'another label or mask (leave the wrong one out with exclude=[…]): ',
                 'sides from 30 to 40 pixels, median area', 'train/ant/bee.png = Validation/bee/again.png',
                 'train/ant/bee.png = train/bee/0.png'):
        assert part in said and 'nearly' not in said, part
        assert part in ' '.join(done.path.read_text().replace('\n# ', ' ').split('\n')), part
    cfg = load_config(done.path)
    assert cfg.train_dataloader.dataset.exclude == ['ant/fake.jpg', 'bee/cut.png', 'bee/empty.png']
    assert cfg.train_dataloader.dataset.classes == cfg.val_dataloader.dataset.classes == ['ant', 'bee']
    dry_run(done.path)
    assert '3 left out by exclude' in Path('work_dirs/my/preflight.txt').read_text()


def test_class_without_validation_write_images(place):
    write_images(place / 'data' / 'train' / 'wasp', 2, 5)
    done = new_config('data', 'my.py', weights='weights.th', device='cpu')
    cfg = load_config(done.path)
    assert cfg.allow_missing_classes and 'val: no images of class: wasp' in '\n'.join(done.describe())
    # 8 to 2: the score that chooses must not forget the small class
    assert cfg.default_hooks.checkpoint.save_best == 'single-label/f1-score'
    dry_run(done.path)


def test_folder_without_splits(place):
    # the same bytes twice: one copy may come to validate what the other has taught
    (place / 'data' / 'train' / 'ant' / 'copy.png').write_bytes(
        (place / 'data' / 'train' / 'ant' / '0.png').read_bytes())
    done = new_config('data/train', 'my.py', weights='weights.th', seed=3, device='cpu')
    said = '\n'.join(done.describe())
    assert 'no val: a fifth' in said and 'nearly' not in said
    assert 'WARNING train: 1 image left out: ant/copy.png (is the same as ant/0.png)' in said
    cfg = load_config(done.path)
    assert [cfg[f'{split}_dataloader'].dataset.exclude for split in ('train', 'val')] == [['ant/copy.png']] * 2
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert (dataset.split, dataset.val_fraction, dataset.split_seed) == (split, 0.2, 3)
    dry_run(done.path)
    text = Path('work_dirs/my/preflight.txt').read_text()
    assert 'train: 12 samples' in text and 'val: 4 samples' in text


def test_medium_set_gets_mixup_and_a_loss_that_takes_it(place, monkeypatch):
    monkeypatch.setattr('ftcls.scaffold.hyperparameters._SCHEDULES', ((100, 40, 4, (0.3, 0.6, 0.9), 0.1), ))
    done = new_config('data', 'my.py', weights='weights.th', device='cpu')
    cfg = load_config(done.path)
    assert cfg.data_preprocessor.batch_augments.augments.type == 'Mixup' and cfg.model.head.loss.use_soft
    dry_run(done.path)


@pytest.mark.parametrize('spoil, error, said', [
    (dict(data='nowhere'), MissingFileError, 'nowhere'),
    (dict(data='data/train/ant'), DataError, 'no class folders'),
    (dict(data='.'), DataError,
     "--data .: its folder 'data' has train, val, so it is a dataset, no class; give --data data"),
    (dict(backbone='resnet19'), ConfigError, "did you mean 'resnet"),
    (dict(backbone='torchvision:resnet19'), ConfigError, "did you mean 'resnet"),
    (dict(backbone='timm:resnet19'), ConfigError, "did you mean '"),
    (dict(backbone='CifarResNet-21'), ConfigError, 'CifarResNet-{20,32'),
    (dict(data='there.py'), MissingFileError, 'is a file'),
    (dict(weights='nope.pth'), MissingFileError, '--weights nope.pth: no such file'),
    (dict(weights='weights.th', backbone='resnet18'), CheckpointError,
     '--weights weights.th has 0 of 100 tensors of ResNet (without classifier), 0%; needed: 95%; resnet18 is not its '
     'network, choose that with --backbone'),
    (dict(weights='resnet34-1234.th'), CheckpointError,
     'choose that with --backbone, by its name torchvision:resnet34'),
    (dict(weights='there.py'), CheckpointError, 'there.py'),
    (dict(out='my.txt'), ConfigError, 'end in .py'),
    (dict(out='there.py'), ConfigError, 'exists already'),
    (dict(check=0), ConfigError, 'at least 1'),
])
def test_what_cannot_be(place, spoil, error, said):
    (place / 'there.py').touch()
    write_images(place / 'other' / 'ant', 1, 9)
    torch.save({'conv1.weight': torch.ones(64, 3, 7, 7)}, place / 'resnet34-1234.th')
    with pytest.raises(error, match=re.escape(said)):
        new_config(**{'data': 'data', 'out': 'my.py', 'device': 'cpu', **spoil})
    assert not Path('my.py').exists()


def test_other_layouts_are_told_apart(place):
    (place / 'data' / 'train').rename(place / 'data' / 'training')
    (place / 'data' / 'val').rename(place / 'data' / 'testing')
    assert {s: v.prefix for s, v in report_folder('data').splits.items()} == dict(train='training', test='testing')
    assert {s: v.prefix for s, v in report_folder('data/training').splits.items()} == dict(train='')
    (place / 'data' / 'training').rename(place / 'data' / 'val')
    with pytest.raises(DataError, match='no train'):
        report_folder('data')
    (place / 'data' / 'valid').mkdir()
    with pytest.raises(DataError, match="both 'val' and 'valid'"):
        report_folder('data')


def test_only_so_many_images_are_read(place):
    report = report_folder('data', check=4)
    assert len(report.splits['train'].sizes) == len(report.splits['train'].label_of) == 16
    assert '4 images were decoded' in '\n'.join(report.describe())


def chosen(name='resnet50', size=1000, side=300., gpu=True, classes=('a cat', 'a dog')):
    return choose_hyperparameters(make_preset(name), classes, size, side, gpu)


@pytest.mark.parametrize('size, steps, mixup, milestones', [
    (19_999, 500, 0., (0.4, 0.6, 0.8)),
    (20_000, 10_000, 0.1, (0.3, 0.6, 0.9)),
    (499_999, 10_000, 0.1, (0.3, 0.6, 0.9)),
    (500_000, 20_000, 0.1, (0.3, 0.6, 0.9)),
])
def test_rules_by_size_of_the_set(size, steps, mixup, milestones):
    made = chosen(size=size)
    per_epoch = -(-size // made.batch)
    assert made.mixup == mixup and made.epochs == max(8, -(-steps // per_epoch))
    assert made.milestones == sorted({max(1, round(m * made.epochs)) for m in milestones})
    assert f'{steps:,} steps' in made.why['epochs']


def test_rules_by_size_of_the_write_images():
    bit = 'timm:resnetv2_50x1_bit.goog_in21k'
    assert [(made.resize, made.crop) for made in (chosen(bit, side=95), chosen(bit, side=96))] == [(160, 128),
                                                                                                   (264, 224)]
    assert [(made.resize, made.crop) for made in (chosen(side=95), chosen(side=96))] == [(146, 128), (256, 224)]
    assert chosen().random_size and not chosen(bit).random_size
    assert chosen('cifar_resnet56', side=300).crop == chosen('resnet18_8xb16_cifar10', side=300).crop == 32
    fixed = chosen('timm:test_vit', side=50)
    assert (fixed.resize, fixed.crop) == (183, 160)


def test_flips_batches_and_frozen_stages():
    assert chosen().flip and not chosen(classes='0123').flip and not chosen(classes=['Left', 'straight']).flip
    assert chosen(classes='猫狗').flip and chosen(classes='ねこ').flip, 'words of one character'
    assert not chosen(classes='яд').flip and 'mirrored, b, d would' in chosen(classes='db').why['flip']
    assert [chosen(gpu=gpu, side=side).batch for gpu, side in ((True, 300), (True, 50), (False, 300))] == [64, 128, 32]
    assert chosen(size=20).batch == 4 and chosen(size=1999).frozen_stages == 1
    assert chosen(size=2000).frozen_stages == -1 and chosen('cifar_resnet20', size=40).frozen_stages == -1


@pytest.mark.parametrize('name, rate, batch, decay', [
    ('cifar_resnet20', 0.12, 512, 1e-4),
    ('resnet18', 3e-4, 16, 0.05),
    ('timm:resnetv2_50x1_bit.goog_in21k', 0.003, 512, 0),
    ('timm:test_vit', 6e-4, 2048, 0.05),
    ('timm:test_convnext', 1e-4, 16, 0.05),
])
def test_rate_by_family_and_batch(name, rate, batch, decay):
    for gpu in (True, False):
        made = chosen(name, gpu=gpu)
        assert made.lr == pytest.approx(rate * (made.batch / batch)**0.5, rel=0.05) and made.weight_decay == decay
    assert chosen('cifar_resnet20', gpu=False).lr == 0.03
    large = chosen('resnet18', size=2000, gpu=False)
    assert (large.lr, large.uses_adamw, large.norm_policy, large.weight_decay) == (0.014, False, 'train', 1e-4)


@pytest.mark.parametrize('text, seconds', [('300s', 300), ('5min', 300), ('1.5 h', 5400), ('2m', 120)])
def test_a_time_is_read(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize('text', ['5', 'min', '0s', '-1min', '5 days', '5:00'])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match=rf'--time {text}: must be a number above 0 with s, min or h'):
        parse_time(text)


def fitted(name, seconds, images=1000):
    made, preset = chosen(name, size=images), make_preset(name)
    fit_time(made, preset, images, 200, seconds, Pace(0.05, 0.01, Layout(True)))
    return made


def test_a_quarter_of_the_epochs_must_fit_into_a_time_or_the_head_learns_alone():
    with pytest.raises(
            ConfigError, match='--time 30s: too short for 1000 training images on this machine; give at least 42s'):
        fitted('resnet18', 30)
    # 22 s of features, 15 s of start and report; an epoch takes 52 s
    short, own, some = fitted('resnet18', 450), chosen('resnet18'), fitted('resnet18', 500)
    assert own.epochs == 32 and some.epochs == 8
    assert short.norm_policy == 'train' and short.lr == 0.0042, '0.003 for 32 images'
    assert (short.frozen_stages, short.epochs, short.views) == (4, 16, 2) and short.uses_adamw
    assert '450 s at 20 images/s' in short.why['frozen_stages'] and 'takes about 37 s' in short.why['frozen_stages']
    assert 'norm_policy' not in short.why
    assert (some.frozen_stages, some.norm_policy, some.epochs, some.views) == (1, 'eval', int((450 - 15) / 52), 0)
    assert some.lr == own.lr and 0 < some.warmup < own.warmup
    assert some.why['epochs'].startswith('500 s at 20 images/s') and some.layout == Layout(True)
    whole = fitted('resnet18', 10_000)
    assert whole.epochs == own.epochs and 'would be enough for' in whole.why['epochs']
    probe, large = fitted('resnet18', 5000, images=20_000), fitted('resnet18', 10**7, images=20_000)
    assert large.mixup and not large.views and not probe.mixup and probe.views, 'features of single images'
    vit, own = fitted('timm:test_vit', 1000), chosen('timm:test_vit')
    assert (vit.views, vit.epochs, vit.frozen_stages) == (0, 17, -1) and 0 < vit.warmup < own.warmup
    assert fitted('timm:test_vit', 450).lr == 0.0014, '0.001 for 32: 0.003 is only measured for networks with BatchNorm'


def test_a_time_gives_a_config_that_runs(place, monkeypatch):
    torch.save(TIMMBackbone('test_efficientnet').state_dict(), 'cnn.pth')
    monkeypatch.setattr('ftcls.engine.hooks.speed._SECONDS', 0.1)
    kept = []
    with monkeypatch.context() as patch:
        patch.setattr('ftcls.scaffold.hyperparameters._LEAST_SHARE', 10**9)
        patch.setattr('ftcls.scaffold.budget.keep_freed_memory', lambda: kept.append('as training does'))
        done = new_config('data', 'my.py', 'timm:test_efficientnet', weights='cnn.pth', device='cpu', time='1h')
    assert kept, 'steps that are timed take as long as in training'
    model = load_config(done.path).model
    assert model.backbone.frozen_stages == TIMMBackbone('test_efficientnet').num_stages_total
    assert 'norm_policy' not in model and load_config(done.path).feature_cache.views == 2
    done = new_config('data', 'long.py', 'timm:test_efficientnet', weights='cnn.pth', device='cpu', time='1h')
    cfg = load_config(done.path)
    assert cfg.model.norm_policy == 'eval' and cfg.optim_wrapper.optimizer.type == 'AdamW'
    assert 'feature_cache' not in cfg and set(cfg.speed) == {'channels_last', 'amp'}
    for path in ('my.py', 'long.py'):
        dry_run(path)
    with pytest.raises(ConfigError, match='--time 1s: too short for 16 training images'):
        new_config('data', 'none.py', 'timm:test_efficientnet', weights='cnn.pth', device='cpu', time='1s')
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(ConfigError, match='--device cuda: --time measures this machine'):
        new_config('data', 'none.py', 'timm:test_efficientnet', weights='cnn.pth', device='cuda', time='1h')
    assert not Path('none.py').exists()


def test_networks():
    assert make_preset('resnet50').weights == 'torchvision://resnet50'
    assert make_preset('CifarResNet').weights.endswith('resnet20-12fca82f.th')
    assert make_preset('CifarResNet-56').backbone == dict(depth=56)
    assert make_preset('resnet18_8xb16_cifar10').weights.endswith('bd6371c8.pth')
    assert make_preset('resnet50_8xb32_in1k').base == 'resnet50'
    small = make_preset('torchvision:mobilenet_v3_small')
    assert (small.channels, small.family, small.side) == (576, 'imagenet', 224)
    bit = make_preset('timm:resnetv2_50x1_bit.goog_in21k')
    assert (bit.channels, bit.family, bit.backbone['pretrained']) == (2048, 'bit', True)
    vit = make_preset('timm:test_vit')
    assert (vit.family, vit.stages, vit.side, vit.fixed) == ('vit', 6, 160, True)
    assert vit.interpolation == 'bicubic' and vit.mean == (0.5, 0.5, 0.5) and vit.backbone['drop_path_rate'] == 0.1
    own = make_preset('timm:resnet18', 'my.pth')
    assert own.weights == 'my.pth' and 'pretrained' not in own.backbone


def test_a_name_without_a_library():
    found = [make_preset(name).label for name in ('resnet18', 'mobilenet_v3_small', 'resnetv2_50x1_bit.goog_in21k')]
    assert found == ['resnet18', 'torchvision:mobilenet_v3_small', 'timm:resnetv2_50x1_bit.goog_in21k']
    with pytest.raises(ConfigError, match="--backbone convnext_tinny: unknown; did you mean 'convnext_tiny'"):
        make_preset('convnext_tinny')


@pytest.mark.parametrize('name, decay', [('timm:test_vit', 0.75), ('test_convnext.r160_in1k', 0.9)])
def test_networks_with_layer_norm(place, monkeypatch, name, decay):
    backbone = TIMMBackbone(name.removeprefix('timm:'))
    torch.save(backbone.state_dict(), 'vit.pth')
    probe = load_config(new_config('data', 'probe.py', name, weights='vit.pth', device='cpu').path)
    assert probe.model.backbone.frozen_stages == backbone.num_stages_total and 'constructor' not in probe.optim_wrapper
    assert probe.optim_wrapper.optimizer == dict(type='AdamW', lr=0.00035, weight_decay=0.)  # 1e-3 for 32, here 4
    monkeypatch.setattr('ftcls.scaffold.hyperparameters._FEW_PER_CLASS', 5)
    done = new_config('data', 'all.py', name, weights='vit.pth', device='cpu')
    cfg = load_config(done.path)
    assert cfg.model.backbone.drop_path_rate == 0.1 and cfg.model.backbone.frozen_stages == -1
    assert cfg.data_preprocessor.mean == [127.5] * 3 and cfg.train_pipeline[1].interpolation == 'bicubic'
    assert cfg.optim_wrapper.paramwise_cfg == dict(
        layer_decay_rate=decay, norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.)
    warmup, cosine = cfg.param_scheduler
    assert cosine.type == 'CosineAnnealingLR' and warmup.end == cosine.begin
    assert cosine.begin + cosine.T_max == cfg.train_cfg.max_epochs
    for path in ('probe.py', 'all.py'):
        dry_run(path)
    rows = Path('work_dirs/all/preflight.txt').read_text()
    assert 'AdamW' in rows and 'it spans' not in rows
    # the stem learns at 5e-5 * rate ** (stages + 1), or with the norms at the end
    assert f'{cfg.optim_wrapper.optimizer.lr * decay**(backbone.num_stages_total + 1):.3g}'[:3] in rows


@pytest.mark.parametrize('name', ['resnet34', 'torchvision:mobilenet_v3_small', 'timm:test_vit', 'torchvision:swin_t'])
def test_configs_of_other_networks_are_valid_python(place, name):
    done = new_config('data', 'my.py', name, device='cuda', seed=7)
    ast.parse(done.path.read_text())
    cfg = load_config(done.path)
    assert cfg.randomness.seed == 7 and cfg.model.head.num_classes == 2
    assert '--weights' in '\n'.join(done.describe())
