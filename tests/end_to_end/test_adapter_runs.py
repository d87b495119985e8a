"""LoRA on a ViT in whole runs: resume, two processes, files without the frozen weights, test, prediction, merging."""
import json
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from ftcls.apis import ImageClassificationInferencer, TrainOptions, compare, describe_parameters, merge_adapter
from ftcls.apis import test as run_test
from ftcls.apis import train, wise_ft
from ftcls.registry import MODELS
from ftcls.utils import CheckpointError, ConfigError
from ftcls.utils.checkpoint.adapter_files import is_adapter

pytest.importorskip('peft')
Digits = Callable[..., Config]
VIT = dict(
    type='TIMMBackbone',
    model_name='vit_tiny_patch16_224',
    img_size=32,
    depth=2,
    embed_dim=96,
    num_heads=3,
    in_channels=1)
LORA = dict(type='LoRA', r=2, alpha=4, dropout=0.1)


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the backbone."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp('source') / 'vit.pth'
    torch.save(MODELS.build(VIT).timm_model.state_dict(), path)
    return path


def config(digits: Digits, source: Path, **changes: object) -> Config:
    """Two epochs of 3 steps with 40 scans each."""
    model = dict(
        type='ImageClassifier',
        backbone=dict(VIT, init_cfg=dict(type='Pretrained', checkpoint=str(source))),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=96),
        adapter=LORA)
    return digits(**{
        'model': dict(model, _delete_=True),
        'optim_wrapper': dict(optimizer=dict(type='AdamW', lr=0.01), _delete_=True),
        'train_dataloader.dataset.indices': 120,
        'val_dataloader.dataset.indices': 40,
        'test_dataloader.dataset.indices': 40,
        'randomness.seed': 0,
        **changes
    })  # yapf: disable


def load(path: Path) -> dict:
    return torch.load(path, map_location='cpu', weights_only=True)


def assert_same(one: object, other: object) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)


def stopped_after(cfg: Config, work_dir: Path) -> None:
    """Train the first of two epochs, as a run that is killed then."""
    train(cfg, TrainOptions(work_dir=str(work_dir)))
    (work_dir / 'epoch_2.pth').unlink()
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_1.pth'))


@pytest.mark.parametrize('adapter_only', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run(digits: Digits, source: Path, tmp_path: Path, adapter_only: bool, capsys: pytest.CaptureFixture) -> None:
    """Resumed bitwise, tested, predicted with, merged; also where the files are without the frozen weights."""
    checkpoint = {'default_hooks.checkpoint.adapter_only': adapter_only, 'custom_hooks': [dict(type='EMAHook')]}
    cfg = config(digits, source, **checkpoint)
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'whole')))
    shown = (tmp_path / 'whole' / 'preflight.txt').read_text()
    assert 'adapter   8 layers: backbone.timm_model.blocks.*.attn.qkv (2)' in shown
    assert [line.split()[:3] for line in shown.splitlines() if '(adapter)' in line] == [
        ['backbone.timm_model.blocks', '(adapter)', 'initialised']]  # yapf: disable
    assert 'NEVER' not in shown and 'feature_cache, train: on' not in shown
    stopped_after(cfg, tmp_path / 'cut')
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'cut'), resume=True))
    whole, cut = (load(tmp_path / name / 'epoch_2.pth') for name in ('whole', 'cut'))
    for key in ('state_dict', 'ema_state_dict', 'optimizer'):
        assert_same(whole[key], cut[key])
    start = load(source)
    names = {f'backbone.timm_model.{name}' for name in start}
    assert names & whole['state_dict'].keys() == (set() if adapter_only else names)
    assert whole['state_dict'].keys() - names == {name for name in whole['state_dict'] if is_adapter(name)} | {
        'head.fc.weight', 'head.fc.bias'}  # yapf: disable
    path = tmp_path / 'whole' / 'epoch_2.pth'
    assert (path.stat().st_size < 0.4 * 2**20) == adapter_only  # the frozen weights have 1 MiB, twice with EMA

    before = run_test(cfg, str(path), work_dir=str(tmp_path / 'test'))
    merged = merge_adapter(path, tmp_path / 'merged.pth')
    plain = config(digits, source, **{'model.adapter': None})
    after = run_test(plain, str(merged), work_dir=str(tmp_path / 'test'))
    assert after['accuracy/top1'] == before['accuracy/top1']
    assert after['loss'] == pytest.approx(before['loss'], rel=1e-5)
    image = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    adapted = ImageClassificationInferencer(cfg, path, device='cpu')(image)[0]['pred_scores']
    scores = ImageClassificationInferencer(plain, merged, device='cpu')(image)[0]['pred_scores']
    np.testing.assert_allclose(adapted, scores, atol=1e-5)


def test_other_weights_beneath_are_refused(digits: Digits, source: Path, tmp_path: Path) -> None:
    cfg = config(digits, source, **{'default_hooks.checkpoint.adapter_only': True, 'train_cfg.max_epochs': 1})
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'run')))
    other = {name: value + 1e-6 for name, value in load(source).items()}
    torch.save(other, tmp_path / 'other.pth')
    for key, value in {'checkpoint': str(tmp_path / 'other.pth'), 'type': 'Constant'}.items():
        changed = config(digits, source)
        changed.model.backbone.init_cfg = dict(cfg.model.backbone.init_cfg, **{key: value})
        if key == 'type':
            changed.model.backbone.init_cfg = None
        with pytest.raises(CheckpointError, match='others than in its training.*model.backbone.init_cfg'):
            run_test(changed, str(tmp_path / 'run' / 'epoch_1.pth'), work_dir=str(tmp_path / 'test'))


