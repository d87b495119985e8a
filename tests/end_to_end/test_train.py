"""Whole training runs on the embedded digits and on tiny folders of pictures."""
import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from ftcls.apis import TrainOptions, load_config, predict_files
from ftcls.apis import test as run_test
from ftcls.apis import train, validate_config
from ftcls.engine.hooks import ProgressHook
from ftcls.utils import UserError

Digits = Callable[..., Config]

# Randomness in the pipeline, so that what must come out equal has had the chance to differ.
RANDOM_PIPELINE = [
    dict(type='Resize', scale=32),
    dict(type='RandomCrop', crop_size=32, padding=3),
    dict(type='PackInputs'),
]


def load(path: Path) -> dict:
    """Read a checkpoint the way that runs no code."""
    return torch.load(path, map_location='cpu', weights_only=True)


def final(work_dir: Path) -> dict[str, torch.Tensor]:
    return load(work_dir / 'epoch_2.pth')['state_dict']


def records(work_dir: Path) -> list[dict]:
    """The run's metrics, but for the time they took."""
    lines = (work_dir / 'metrics.jsonl').read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != 'time'} for line in lines]


def log_of(work_dir: Path) -> str:
    return '\n'.join(path.read_text() for path in sorted(work_dir.glob('*/*.log')))


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [k for k in one if not torch.equal(one[k], other[k])] == []


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a short pretraining."""
    cfg = load_config(
        Path(__file__).resolve().parents[2] / 'configs/tutorial/lenet5_pretrain_digits.py', {
            'train_cfg.max_epochs': 2,
            'param_scheduler.T_max': 2
        })
    work_dir = tmp_path_factory.mktemp('source') / 'pretrain'
    train(cfg, TrainOptions(work_dir=str(work_dir)))
    return work_dir


def test_what_a_run_leaves(source: Path) -> None:
    resolved = source / 'lenet5_pretrain_digits.py'
    again = load_config(resolved)
    validate_config(again)
    assert '_base_' not in again and again.train_cfg.max_epochs == 2 and again.model.head.num_classes == 10
    assert 'Epoch(val) [2]' in log_of(source) and 'what this run will do' in log_of(source)
    kinds = [(r['kind'], r['epoch']) for r in records(source)]
    assert kinds == [('train', 1), ('val', 1), ('train', 2), ('val', 2)]
    assert all(r['loss'] > 0 for r in records(source))
    # the validation's line shows its own loss, not the mean of those so far
    shown = re.search(r'Epoch\(val\) \[2\].* loss: ([\d.]+)', log_of(source))
    assert shown and float(shown[1]) == pytest.approx(records(source)[-1]['loss'], abs=1e-4)
    preflight = (source / 'preflight.txt').read_text()
    assert 'train: 717 samples' in preflight and '51,902 of 51,902 parameters are trained' in preflight
    height, width, _ = cv2.imread(str(source / 'curves.png')).shape
    assert height > 200 and width > 200
    best = list(source.glob('best_*.pth'))
    assert len(best) == 1 and (source / 'last_checkpoint').read_text().endswith('epoch_2.pth')
    for path in (source / 'epoch_2.pth', *best):
        meta = load(path)['meta']
        assert list(meta['dataset_meta']['classes']) == list('0123456789') and meta['seed'] == 0
    assert not list(source.rglob('*.part'))


def finetune_config(digits: Digits, source: Path, **overrides: object) -> Config:
    return digits(**{
        'model.backbone.init_cfg': dict(
            type='Pretrained', checkpoint=str(source / 'epoch_2.pth'), prefix='backbone'),
        'train_dataloader.dataset.invert': True,
        'val_dataloader.dataset.invert': True,
        **overrides
    })  # yapf: disable


def test_frozen_stages_keep_their_weights_and_the_others_learn(digits: Digits, source: Path, tmp_path: Path) -> None:
    """LeNet's stages are its three convolutions: two frozen, the third and the head trained."""
    cfg = finetune_config(digits, source, **{'model.backbone.frozen_stages': 1})
    before = json.dumps(cfg.to_dict(), default=str)
    train(cfg, TrainOptions(work_dir=str(tmp_path)))
    assert json.dumps(cfg.to_dict(), default=str) == before  # the caller's config stays as it was
    old, new = final(source), final(tmp_path)
    same = {k for k in new if torch.equal(old[k], new[k])}
    assert same == {f'backbone.features.{i}.{kind}' for i in (0, 3) for kind in ('weight', 'bias')}
    preflight = (tmp_path / 'preflight.txt').read_text()
    for row, state in (('features.0', 'FROZEN'), ('features.3', 'FROZEN'), ('features.6', 'trained')):
        assert re.search(rf'backbone\.{row} +epoch_2\.pth +{state}', preflight), preflight
    assert re.search(r'head\.fc +initialised +trained', preflight)


