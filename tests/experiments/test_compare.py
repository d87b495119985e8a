"""Arms, seeds, and the statistics of their difference."""
import json
import math
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from scipy import stats

from ftcls.apis import Comparison, RunResult, Workers, compare, few_shots, load_config, read_arms, standard_arms
from ftcls.config.epochs import set_epochs
from ftcls.experiments.run import Batch
from ftcls.registry import HOOKS
from ftcls.utils import ConfigError

CONFIG = Path(__file__).resolve().parents[2] / 'configs' / 'tutorial' / 'lenet5_finetune_digits.py'


def small_config():
    """The digits fine-tuning without a source checkpoint, two epochs."""
    cfg = load_config(CONFIG, ['model.backbone.init_cfg=None', 'train_cfg.max_epochs=2', 'train_cfg.val_interval=1'])
    cfg.default_hooks.checkpoint.interval = 2
    return cfg


def test_summary_is_the_paired_t_interval():
    scores = dict(scratch=[70., 72., 75.], finetune=[80., 81., 88.])
    results = [RunResult(arm, i, '', {'acc': s}) for arm, values in scores.items() for i, s in enumerate(values)]
    first, second = Comparison('acc', 'test', results).summary()
    assert first['interval'] is None and first['difference'] == 0
    assert second['mean'] == pytest.approx(83)
    assert second['std'] == pytest.approx(np.std(scores['finetune'], ddof=1))
    differences = np.subtract(scores['finetune'], scores['scratch'])
    low, high = stats.t.interval(0.95, 2, differences.mean(), differences.std(ddof=1) / math.sqrt(3))
    assert second['interval'] == pytest.approx((low, high))


def test_scores_that_are_all_lists_cannot_be_compared():
    batch = Batch('', results=dict(probe=dict(metrics={'precision_classwise': [1., 2.]}, split='test')))
    with pytest.raises(ConfigError, match=r"test_evaluator: gives only lists \(precision_classwise\); .*'Accuracy'"):
        batch.describe('probe')


def test_arms_freeze_what_they_say(tmp_path):
    cfg = tiny_config()
    arms = standard_arms(cfg)
    assert arms['probe']['model.backbone.frozen_stages'] == 2
    assert arms['scratch']['optim_wrapper.optimizer.lr'] == 0.001
    said: list[str] = []
    result = compare(cfg, ['scratch', 'probe'], [0], tmp_path, log=said.append)
    assert len(said) == 4
    assert said[0] == f'scratch, seed 0: run 1 of 2 begins; its log is in {tmp_path}/scratch/seed0'
    assert said[2].startswith('probe, seed 0: run 2 of 2 begins') and 'accuracy/top1' in said[3]
    assert [r.arm for r in result.results] == ['scratch', 'probe']
    assert json.loads((tmp_path / 'results.json').read_text())['metric'] == 'accuracy/top1'
    assert (tmp_path / 'compare.png').stat().st_size > 5000
    assert 'against scratch' in (tmp_path / 'table.txt').read_text()
    assert 'FROZEN' in (tmp_path / 'probe' / 'seed0' / 'preflight.txt').read_text()
    states = {
        arm: torch.load(tmp_path / arm / 'seed0' / 'epoch_1.pth', weights_only=True)['state_dict']
        for arm in ('scratch', 'probe')
    }
    # the same seed builds the same net, and a frozen backbone keeps it
    moved = {
        arm: not torch.equal(state['backbone.features.0.weight'], states['probe']['backbone.features.0.weight'])
        for arm, state in states.items()
    }
    assert moved == dict(scratch=True, probe=False)


def test_unknown_arms_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="finetun.*did you mean 'finetune'"):
        compare(small_config(), ['finetun'], [0], tmp_path)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A comparison of two arms and two seeds, each run of one step, made in one call."""
    out = tmp_path_factory.mktemp('whole')
    return out, compare(tiny_config(), ['scratch', 'finetune'], [0, 1], out, log=lambda line: None)


def tiny_config(**overrides):
    """One epoch of one step of the digits' fine-tuning, tested on 40 scans."""
    cfg = small_config()
    cfg.train_cfg.max_epochs = 1
    cfg.train_dataloader.batch_size = 30
    cfg.default_hooks.checkpoint.interval = 1
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'].dataset.indices = 40
    cfg.merge_from_dict(overrides)
    return cfg


