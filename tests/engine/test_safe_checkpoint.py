"""A run's checkpoints: safe to load, exact to resume from, fitted to the model."""
import os
import pickle
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from torch import nn

from ftcls.engine.hooks import SafeCheckpointHook
from ftcls.models.weight_init import PretrainedInit  # noqa: F401 - registers it
from ftcls.utils.errors import CheckpointError, MissingFileError


class Noisy(BaseModel):
    """A model whose steps draw random numbers, with BatchNorm; keys as a classifier's."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Module()
        self.head.fc = nn.Linear(8, classes)

    def forward(self, inputs, labels, mode='tensor'):
        noise = np.random.rand() * 0.1
        logits = self.head.fc(self.backbone(inputs + noise * torch.rand_like(inputs)))
        if mode == 'loss':
            return dict(loss=nn.functional.cross_entropy(logits, labels))
        return list(logits.argmax(1).eq(labels))


class PutsNumpy(Hook):
    """What somebody else's hook may leave: NumPy values, in places of all kinds."""

    def before_save_checkpoint(self, runner, checkpoint):
        checkpoint['extra'] = {'best': np.float64(0.5), 'curve': np.arange(3), 'odd': (np.int64(1), Path('x'))}

    def after_train_epoch(self, runner):
        runner.message_hub.update_info('seen', np.int64(7))
        runner.message_hub.update_info('table', np.eye(2))


def settings(epochs=4, ema=False, hooks=(), **kwargs):
    custom = [dict(type='SafeCheckpointHook'), PutsNumpy(), *hooks]
    if ema:
        custom.insert(0, dict(type='EMAHook'))
    return dict(
        dict(
            model=kwargs.pop('model', None) or Noisy(),
            hooks=custom,
            epochs=epochs,
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=2),
                checkpoint=dict(type='CheckpointHook', interval=1, save_best='top1', rule='greater')),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.05)),
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, begin=0, end=4, by_epoch=False),
                dict(type='MultiStepLR', milestones=[1, 3], by_epoch=True)
            ]), **kwargs)


def new_model(seed: int = 0, classes: int = 2) -> Noisy:
    torch.manual_seed(seed)
    return Noisy(classes)


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(v, other[k]) for k, v in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other))
    return one == other


def load(path) -> dict:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize('ema', [False, True], ids=['plain', 'ema'])
def test_resume_equals_the_uninterrupted_run(make_runner, tmp_path, ema):
    """Weights, optimizer, schedule and loss history are equal to the last bit, with dropout and other randomness."""
    make_runner(**settings(ema=ema, model=new_model(), work_dir=str(tmp_path / 'whole'))).train()
    first = make_runner(**settings(ema=ema, model=new_model(), work_dir=str(tmp_path / 'parts')))

    class Stop(Exception):
        pass

    class Kill(Hook):
        priority = 'LOWEST'

        def before_train_epoch(self, runner):
            if runner.epoch == 2:
                raise Stop

    first.register_hook(Kill())
    with pytest.raises(Stop):
        first.train()
    torch.rand(17), np.random.rand(3)  # a new process would have other random numbers
    resumed = make_runner(**settings(ema=ema, model=new_model(5), work_dir=str(tmp_path / 'parts'), resume=True))
    resumed.train()
    assert isinstance(resumed.message_hub.get_scalar('train/loss'), HistoryBuffer)
    assert resumed.epoch == 4 and resumed.model.load_report.complete
    one, other = load(tmp_path / 'whole' / 'epoch_4.pth'), load(tmp_path / 'parts' / 'epoch_4.pth')
    keys = ['state_dict', 'optimizer', 'param_schedulers'] + ['ema_state_dict'] * ema
    for key in keys:
        assert same(one[key], other[key]), key
    history = [c['message_hub']['log_scalars']['train/loss'] for c in (one, other)]
    assert len(history[0]['values']) == 12 and same(*history)


def test_file_holds_plain_types_only(make_runner, tmp_path):
    make_runner(**settings(epochs=1, ema=True)).train()
    checkpoint = load(tmp_path / 'run' / 'epoch_1.pth')
    assert checkpoint['extra']['best'] == 0.5 and checkpoint['extra']['odd'] == (1, 'x')
    assert checkpoint['meta']['dataset_meta'] == {'classes': ('left', 'right')}
    assert checkpoint['message_hub']['runtime_info']['seen'] == 7
    assert checkpoint['state_dict']._metadata
    assert load(next((tmp_path / 'run').glob('best_*.pth')))['state_dict'].keys() == checkpoint['state_dict'].keys()