class Killed(BaseException):
    """Stands for a kill: not an `Exception`, so that nothing on the way handles it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, iteration: int) -> None:
    """Let the run die after so many iterations."""
    keep = ProgressHook.after_train_iter

    def after_train_iter(self: ProgressHook, runner: Runner, *args: object, **kwargs: object) -> None:
        keep(self, runner, *args, **kwargs)
        if runner.iter + 1 == iteration:
            raise Killed

    monkeypatch.setattr(ProgressHook, 'after_train_iter', after_train_iter)


@pytest.mark.parametrize('workers, accumulate, seed', [(0, 1, None), (1, 1, 0), (0, 3, 0)])
def test_a_resumed_run_equals_the_uninterrupted_one(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    workers: int, accumulate: int, seed: int | None) -> None:
    """Bitwise: weights, optimizer, metrics; also with a drawn seed, with workers, with a step over two epochs."""
    cfg = digits(
        **{
            'randomness.seed': seed,
            'train_dataloader.dataset.pipeline': RANDOM_PIPELINE,
            'train_dataloader.num_workers': workers,
            'train_dataloader.persistent_workers': workers > 0,
            'optim_wrapper.accumulative_counts': accumulate
        })
    with monkeypatch.context() as patch:
        kill_at(patch, 12)  # in the middle of the second epoch of 8
        with pytest.raises(Killed):
            train(cfg, TrainOptions(work_dir=str(tmp_path / 'cut')))
    assert not (tmp_path / 'cut' / 'epoch_2.pth').exists()
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'cut'), resume=True))
    drawn = load(tmp_path / 'cut' / 'epoch_1.pth')['meta']['seed']
    train(cfg, TrainOptions(work_dir=str(tmp_path / 'whole'), seed=drawn))
    whole, cut = (load(tmp_path / name / 'epoch_2.pth') for name in ('whole', 'cut'))
    assert_same_weights(whole['state_dict'], cut['state_dict'])
    for number, state in whole['optimizer']['state'].items():
        assert all(torch.equal(value, cut['optimizer']['state'][number][key]) for key, value in state.items())
    assert records(tmp_path / 'whole') == records(tmp_path / 'cut')
    log = log_of(tmp_path / 'cut')
    assert 'from iteration 8 on' in log and 'random seed' not in log


def test_to_resume_where_there_is_nothing_is_said_and_starts_anew(digits: Digits, tmp_path: Path,
                                                                  capsys: pytest.CaptureFixture) -> None:
    train(digits(**{'train_cfg.max_epochs': 1}), TrainOptions(work_dir=str(tmp_path / 'new'), resume=True))
    out = capsys.readouterr().out
    assert 'last_checkpoint' in out and 'training STARTS FROM THE BEGINNING' in out
    assert (tmp_path / 'new' / 'epoch_1.pth').exists()


def test_dry_run(digits: Digits, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cfg = finetune_config(digits, source, **{'model.backbone.frozen_stages': 0})
    train(cfg, TrainOptions(work_dir=str(tmp_path), dry_run=True))
    out = capsys.readouterr().out
    assert 'one step on one batch: 6 of 6 trained tensors changed, 0 of 2 frozen ones, 0 of 0 fixed' in out
    assert 'FROZEN' in out and 'head.fc' in out
    assert not list(tmp_path.glob('*.pth')) and (tmp_path / 'preflight.txt').exists()


def test_amp_on_the_cpu(digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(digits(), TrainOptions(work_dir=str(tmp_path), amp=True))
    out = capsys.readouterr().out
    assert 'bfloat16' in out and 'bfloat16' in (tmp_path / 'preflight.txt').read_text()
    assert all(v.dtype == torch.float32 for v in final(tmp_path).values())
    losses = [r['loss'] for r in records(tmp_path) if r['kind'] == 'train']
    assert losses[-1] < losses[0]


def test_no_validate(digits: Digits, tmp_path: Path, drawn_curves: None) -> None:
    train(digits(), TrainOptions(work_dir=str(tmp_path), validate=False))
    assert {r['kind'] for r in records(tmp_path)} == {'train'}
    assert (tmp_path / 'epoch_2.pth').exists() and (tmp_path / 'curves.png').exists()


def test_load_from_a_model_of_other_classes(digits: Digits, source: Path, tmp_path: Path,
                                            capsys: pytest.CaptureFixture) -> None:
    """The head is replaced, and that is said to be as expected."""
    classes = list('01234')
    cfg = digits(**{
        'load_from': str(source / 'epoch_2.pth'),
        'model.head.num_classes': 5,
        'data_preprocessor.num_classes': 5,
        'train_dataloader.dataset.classes': classes,
        'val_dataloader.dataset.classes': classes,
        'train_dataloader.dataset.indices': 100,
        'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(backbone=dict(lr_mult=0.)))
    })  # yapf: disable
    train(cfg, TrainOptions(work_dir=str(tmp_path)))
    out = capsys.readouterr().out
    assert '6 of 8 tensors loaded' in out
    assert 'as expected: head.fc.* (2) not loaded (a classifier of another size)' in out
    old, new = final(source), final(tmp_path)
    assert {k for k in new if k.startswith('backbone') and torch.equal(old[k], new[k])} == {
        k for k in old if k.startswith('backbone')}  # yapf: disable
    assert new['head.fc.weight'].shape == (5, 120)
    assert list(load(tmp_path / 'epoch_2.pth')['meta']['dataset_meta']['classes']) == classes


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not(digits: Digits, tmp_path: Path) -> None:
    cfg = digits(**{'train_dataloader.dataset.pipeline': RANDOM_PIPELINE, 'train_dataloader.dataset.indices': 160})
    for name, seed in (('a', 7), ('b', 7), ('c', 8)):
        train(cfg, TrainOptions(work_dir=str(tmp_path / name), seed=seed))
    assert_same_weights(final(tmp_path / 'a'), final(tmp_path / 'b'))
    assert records(tmp_path / 'a') == records(tmp_path / 'b')
    assert not torch.equal(final(tmp_path / 'a')['head.fc.weight'], final(tmp_path / 'c')['head.fc.weight'])


def test_the_tool_measures_what_the_last_validation_did(source: Path, tmp_path: Path, run_tool: Callable) -> None:
    """The digits' test split of the source half is its val split."""
    last = records(source)[-1]
    done = run_tool('test.py', source / 'lenet5_pretrain_digits.py', source / 'epoch_2.pth', '--out', 'numbers/x.json')
    assert done.returncode == 0, done.stderr
    assert f'accuracy/top1: {last["accuracy/top1"]:.2f} ' in done.stdout
    assert (done.stdout + done.stderr).count('epoch_2.pth') == 1, 'the checkpoint is named once'
    numbers = json.loads((tmp_path / 'numbers' / 'x.json').read_text())
    assert numbers['accuracy/top1'] == last['accuracy/top1']
    assert numbers['loss'] == pytest.approx(last['loss'], rel=1e-9)


