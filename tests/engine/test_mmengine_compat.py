"""Every work-around of MMEngine: what it mends, and that MMEngine still has the fault (else it can go)."""
import inspect
import io
import os
import pickle
import threading
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.model import convert_sync_batchnorm
from mmengine.runner import Runner, save_checkpoint
from mmengine.utils import manager
from mmengine.visualization import Visualizer
from torch import nn

from ftcls.engine import mmengine_compat as compat
from ftcls.utils.errors import CheckpointError

MakeRunner = Callable[..., Runner]
TWICE = [dict(type='LocalVisBackend')] * 2


def load(path: Path) -> dict:
    return torch.load(path, map_location='cpu', weights_only=True)


def test_the_version_is_the_one_that_was_looked_at() -> None:
    """Of another one, go through the list of faults."""
    assert mmengine.__version__ == '0.10.7'


def test_unlocked_on_error(tmp_path: Path) -> None:
    """MMEngine keeps its lock where the constructor of a visualizer raises; a server logs from other threads."""
    with pytest.raises(RuntimeError, match='LocalVisBackend'):
        Visualizer.get_instance('faulty', vis_backends=TWICE, save_dir=str(tmp_path))
    manager._lock.release()  # the fault: it was held
    with pytest.raises(RuntimeError, match='LocalVisBackend'), compat.unlocked_on_error():
        Visualizer.get_instance('twice', vis_backends=TWICE, save_dir=str(tmp_path))
    thread = threading.Thread(target=MMLogger.get_current_instance, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_quiet_run(make_runner: MakeRunner) -> None:
    """The log goes to the work dir alone, and its file is closed."""
    current, out = MMLogger.get_current_instance(), io.StringIO()
    with redirect_stdout(out), compat.quiet_run():
        runner = make_runner(epochs=1)
        runner.train()
    assert out.getvalue() == ''
    assert 'Epoch(train)' in next(Path(runner.work_dir).rglob('*.log')).read_text()
    assert not runner.logger.handlers and MMLogger.get_current_instance() is current


class TestAtomicLocalBackend:
    """A checkpoint appears whole or not at all."""

    def test_mmengine_writes_through_it(self, tmp_path: Path) -> None:
        compat.register_atomic_saving()
        assert isinstance(get_file_backend(str(tmp_path / 'x.pth')), compat.AtomicLocalBackend)
        save_checkpoint({'a': torch.ones(2)}, str(tmp_path / 'sub' / 'x.pth'))
        assert torch.equal(load(tmp_path / 'sub' / 'x.pth')['a'], torch.ones(2))
        assert os.listdir(tmp_path / 'sub') == ['x.pth']

    def test_permissions_are_those_of_any_new_file(self, tmp_path: Path) -> None:
        LocalBackend().put(b'x', tmp_path / 'a')
        compat.AtomicLocalBackend().put(b'x', tmp_path / 'b')
        assert (tmp_path / 'a').stat().st_mode == (tmp_path / 'b').stat().st_mode

    def test_failure_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / 'x.pth').write_bytes(b'old')

        def full(descriptor: int) -> None:
            raise OSError(28, 'No space left on device')

        monkeypatch.setattr(os, 'fsync', full)
        with pytest.raises(CheckpointError, match='x.pth .*cannot be written: No space left.*--work-dir.*--resume'):
            compat.AtomicLocalBackend().put(b'new', tmp_path / 'x.pth')
        assert (tmp_path / 'x.pth').read_bytes() == b'old' and os.listdir(tmp_path) == ['x.pth']


def test_make_plain(tmp_path: Path) -> None:
    """What MMEngine's own checkpoints hold does not load safely; what is left out is named."""
    history = HistoryBuffer([1.], [1])
    checkpoint = dict(message_hub=dict(log_scalars=dict(loss=history)), best=np.float64(.5), odd=nullcontext())
    torch.save(dict(checkpoint), tmp_path / 'faulty.pth')
    with pytest.raises(pickle.UnpicklingError):
        load(tmp_path / 'faulty.pth')
    inner = checkpoint['message_hub']
    compat.make_plain(checkpoint)
    torch.save(checkpoint, tmp_path / 'plain.pth')
    assert load(tmp_path / 'plain.pth')['best'] == .5 and 'odd' not in checkpoint
    assert inner['log_scalars']['loss'] is history  # the run's own objects stay as they are