@pytest.mark.parametrize('changes', [{'model.adapter': None}, {'model.backbone.init_cfg': None}, {'load_from': 'x'}])
def test_adapter_only_needs_an_adapter_and_weights_that_are_found_again(digits: Digits, source: Path, tmp_path: Path,
                                                                        changes: dict) -> None:
    if 'load_from' in changes:
        changes = {'load_from': str(source)}
    cfg = config(digits, source, **{'default_hooks.checkpoint.adapter_only': True, **changes})
    with pytest.raises(ConfigError, match='adapter_only=True: needs model.adapter.*model.backbone.init_cfg'):
        train(cfg, TrainOptions(work_dir=str(tmp_path / 'run')))


@pytest.mark.slow
def test_two_processes_train_as_one(digits: Digits, source: Path, tmp_path: Path, run_tool: Callable) -> None:
    changes = {'train_cfg.max_epochs': 1, 'param_scheduler': [], 'model.adapter.dropout': 0., 'train_dataloader.batch_size': 20,
               'optim_wrapper.optimizer': dict(type='SGD', lr=0.1, _delete_=True),
               'auto_scale_lr': dict(base_batch_size=40)}  # yapf: disable
    cfg = config(digits, source, **changes)
    cfg.dump(tmp_path / 'config.py')
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        port = str(one.getsockname()[1])
    done = run_tool('dist_train.sh', 'config.py', 2, '--work-dir', 'two', PORT=port)
    assert done.returncode == 0, done.stdout + done.stderr
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'one')))
    one, two = (load(tmp_path / name / 'epoch_1.pth')['state_dict'] for name in ('one', 'two'))
    assert one.keys() == two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 2e-6
    assert max(float(one[name].abs().max()) for name in one if 'lora_B' in name) > 1e-3


def test_from_whole_weights_of_a_run(digits: Digits, source: Path, tmp_path: Path) -> None:
    """`load_from`: the adapter starts for these weights, whose norms DoRA takes; later it is loaded too."""
    plain = config(digits, source, **{'model.adapter': None, 'train_cfg.max_epochs': 1})
    train(plain, TrainOptions(work_dir=str(tmp_path / 'plain')))
    weights = load(tmp_path / 'plain' / 'epoch_1.pth')['state_dict']
    cfg = config(digits, source, load_from=str(tmp_path / 'plain' / 'epoch_1.pth'), **{'model.adapter.use_dora': True})
    cfg.optim_wrapper.optimizer.lr = 1e-30
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'dora')))
    state = load(tmp_path / 'dora' / 'epoch_1.pth')['state_dict']
    name = 'backbone.timm_model.blocks.0.attn.qkv'
    norms = weights[f'{name}.weight'].norm(dim=1)
    torch.testing.assert_close(state[f'{name}.lora_magnitude_vector.default.weight'], norms)
    report = describe_parameters(cfg)
    assert 'qkv.base_layer.weight' in report and 'qkv.lora_A.default.weight' in report
    with pytest.raises(CheckpointError, match='ftcls merge_adapter'):
        wise_ft(str(source), str(tmp_path / 'dora' / 'epoch_1.pth'), [0.5], tmp_path / 'out.pth')


def test_dry_run(digits: Digits, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(config(digits, source), TrainOptions(work_dir=str(tmp_path), dry_run=True))
    assert 'one step on one batch: 18 of 18 trained tensors changed, 0 of 30 frozen ones' in capsys.readouterr().out


def test_merging_what_has_no_adapter(digits: Digits, source: Path, tmp_path: Path) -> None:
    train(config(digits, source, **{'model.adapter': None, 'train_cfg.max_epochs': 1}), TrainOptions(str(tmp_path)))
    with pytest.raises(ConfigError, match='no model.adapter'):
        merge_adapter(tmp_path)


def test_arms_and_strategies(digits: Digits, source: Path, tmp_path: Path) -> None:
    """Rates by layer, L2-SP, half precision, recomputed gradients; the arm from scratch has no adapter."""
    cfg = config(digits, source, **{
        'train_cfg.max_epochs': 1,
        'optim_wrapper': dict(
            type='AmpOptimWrapper', dtype='bfloat16', optimizer=dict(type='SGD', lr=0.1),
            constructor='LearningRateDecayOptimWrapperConstructor', paramwise_cfg=dict(
                layer_decay_rate=0.5, custom_keys={'head': dict(lr_mult=2)}), _delete_=True),
        'speed': dict(grad_checkpointing=True, channels_last=True),
        'custom_hooks': [dict(type='L2SPHook', alpha=0.1, beta=0.1)],
    })  # yapf: disable
    comparison = compare(cfg, ['finetune', 'scratch'], [0], tmp_path / 'arms')
    assert not comparison.failures
    rates = (tmp_path / 'arms' / 'finetune' / 'seed0' / 'preflight.txt').read_text()
    assert 'blocks (adapter)' in rates and '(adapter)' not in (tmp_path / 'arms' / 'scratch' / 'seed0' /
                                                               'preflight.txt').read_text()
    with pytest.raises(ConfigError, match='model.adapter'):
        compare(cfg, ['probe'], [0], tmp_path / 'probe')
    assert json.loads((tmp_path / 'arms' / 'results.json').read_text())