def write_pictures(folder: Path, classes: dict[str, tuple[int, int, int]], count: int) -> None:
    """Class folders of noisy pictures in one colour (B, G, R) a class."""
    noise = np.random.default_rng(0)
    for name, colour in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            picture = np.clip(np.array(colour) + noise.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / name / f'{i}.png'), picture)


COLOURS = {'ant': (220, 40, 40), 'bee': (40, 220, 40), 'wasp': (40, 40, 220)}


def picture_config(digits: Digits, folder: Path) -> Config:
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')]
    loader = dict(batch_size=8, num_workers=0, collate_fn=dict(type='default_collate'))
    cfg = digits(**{
        'model.backbone.in_channels': 3,
        'model.head.num_classes': 3,
        'data_preprocessor': dict(num_classes=3, mean=[127.] * 3, std=[80.] * 3, to_rgb=True),
    })  # yapf: disable
    for split, shuffle in (('train', True), ('val', False), ('test', False)):
        source = 'train' if split == 'train' else 'val'
        cfg[f'{split}_dataloader'] = dict(
            loader,
            sampler=dict(type='DefaultSampler', shuffle=shuffle),
            dataset=dict(type='CustomDataset', data_root=str(folder), data_prefix=source, pipeline=pipeline))
    return cfg


def test_classes_are_matched_by_name_and_prediction_gives_the_names(digits: Digits, tmp_path: Path) -> None:
    """The middle class is missing in val: by position, wasps would be called bees."""
    write_pictures(tmp_path / 'train', COLOURS, 16)
    write_pictures(tmp_path / 'val', {k: v for k, v in COLOURS.items() if k != 'bee'}, 5)
    cfg = picture_config(digits, tmp_path)
    options = TrainOptions(work_dir=str(tmp_path / 'run'), seed=0)
    with pytest.raises(UserError, match='val_dataloader.dataset: no sample of bee'):
        train(cfg, options)
    cfg.allow_missing_classes = True
    train(cfg, options)
    assert records(tmp_path / 'run')[-1]['accuracy/top1'] == 100
    assert 'NONE of bee' in (tmp_path / 'run' / 'preflight.txt').read_text()
    checkpoint = tmp_path / 'run' / 'epoch_2.pth'
    assert run_test(cfg, str(checkpoint), work_dir=str(tmp_path / 'tested'))['accuracy/top1'] == 100
    report = predict_files(tmp_path / 'run', [tmp_path / 'val' / 'wasp', tmp_path / 'train' / 'bee' / '0.png'])
    assert [row['pred_class'] for row in report.rows] == ['wasp'] * 5 + ['bee']