@pytest.mark.parametrize('saved, kept', [
    (dict(classes=('left', 'right'), mean=torch.ones(2)), True),
    (dict(classes=['left', 'right'], mean=torch.ones(2)), True),
    (dict(classes=('left', 'right'), mean=torch.zeros(2)), False),
    (dict(classes=('left', ), mean=torch.ones(2)), False),
    (dict(classes=('left', 'right'), mean=1.), False),
])
def test_keep_dataset_meta(make_runner: MakeRunner, saved: dict, kept: bool) -> None:
    runner = make_runner()
    runner.train_dataloader.dataset.metainfo = dict(classes=('left', 'right'), mean=torch.ones(2))
    checkpoint = dict(meta=dict(dataset_meta=saved))
    compat.keep_dataset_meta(runner, checkpoint)
    assert (checkpoint['meta']['dataset_meta'] is runner.train_dataloader.dataset.metainfo) == kept


@pytest.mark.parametrize('init_cfg, left', [
    (dict(type='Pretrained', checkpoint='http://nowhere.invalid/w.pth'), []),
    ([dict(type='Kaiming', layer='Conv2d'), dict(type='Pretrained', checkpoint='x')], [dict(type='Kaiming', layer='Conv2d')]),
    (dict(type='Kaiming'), dict(type='Kaiming')),
    (None, None),
])  # yapf: disable
def test_drop_pretrained(init_cfg: object, left: object) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].init_cfg = init_cfg
    compat.drop_pretrained(model)
    assert model[0].init_cfg == left