def test_saving_does_not_touch_the_run(make_runner):
    runner = make_runner(**settings(epochs=1))
    runner.train()
    assert isinstance(runner.message_hub.get_scalar('train/loss'), HistoryBuffer)
    assert type(runner.message_hub.get_info('seen')) is np.int64


def test_no_false_alarm_on_resume(make_runner, tmp_path):
    make_runner(**settings(epochs=1)).train()
    runner = make_runner(**settings(epochs=2, resume=True))
    runner.train()
    log = '\n'.join(p.read_text() for p in (tmp_path / 'run').rglob('*.log'))
    assert 'dataset metainfo' not in log and 'not HistoryBuffer' not in log and 'do not match' not in log
    assert np.array_equal(runner.message_hub.get_info('table'), np.eye(2))


def test_pretrained_is_not_fetched_on_resume(make_runner):
    make_runner(**settings(epochs=1)).train()
    model = new_model()
    model.init_cfg = [
        dict(type='Constant', layer='Linear', val=1),
        dict(type='Pretrained', checkpoint='http://nowhere.invalid/w.pth')
    ]
    make_runner(**settings(epochs=2, model=model, resume=True)).train()
    assert [cfg['type'] for cfg in model.init_cfg] == ['Constant']


def test_pretrained_is_fetched_where_there_is_nothing_to_resume(make_runner, tmp_path):
    model = new_model()
    model.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'none.pth'))
    with pytest.raises(MissingFileError):
        make_runner(**settings(epochs=2, model=model, resume=True)).train()


class TestResumeRefused:
    """What cannot be resumed from stops the run with the way out."""

    def test_file_without_the_state_of_a_run(self, make_runner, tmp_path):
        torch.save(new_model().state_dict(), tmp_path / 'w.pth')
        runner = make_runner(**settings(load_from=str(tmp_path / 'w.pth'), resume=True))
        with pytest.raises(CheckpointError, match='cannot be resumed from.*load_from'):
            runner.train()

    def test_another_model(self, make_runner):
        make_runner(**settings(epochs=1)).train()
        with pytest.raises(CheckpointError, match='another model than the config(?s:.*)another size'):
            make_runner(**settings(epochs=2, model=new_model(classes=3), resume=True)).train()

    @pytest.mark.parametrize('part', [0., 0.5])
    def test_half_file(self, make_runner, tmp_path, part):
        make_runner(**settings(epochs=1)).train()
        path = tmp_path / 'run' / 'epoch_1.pth'
        path.write_bytes(path.read_bytes()[:int(path.stat().st_size * part)])
        with pytest.raises(CheckpointError, match='epoch_1.pth.*(cut short|empty)'):
            make_runner(**settings(epochs=2, resume=True)).train()

    def test_last_checkpoint_names_a_file_that_is_gone(self, make_runner, tmp_path):
        make_runner(**settings(epochs=2)).train()
        (tmp_path / 'run' / 'epoch_2.pth').unlink()
        with pytest.raises(MissingFileError, match='epoch_2.pth.*did you mean .*epoch_1.pth'):
            make_runner(**settings(epochs=3, resume=True)).train()

    def test_malicious(self, make_runner, tmp_path):

        class Evil:

            def __reduce__(self):
                return os.system, (f'touch {tmp_path / "ran"}', )

        torch.save({'meta': Evil(), 'state_dict': new_model().state_dict()}, tmp_path / 'w.pth')
        for resume in (True, False):
            with pytest.raises(CheckpointError, match='posix.system'):
                make_runner(**settings(load_from=str(tmp_path / 'w.pth'), resume=resume)).train()
        assert not (tmp_path / 'ran').exists()


