"""Hooks and an optimizer under mmpretrain's names: what they measure, compute and draw, also after a resume."""
import copy

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import nn

from ftcls import apis
from ftcls.apis import TrainOptions, train
from ftcls.engine.hooks import EMAHook, PreciseBNHook
from ftcls.registry import HOOKS, OPTIMIZERS
from ftcls.utils import ConfigError
from ftcls.visualization.records import read_records


class Normalized(BaseModel):
    """A linear layer, a trained and a frozen BatchNorm, dropout."""

    def __init__(self) -> None:
        super().__init__(data_preprocessor=BaseDataPreprocessor())
        torch.manual_seed(0)
        self.first = nn.Linear(4, 3)
        self.norm, self.frozen = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(3, 2)

    def train(self, mode: bool = True) -> 'Normalized':
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor, mode: str = 'tensor') -> object:
        logits = self.head(self.drop(self.frozen(self.norm(self.first(inputs)))))
        if mode != 'loss':
            return list(logits.argmax(1).eq(labels))
        return dict(loss=nn.functional.cross_entropy(logits, labels))


class Stop(Hook):
    """Keeps what the model was after the second epoch."""

    def after_train_epoch(self, runner: object) -> None:
        self.state = copy.deepcopy(runner.model.state_dict())


@pytest.mark.parametrize('train_cfg', [dict(by_epoch=True, max_epochs=2), dict(by_epoch=False, max_iters=6)])
def test_precise_statistics_are_the_mean_over_batches(make_runner, train_cfg):
    interval = 1 if train_cfg['by_epoch'] else 6
    runner = make_runner([PreciseBNHook(num_samples=12, interval=interval)],
                         model=Normalized(),
                         train_cfg=train_cfg,
                         val_dataloader=None,
                         val_cfg=None,
                         val_evaluator=None)
    runner.train()
    norm, first = runner.model.norm, runner.model.first
    with torch.no_grad():
        features = first(runner.train_dataloader.dataset.points)
    # the mean over equal batches is that of all images, in whatever order
    assert torch.allclose(norm.running_mean, features.mean(0), atol=1e-6)
    assert norm.momentum == 0.1
    assert torch.equal(runner.model.frozen.running_mean, torch.zeros(3))


def test_precise_statistics_leave_the_training_as_it_is(make_runner):
    """Weights and random numbers are those of the run without the hook; only the statistics differ."""
    states = []
    for hooks in ([], [dict(type='PreciseBNHook', num_samples=4)]):
        runner = make_runner(hooks, model=Normalized())
        runner.train()
        states.append((runner.model.state_dict(), torch.rand(1)))
    (plain, drawn), (precise, drawn_too) = states
    assert drawn == drawn_too
    assert all(torch.equal(plain[name], precise[name]) for name in plain if 'running' not in name and 'num' not in name)
    assert not torch.equal(plain['norm.running_mean'], precise['norm.running_mean'])


def test_precise_statistics_after_a_resume(make_runner, tmp_path):
    """A resumed run ends with the weights and statistics of the uninterrupted one, bit by bit."""
    states = {}
    for name, epochs, more in (('whole', 3, {}), ('half', 2, {}),
                               ('half', 3, dict(resume=True, load_from=str(tmp_path / 'half' / 'epoch_2.pth')))):
        hooks = [dict(type='SafeCheckpointHook'), dict(type='PreciseBNHook', num_samples=8)]
        runner = make_runner(
            hooks,
            epochs=epochs,
            model=Normalized(),
            work_dir=str(tmp_path / name),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
            **more)
        runner.train()
        states[name] = runner.model.state_dict()
    assert all(torch.equal(states['whole'][name], states['half'][name]) for name in states['whole'])


def test_both_weights_are_measured(digits, tmp_path):
    """The metrics of a run with EMA, of a run without it, and of a test of the checkpoint agree."""
    hook = dict(type='EMAHook', momentum=0.3)
    measured = {}
    for name, hooks in dict(
            plain=[], origin=[dict(hook, evaluate_on_ema=False)], ema=[hook],
            both=[dict(hook, evaluate_on_origin=True)]).items():
        cfg = digits(custom_hooks=hooks)
        train(cfg, TrainOptions(work_dir=str(tmp_path / name)))
        measured[name] = [one for one in read_records(tmp_path / name / 'metrics.jsonl') if one['kind'] == 'val'][-1]
    assert measured['origin']['accuracy/top1'] == measured['plain']['accuracy/top1']
    assert measured['both']['accuracy/top1'] == measured['ema']['accuracy/top1'] != measured['plain']['accuracy/top1']
    assert measured['both']['accuracy/top1_origin'] == measured['plain']['accuracy/top1']
    cfg = digits(custom_hooks=[dict(hook, evaluate_on_origin=True)])
    metrics = apis.test(cfg, str(tmp_path / 'both' / 'epoch_2.pth'), work_dir=str(tmp_path / 'test'))
    again = {name: metrics[f'accuracy/{name}'] for name in ('top1', 'top1_origin')}
    assert again['top1_origin'] != again['top1']
    assert EMAHook(evaluate_on_ema=False).evaluate_on_origin


def test_images_are_drawn_with_their_prediction(digits, tmp_path):
    drawn = tmp_path / 'drawn'
    hook = dict(type='VisualizationHook', enable=True, interval=100, out_dir=str(drawn), draw_score=False)
    cfg = digits(
        **{
            'default_hooks.visualization': hook,
            'visualizer': dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
        })
    runner = train(cfg, TrainOptions(work_dir=str(tmp_path / 'run')))
    images = len(runner.val_dataloader.dataset)
    names = {path.name for path in drawn.iterdir()}
    assert len(names) == 2 * len(range(0, images, 100))
    assert {'0_1.png', '100_2.png'} <= names
    hook.pop('out_dir')
    cfg = digits(**{'default_hooks.visualization': hook, 'visualizer': cfg.visualizer})
    apis.test(cfg, str(tmp_path / 'run' / 'epoch_2.pth'), work_dir=str(tmp_path / 'test'), tta=True)
    assert list((tmp_path / 'test').rglob('vis_image/0_0.png'))


@pytest.mark.parametrize(('changes', 'said'), [
    ({
        'draw_scores': True
    }, "draw_scores.*'draw_score'"),
    ({
        'interval': 0
    }, 'interval=0: must be at least 1'),
])
def test_what_cannot_be_drawn(changes, said):
    with pytest.raises(ConfigError, match=said):
        HOOKS.build(dict(type='VisualizationHook', enable=True, **changes))


def test_drawing_needs_its_visualizer(make_runner):
    runner = make_runner([dict(type='VisualizationHook', enable=True)], visualizer=dict(type='Visualizer'))
    with pytest.raises(ConfigError, match="type='UniversalVisualizer'"):
        runner.train()


def test_lamb_is_that_of_timm():
    timm = pytest.importorskip('timm.optim')
    weights = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizers = [OPTIMIZERS.build(dict(type='Lamb', params=weights[:1], lr=0.1)), timm.Lamb(weights[1:], lr=0.1)]
    for weight, optimizer in zip(weights, optimizers):
        (weight**2).sum().backward()
        optimizer.step()
    assert torch.equal(*weights) and weights[0][0] != 1
