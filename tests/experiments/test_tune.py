"""A search over config keys: killed and resumed, pruned, failing; what it writes."""
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from ftcls.apis import SearchOptions, TrainOptions, load_config, read_space, train, tune, tune_on_ray
from ftcls.experiments.run import Run
from ftcls.experiments.tune import ReportHook
from ftcls.experiments.tune_ray import _domain
from ftcls.registry import HOOKS
from ftcls.utils import ConfigError

optuna = pytest.importorskip('optuna')
SPACE = ['optim_wrapper.optimizer.lr=loguniform(0.01,0.3)', 'train_dataloader.batch_size=choice(40, 80)']


class Killed(BaseException):
    """What no handler of exceptions catches, as a kill."""


@pytest.fixture
def cfg(digits: Callable[..., Config]) -> Config:
    """Two epochs of two steps at most, validated on 40 scans."""
    short = {'train_dataloader.dataset.indices': 80, 'val_dataloader.dataset.indices': 40}
    return digits(**short, **{'train_cfg.val_interval': 1})


@pytest.fixture
def kill_once(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Arm a hook that ends run number ``k`` of the process after its first epoch."""
    monkeypatch.setattr(HOOKS, '_module_dict', dict(HOOKS.module_dict))

    def arm(number: int, end: type[BaseException]) -> None:
        runs = []

        @HOOKS.register_module(force=True)
        class KillOnce(Hook):
            priority = 'LOWEST'

            def before_train(self, runner: object) -> None:
                runs.append(1)  # the check before the first trial does not come so far

            def after_val_epoch(self, runner: object, metrics: dict | None = None) -> None:
                if len(runs) == number + 1 and runner.epoch == 1:
                    raise end

    return arm


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a trial for killed after a second or two without a sign of life, which is not the default minute."""
    monkeypatch.setattr(sys.modules['ftcls.experiments.tune'], '_HEARTBEAT', 1)
    monkeypatch.setattr(sys.modules['ftcls.experiments.tune'], '_GRACE', 2)


@pytest.mark.parametrize('end', [Killed, KeyboardInterrupt])
def test_a_killed_search_continues(cfg: Config, kill_once: Callable, short_grace: None, tmp_path: Path,
                                   end: type[BaseException]) -> None:
    cfg.custom_hooks = [dict(type='KillOnce')]
    cfg.default_hooks.checkpoint.interval = 1
    kill_once(1, end)
    options, said = SearchOptions(trials=2, out_dir=tmp_path / 'tune'), []
    with pytest.raises(end):
        tune(cfg, read_space(SPACE), options, said.append)
    kill_once(99, end)
    search = tune(cfg, read_space(SPACE), options, said.append)
    assert {line.split(':')[0] for line in said} == {'trial_0', 'trial_1'}
    assert 'trial_1: was killed, and continues' in said
    # the retry has a number of the study's, the trial keeps its own
    assert [t['number'] for t in search.trials] == [0, 1]
    assert {t['state'] for t in search.trials} == {'finished'}
    # the killed trial resumed from its checkpoint: one record an epoch, as of an unbroken run
    records = [json.loads(line) for line in (tmp_path / 'tune/trial_1/metrics.jsonl').read_text().splitlines()]
    vals = [r for r in records if r['kind'] == 'val']
    assert len(vals) == 2 and search.trials[1]['score'] == pytest.approx(vals[-1]['accuracy/top1'])
    # a third call makes nothing more
    count = len(said)
    assert len(tune(cfg, read_space(SPACE), options, said.append).trials) == 2 and len(said) == count


def test_what_it_writes(cfg: Config, tmp_path: Path) -> None:
    search = tune(cfg, read_space(SPACE), SearchOptions(trials=3, out_dir=tmp_path), lambda line: None)
    best = search.ranked[0]
    assert best['score'] == max(t['score'] for t in search.trials)
    chosen = load_config(tmp_path / 'best.py')
    assert chosen.optim_wrapper.optimizer.lr == best['values'][SPACE[0].partition('=')[0]]
    assert str(chosen.train_dataloader.batch_size) == best['values']['train_dataloader.batch_size']
    state = torch.load(tmp_path / best['folder'] / 'epoch_2.pth', weights_only=True)
    assert state['optimizer']['param_groups'][0]['initial_lr'] == chosen.optim_wrapper.optimizer.lr
    assert json.loads((tmp_path / 'results.json').read_text())['trials'] == search.trials
    assert (tmp_path / 'search.png').read_bytes()[:4] == b'\x89PNG'
    table = (tmp_path / 'table.txt').read_text()
    assert table.startswith('3 trials: 3 finished') and table.splitlines()[2].split()[0] == str(best['number'])
    with pytest.raises(ConfigError, match=r'holds a search with other settings \(space.train_dataloader.batch_size'):
        tune(cfg, read_space(SPACE[:1]), SearchOptions(trials=3, out_dir=tmp_path), lambda line: None)


def test_a_failing_trial_is_named_and_the_others_go_on(cfg: Config, tmp_path: Path) -> None:
    said: list[str] = []
    space = read_space(['model.head.num_classes=choice(10, 12)'])
    search = tune(cfg, space, SearchOptions(trials=6, out_dir=tmp_path), said.append)
    states = {trial['values']['model.head.num_classes']: trial['state'] for trial in search.trials}
    assert states == {'10': 'finished', '12': 'failed'}
    for text in (search.table(), '\n'.join(said)):
        assert 'FAILED' in text and 'model.head.num_classes is 12, but the data has 10 classes' in text


def test_pruning(cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of 10 an epoch, but for the last trials, which have 1: the first report after a third of the epochs ends them."""
    epochs: dict[str, int] = {}

    def execute(run: Run, hooks: list) -> dict:
        rate = 10. if len(epochs) < 5 else 1.
        for epoch in range(1, 7):
            epochs[run.name] = epoch
            loop = types.SimpleNamespace(stop_training=False)
            runner = types.SimpleNamespace(train_loop=loop, epoch=epoch)
            hooks[0].after_val_epoch(runner, {'accuracy/top1': rate * epoch})
            if loop.stop_training:
                break
        return dict(metrics={'accuracy/top1': rate * epoch})

    cfg.train_cfg.max_epochs = 6
    monkeypatch.setattr(Run, 'execute', execute)
    search = tune(cfg, read_space(SPACE), SearchOptions(7, tmp_path, prune=True), lambda line: None)
    assert [t['state'] for t in search.trials] == ['finished'] * 5 + ['pruned'] * 2
    assert list(epochs.values()) == [6] * 5 + [3] * 2 and search.trials[6]['score'] == 3.


def test_a_pruned_run_ends_after_its_validation(cfg: Config, tmp_path: Path) -> None:
    cfg.train_cfg.max_epochs = 3
    hook = ReportHook('accuracy/top1', lambda score, step: step == 2)
    train(cfg, TrainOptions(work_dir=str(tmp_path), seed=0), [hook])
    records = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert hook.is_pruned and [r['epoch'] for r in records if r['kind'] == 'val'] == [1, 2]


@pytest.mark.parametrize('edit, metric, said', [
    ({}, 'accuracy/top5', "--metric='accuracy/top5': the validation measures accuracy/top1"),
    ({
        'load_from': 'gone.pth'
    }, None, 'gone.pth'),
])
def test_a_fault_that_trials_share_stops_before_the_first(cfg: Config, tmp_path: Path, edit: dict, metric: str | None,
                                                          said: str) -> None:
    cfg.merge_from_dict(edit)
    with pytest.raises(ConfigError, match=said):
        tune(cfg, read_space(SPACE), SearchOptions(1, tmp_path, metric), lambda line: None)
    assert not list(tmp_path.iterdir())


def test_less_loss_is_better(cfg: Config, tmp_path: Path) -> None:
    search = tune(cfg, read_space(SPACE), SearchOptions(2, tmp_path, 'loss'), lambda line: None)
    assert search.ranked[0]['score'] == min(t['score'] for t in search.trials)


def test_on_ray(cfg: Config, tmp_path: Path) -> None:
    """On Ray itself, where it is installed: the same table, figure and best config."""
    pytest.importorskip('ray', reason='Ray is not installed')
    search = tune_on_ray(cfg, read_space(SPACE), SearchOptions(2, tmp_path), lambda line: None)
    assert [t['number'] for t in search.trials] == [0, 1] and {t['state'] for t in search.trials} == {'finished'}
    assert (tmp_path / search.ranked[0]['folder'] / 'epoch_2.pth').is_file() and (tmp_path / 'best.py').is_file()
    with pytest.raises(ConfigError, match='trials: 2 there, 4 here'):
        tune_on_ray(cfg, read_space(SPACE), SearchOptions(4, tmp_path), lambda line: None)


def test_the_space_on_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each distribution becomes Ray's of the same range (a stand-in takes down what it is asked for)."""
    ray = types.ModuleType('ray')
    ray.tune = types.SimpleNamespace(**{
        name: lambda *given, name=name: (name, *given)
        for name in ('uniform', 'loguniform', 'randint', 'choice')
    })
    monkeypatch.setitem(sys.modules, 'ray', ray)
    space = read_space(['a=uniform(0,1)', 'b=loguniform(0.1,1)', 'c=int(-1,3)', 'd=choice(x, y)'])
    assert [_domain(d) for d in space] == [('uniform', 0, 1), ('loguniform', 0.1, 1), ('randint', -1, 4),
                                           ('choice', ['x', 'y'])]