def test_finished_runs_are_not_made_again(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / 'copy')
    (tmp_path / 'copy' / 'finetune' / 'seed1' / 'result.json').unlink()
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / 'copy').rglob('epoch_1.pth')}
    said: list[str] = []
    again = compare(tiny_config(), ['scratch', 'finetune'], [0, 1], tmp_path / 'copy', log=said.append)
    assert [line.endswith('(made before)') for line in said] == [True, True, True, False, False]
    assert said[3].startswith('finetune, seed 1: run 4 of 4 continues; ')
    # the last one continued from the checkpoint of its end: it is measured, not trained
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert [r.metrics for r in again.results] == [r.metrics for r in whole[1].results]


def test_shards_and_gather_make_what_one_call_makes(whole, tmp_path):
    arms, seeds = ['scratch', 'finetune'], [0, 1]
    for index in range(3):
        part = compare(tiny_config(), arms, seeds, tmp_path, workers=Workers(shard=(index, 3)), log=lambda line: None)
        assert len(part.results) == (2, 3, 4)[index]
        assert not (tmp_path / 'table.txt').exists()
        if not index:
            early = compare(tiny_config(), arms, seeds, tmp_path, workers=Workers(gather=True), log=lambda line: None)
            assert early.unfinished == ['finetune, seed 0', 'scratch, seed 1'] and len(early.results) == 2
            assert 'not finished: finetune, seed 0; scratch, seed 1' in early.table()
            (tmp_path / 'table.txt').unlink()
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('epoch_1.pth')}
    gathered = compare(tiny_config(), arms, seeds, tmp_path, workers=Workers(gather=True), log=lambda line: None)
    assert gathered.table() == whole[1].table() == (tmp_path / 'table.txt').read_text().rstrip('\n')
    assert {path: path.stat().st_mtime_ns for path in made} == made
    with pytest.raises(ConfigError, match='one of 0/3'):
        Workers(shard=(3, 3))


def test_other_settings_in_one_folder_are_refused(whole):
    cfg = tiny_config(**{'optim_wrapper.optimizer.lr': 0.5})
    with pytest.raises(ConfigError, match=r'finetune.seed0 is a run with other settings'):
        compare(cfg, ['finetune'], [0], whole[0])


def test_nothing_to_gather_is_said(tmp_path):
    with pytest.raises(ConfigError, match='has no result.json'):
        compare(tiny_config(), ['finetune'], [0], tmp_path, workers=Workers(gather=True))