class TestCompatRunner:
    """Runs that share nothing, and logs without remarks on MMEngine."""

    @pytest.fixture
    def cfg(self, tmp_path: Path) -> Config:
        return Config(dict(default_scope='ftcls', work_dir=str(tmp_path), log_level='INFO'))

    def build(self, cfg: Config) -> compat.CompatRunner:
        return compat.CompatRunner(cfg, model=nn.Linear(2, 2), work_dir=cfg.work_dir, default_scope='ftcls')

    def test_two_runs_of_one_second_share_nothing(self, cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr('mmengine.runner.runner.time.time', lambda: 1e9)
        one, other = self.build(cfg), self.build(cfg)
        monkeypatch.undo()
        assert one.timestamp == other.timestamp
        for part in ('logger', 'message_hub', 'visualizer', 'default_scope'):
            assert getattr(one, part) is not getattr(other, part), part

    def test_the_log_begins_with_what_matters(self, cfg: Config, capsys: pytest.CaptureFixture) -> None:
        runner = self.build(cfg)
        assert type(runner.log_processor).__module__.startswith('ftcls.')
        assert 'Hooks will be executed' not in capsys.readouterr().out
        for text in ('Exp name: x', 'Load checkpoint from y', '`a` will be deprecated in future', 'what matters'):
            runner.logger.info(text)
        out = capsys.readouterr().out
        assert 'what matters' in out and out.count('\n') == 1

    def test_a_figure_is_made_when_something_is_drawn(self, cfg: Config) -> None:
        visualizer = self.build(cfg).visualizer
        assert visualizer is Visualizer.get_current_instance()
        visualizer.add_scalar('loss', 1.)
        assert 'fig_save' not in vars(visualizer) and hasattr(Visualizer(), 'fig_save')  # MMEngine still makes one
        visualizer.set_image(np.full((20, 30, 3), 200, np.uint8))
        visualizer.draw_bboxes(torch.tensor([2, 2, 20, 10]))
        assert visualizer.get_image().shape == (20, 30, 3) and len(np.unique(visualizer.get_image())) > 1
        with pytest.raises(AttributeError, match='figure'):
            visualizer.figure  # noqa: B018

    def test_a_test_leaves_the_config_of_the_training(self, cfg: Config, tmp_path: Path) -> None:
        (tmp_path / 'config.py').write_text('# of the training')
        runner = self.build(cfg)
        runner.dump_config()
        assert (tmp_path / 'config.py').read_text() == '# of the training'
        assert 'work_dir' in (Path(runner._log_dir) / 'config.py').read_text()


def test_build_late_parts(make_runner: MakeRunner) -> None:
    """A fault in a schedule or a loop is found before the first step, with its key."""
    runner, asked = make_runner(param_scheduler=dict(type='StepLR', step_size=1)), []

    def errors(keys: str) -> nullcontext:
        asked.append(keys)
        return nullcontext()

    assert isinstance(runner.optim_wrapper, dict)
    compat.build_late_parts(runner, errors)
    assert asked == ['train_cfg', 'optim_wrapper', 'param_scheduler', 'val_cfg, val_evaluator']
    assert not isinstance(runner.optim_wrapper, dict) and len(runner.param_schedulers) == 1
    assert compat.is_training(runner)


def test_ddp_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without buffers, under the name that torch has for it; on the CPU without ids of GPUs."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    config = compat.ddp_config(True)
    buffers = config.keys() - {'type', 'find_unused_parameters', 'device_ids'}
    assert buffers < {'forward_sync_buffers', 'broadcast_buffers'} and not any(config[key] for key in buffers)
    assert buffers < set(inspect.signature(nn.parallel.DistributedDataParallel).parameters)
    assert config['find_unused_parameters'] and config['device_ids'] is None
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert 'device_ids' not in compat.ddp_config(False)


def test_sync_bn_keeps_the_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of timm's BatchNormAct2d; also where the model is wrapped a second time."""
    layers = pytest.importorskip('timm.layers')
    norm = layers.BatchNormAct2d(3, act_layer=nn.SiLU)
    x = torch.randn(2, 3, 4, 4)
    wanted = norm(x)
    model = nn.Sequential(nn.Sequential(norm), nn.BatchNorm2d(3))
    assert convert_sync_batchnorm(nn.Sequential(norm))(x).min() < -1 < wanted.min()  # the fault: no SiLU
    # What MMEngine's method does to the model in several processes; torch's wrapper wants a GPU for such layers.
    monkeypatch.setattr(Runner, 'wrap_model', lambda self, config, model: convert_sync_batchnorm(model))
    runner = compat.CompatRunner.__new__(compat.CompatRunner)
    for _ in range(2):
        model = runner.wrap_model(None, model)
        assert type(model[0][0]) is layers.SyncBatchNormAct and type(model[1]) is nn.SyncBatchNorm
        assert torch.equal(model[0](x), wanted)


def test_wrap_again() -> None:
    """The inner model is wrapped anew, as the config says."""
    inner, outer, new = nn.Linear(2, 2), nn.Module(), nn.Module()
    outer.module = inner
    wrapped = []

    def wrap_model(config: dict, model: nn.Module) -> nn.Module:
        wrapped.append((config, model))
        return new

    runner = SimpleNamespace(cfg=Config(), model=outer, wrap_model=wrap_model)
    compat.wrap_again(runner)
    (config, model), = wrapped
    assert runner.model is new and model is inner
    assert config.items() >= compat.ddp_config(False).items()
    knows_it = 'init_sync' in inspect.signature(nn.parallel.DistributedDataParallel).parameters
    assert config.get('init_sync', True) == (not knows_it)


def test_what_mmengine_has_no_public_name_for(make_runner: MakeRunner, tmp_path: Path) -> None:
    runner = make_runner()
    assert not compat.is_resuming(runner) and compat.checkpoint_source(runner) is None
    assert not compat.is_training(runner)  # its loop is not built yet
    assert compat.accumulative_counts(runner.optim_wrapper) == 1
    runner = make_runner(load_from='x.pth')
    assert compat.checkpoint_source(runner) == 'x.pth'
    (tmp_path / 'run' / 'last_checkpoint').write_text('y.pth')
    runner = make_runner(resume=True)
    assert compat.is_resuming(runner) and compat.checkpoint_source(runner) == 'y.pth'
    optim_wrapper = runner.build_optim_wrapper(
        dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=.1), accumulative_counts=3))
    assert compat.accumulative_counts(optim_wrapper) == 3
    compat.step_after_every_batch(optim_wrapper)
    assert compat.accumulative_counts(optim_wrapper) == 1
    compat.set_test_loop(runner, runner.val_loop)
    assert runner.test_loop is runner.val_loop