class TestLoadFrom:
    """``load_from`` takes weights from anywhere."""

    @pytest.mark.parametrize('wrap', [
        lambda s: s,
        lambda s: {'model': {'module.' + k: v for k, v in s.items()}},
        lambda s: {'state_dict': {k.replace('head.fc', 'linear').replace('backbone.', 'module.'): v for k, v in s.items()}},
        lambda s: {'net': s, 'args': Namespace(lr=1)},
    ], ids=['bare', 'wrapped', 'renamed', 'namespace'])  # yapf: disable
    @pytest.mark.parametrize('ema', [False, True], ids=['plain', 'ema'])
    def test_names_are_fitted(self, make_runner, tmp_path, wrap, ema):
        state = new_model(3).state_dict()
        torch.save(wrap(state), tmp_path / 'w.pth')
        runner = make_runner(**settings(ema=ema, model=new_model(), load_from=str(tmp_path / 'w.pth')))
        runner.call_hook('before_run')
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.load_or_resume()
        assert same(dict(runner.model.state_dict()), dict(state))
        assert runner.model.load_report.complete and runner.model.load_report.source == str(tmp_path / 'w.pth')
        if ema:
            hook = next(h for h in runner.hooks if type(h).__name__ == 'EMAHook')
            assert same(dict(hook.ema_model.module.state_dict()), dict(state))
        log = '\n'.join(p.read_text() for p in (tmp_path / 'run').rglob('*.log'))
        assert 'do not match exactly' not in log and 'tensors loaded' in log

    def test_new_head_is_expected_in_training(self, make_runner, tmp_path):
        state = new_model(3, classes=5).state_dict()
        torch.save(state, tmp_path / 'w.pth')
        runner = make_runner(**settings(epochs=1, model=new_model(), load_from=str(tmp_path / 'w.pth')))
        runner.train()
        assert 'head.fc.weight' in runner.model.load_report.expected

    def test_stops_where_little_fits(self, make_runner, tmp_path):
        torch.save({'x.weight': torch.zeros(3)}, tmp_path / 'w.pth')
        with pytest.raises(CheckpointError, match=r'0 of 6(?s:.*)SafeCheckpointHook\(allow_partial=True\)'):
            make_runner(**settings(load_from=str(tmp_path / 'w.pth'))).train()

    def test_not_finite(self, make_runner, tmp_path):
        state = new_model(3).state_dict()
        state['backbone.0.bias'] = torch.full((8, ), float('nan'))
        torch.save(state, tmp_path / 'w.pth')
        with pytest.raises(CheckpointError, match='NaN.*backbone.0.bias'):
            make_runner(**settings(load_from=str(tmp_path / 'w.pth'))).train()


class TestTesting:
    """``Runner.test`` and ``Runner.val`` ask for all of the model."""

    @pytest.fixture
    def make_tester(self, make_runner):

        def make(path, **kwargs):
            runner = make_runner(**settings(load_from=str(path), **kwargs))
            runner._test_dataloader, runner._test_evaluator = runner._val_dataloader, Evaluator(
                runner._val_evaluator.metrics)
            runner._test_loop = dict()
            return runner

        return make

    def test_own_checkpoint(self, make_runner, make_tester, tmp_path):
        trained = make_runner(**settings(epochs=1))
        trained.train()
        runner = make_tester(tmp_path / 'run' / 'epoch_1.pth', model=new_model(9))
        runner.test()
        assert same(dict(runner.model.state_dict()), dict(trained.model.state_dict()))

    def test_untrained_head_is_refused(self, make_tester, tmp_path):
        state = {k: v for k, v in new_model(3).state_dict().items() if 'head' not in k}
        torch.save(state, tmp_path / 'w.pth')
        with pytest.raises(CheckpointError, match='lacks weights that the model has: head.fc.weight: not loaded'):
            make_tester(tmp_path / 'w.pth').test()
        torch.save(new_model(3, classes=5).state_dict(), tmp_path / 'w.pth')
        with pytest.raises(CheckpointError, match='another size'):
            make_tester(tmp_path / 'w.pth').val()


def test_real_resnet20_fits_a_classifier(real_data):
    """He's CIFAR ResNet-20 with another code's names loads whole, and classifies as it should."""
    models = pytest.importorskip('ftcls.models')
    from ftcls.registry import MODELS
    from ftcls.utils.checkpoint.loading import load_pretrained
    if 'CifarResNet' not in MODELS:
        pytest.skip('CifarResNet is not there yet')
    assert models
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='CifarResNet', depth=20),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=64)))
    report = load_pretrained(model, str(real_data / 'resnet20-12fca82f.th'))
    assert report.complete and not report.unexpected and not report.expected and report.add == 'backbone.'
    state = torch.load(real_data / 'resnet20-12fca82f.th', map_location='cpu', weights_only=True)['state_dict']
    assert torch.equal(model.state_dict()['head.fc.weight'], state['module.linear.weight'])
    assert torch.equal(model.state_dict()['backbone.conv1.weight'], state['module.conv1.weight'])


def test_reseed_can_be_switched_off():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    SafeCheckpointHook(reseed=False).before_train_epoch(None)
    assert torch.equal(before, torch.random.get_rng_state())


def test_hook_alone_makes_a_checkpoint_plain():
    checkpoint = {'message_hub': {'log_scalars': {'loss': HistoryBuffer([1.], [1])}}, 'x': np.float32(2)}
    SafeCheckpointHook().before_save_checkpoint(None, checkpoint)
    assert checkpoint['x'] == 2. and pickle.dumps(checkpoint)
    assert checkpoint['message_hub']['log_scalars']['loss']['values'].tolist() == [1.]