@HOOKS.register_module()
class FailingHook(Hook):
    """Fails in the first step."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        raise RuntimeError('out of paper')


def test_a_run_that_fails_is_named_and_the_others_continue(tmp_path):
    cfg = tiny_config(arms=dict(broken={'custom_hooks': [dict(type='FailingHook')]}, scratch={}))
    said: list[str] = []
    result = compare(cfg, ['broken', 'scratch'], [0], tmp_path, log=said.append)
    assert result.failures == {'broken, seed 0': 'RuntimeError: out of paper'}
    assert 'Traceback' in (tmp_path / 'broken/seed0/error.txt').read_text()
    assert 'broken, seed 0: FAILED: ' in said[1] and [r.arm for r in result.results] == ['scratch']
    assert 'FAILED  broken, seed 0' in (tmp_path / 'table.txt').read_text()
    assert json.loads((tmp_path / 'results.json').read_text())['summary'][0]['mean'] is None


@pytest.mark.parametrize('edit, metric, said', [
    ({
        'load_from': 'gone.pth'
    }, None, 'finetune, seed 0: .*gone.pth'),
    ({
        'test_dataloader.dataset.classes': ['0', 'nought']
    }, None, 'scratch, seed 0: test_dataloader.dataset: .*classes'),
    ({}, 'accuracy/top2', "--metric='accuracy/top2': the validation measures accuracy/top1"),
])
def test_a_fault_that_runs_share_stops_before_the_first(tmp_path, edit, metric, said):
    with pytest.raises(ConfigError, match=f'(?s){said}'):
        compare(tiny_config(**edit), ['scratch', 'finetune'], [0, 1], tmp_path, metric=metric)
    assert not list(tmp_path.iterdir())


def test_a_fault_in_an_arm_stops_all_before_the_first_run(tmp_path):
    cfg = tiny_config(arms=dict(wrong={'optim_wrapper.optimizer.lrr': 1.}))
    with pytest.raises(ConfigError, match="(?s)--arms wrong: .*lrr"):
        compare(cfg, ['scratch', 'wrong'], [0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_config_file_is_an_arm(whole, tmp_path):
    shutil.copytree(whole[0] / 'finetune' / 'seed0', tmp_path / 'finetune' / 'seed0')
    tiny_config(**{'optim_wrapper.optimizer.lr': 1e-30}).dump(tmp_path / 'still.py')
    other = load_config(tmp_path / 'still.py')
    result = compare(tiny_config(), ['finetune', other], [0], tmp_path, log=lambda line: None)
    assert result.arm_names == ('finetune', 'still')
    states = [
        torch.load(tmp_path / arm / 'seed0' / 'epoch_1.pth',
                   weights_only=True)['state_dict']['backbone.features.0.weight'] for arm in result.arm_names
    ]
    assert not torch.equal(states[0], states[1])
    assert json.loads((tmp_path / 'still' / 'seed0' / 'metrics.jsonl').read_text().splitlines()[0])['lr'] == 1e-30
    other.train_dataloader.dataset.invert = False
    with pytest.raises(ConfigError, match='--arms still: its train_dataloader.dataset'):
        compare(tiny_config(), ['finetune', other], [0], tmp_path)


def test_budget_stretches_what_counts_epochs():
    cfg = tiny_config(
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=2),
            dict(type='MultiStepLR', by_epoch=True, milestones=[4, 8]),
            dict(type='CosineAnnealingLR', by_epoch=False, T_max=100)
        ],
        custom_hooks=[dict(type='GradualUnfreezingHook', every=2)])
    cfg.train_cfg.max_epochs = 10
    set_epochs(cfg, 50, '--budget')
    assert cfg.train_cfg.max_epochs == 50 and cfg.custom_hooks[0]['every'] == 10
    warmup, steps, by_iter = cfg.param_scheduler
    assert (warmup['begin'], warmup['end'], steps['milestones'], by_iter['T_max']) == (0, 10, [20, 40], 100)


def test_shots_are_drawn_by_the_seed_of_the_run(tmp_path):
    cfg = few_shots(tiny_config(), 2)
    assert [cfg[f'{s}_dataloader'].dataset.shots_per_class for s in ('train', 'val', 'test')] == [2, 2, 2]
    compare(cfg, ['scratch'], [3], tmp_path, log=lambda line: None)
    preflight = (tmp_path / 'scratch' / 'seed3' / 'preflight.txt').read_text()
    assert 'train: 20 samples' in preflight and '2 per class, drawn with seed 3' in preflight


def test_how_a_finished_run_differs_is_said(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / 'copy')
    with pytest.raises(ConfigError, match=r'with other settings \(optim_wrapper.optimizer.lr: \S+ there, 0.5 here\)'):
        compare(tiny_config(**{'optim_wrapper.optimizer.lr': 0.5}), ['finetune'], [0], tmp_path / 'copy')


def test_the_numbers_and_the_arms_make_sense(tmp_path):
    with pytest.raises(ConfigError, match='--budget 0: must be at least 1'):
        compare(tiny_config(), ['finetune'], [0], tmp_path, epochs=0)
    tiny_config().dump(tmp_path / 'a.py')
    tiny_config().dump(tmp_path / 'b.py')

    def names(text):
        return [arm if isinstance(arm, str) else Path(arm.filename).stem for arm in read_arms(text)]

    b = tmp_path / 'b.py'
    assert names(f'{b},{tmp_path},probe') == ['b', 'a', 'probe'] and names(f'{tmp_path},{b}') == ['a', 'b']
    assert names('probe,probe') == ['probe', 'probe']
    for twice in ('probe,probe', f'{b},{b}'):
        with pytest.raises(ConfigError, match='is given twice'):
            compare(tiny_config(), read_arms(twice), [0], tmp_path)


def test_no_seed_is_refused(monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['compare.py', str(CONFIG), '--seeds', '0'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(CONFIG.parents[2] / 'tools' / 'compare.py'))['parse_args']()
    assert '--seeds 0: must be at least 1' in capsys.readouterr().err


def test_parts_that_a_budget_leaves_untrained_are_named_with_the_table(tmp_path):
    cfg = tiny_config(custom_hooks=[dict(type='GradualUnfreezingHook', every=1)])
    result = compare(cfg, ['scratch', 'finetune'], [0], tmp_path, epochs=1, log=lambda line: None)
    assert result.notes and all(note.startswith('finetune: unfreezing: from epoch') for note in result.notes)
    assert 'NOTE  finetune: unfreezing: ' in (tmp_path / 'table.txt').read_text() and 'NEVER' in result.table()
