"""L2-SP: the pull to the starting point, against the penalty written into the loss of a plain torch loop."""
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from ftcls.engine.hooks import PreflightHook
from ftcls.models.weight_init import PretrainedInit  # noqa: F401 - registers it
from ftcls.registry import HOOKS
from ftcls.utils import CheckpointError, ConfigError
from ftcls.utils.checkpoint.loading import load_pretrained

ALPHA, BETA, LR = 0.3, 0.2, 0.1


class TwoLayers(BaseModel):
    """Two linear layers; ``losses`` multiplies the loss of the k-th training step, ``seen`` keeps the weights before each."""

    def __init__(self, losses: dict[int, float] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(4, 8)
        self.head = nn.Linear(8, 2)
        self.losses, self.seen = losses or {}, []

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor, mode: str) -> dict[str, torch.Tensor]:
        self.seen.append({k: v.clone() for k, v in self.state_dict().items()})
        loss = nn.functional.cross_entropy(self.head(self.backbone(inputs).relu()).float(), labels)
        return dict(loss=loss * self.losses.get(len(self.seen), 1.))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Pretrained weights of the backbone."""
    torch.manual_seed(7)
    path = tmp_path / 'source.pth'
    torch.save(nn.Linear(4, 8).state_dict(), path)
    return path


def pretrained(source: Path, losses: dict[int, float] | None = None) -> BaseModel:
    model = TwoLayers(losses)
    load_pretrained(model.backbone, source)
    return model


def hooks() -> list[dict]:
    return [dict(type='L2SPHook', alpha=ALPHA, beta=BETA), dict(type='SafeCheckpointHook')]


def settings(**optim_wrapper: object) -> dict:
    wrapper = dict(dict(optimizer=dict(type='SGD', lr=LR, momentum=0.9)), **optim_wrapper)
    return dict(optim_wrapper=wrapper, val_dataloader=None, val_cfg=None, val_evaluator=None)


def by_hand(model: BaseModel, data: Dataset, steps: int, batches: int, max_norm: float | None) -> None:
    """Train with the penalty in the loss; with clipping, which leaves weight decay out, in the gradient."""
    start = {n: p.detach().clone() for n, p in model.backbone.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    points = itertools.cycle([[data[i] for i in range(k, k + 4)] for k in (0, 4, 8)])
    for _ in range(steps):
        for batch in itertools.islice(points, batches):
            inputs, labels = (torch.stack([sample[key] for sample in batch]) for key in ('inputs', 'labels'))
            (model(inputs, labels, 'loss')['loss'] / batches).backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        penalty = ALPHA / 2 * sum((p - start[n]).square().sum() for n, p in model.backbone.named_parameters())
        penalty = penalty + BETA / 2 * sum(p.square().sum() for p in model.head.parameters())
        penalty.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize('batches, max_norm', [(1, None), (3, None), (1, 0.2)], ids=['plain', 'accumulated', 'clipped'])
def test_it_is_the_penalty_of_the_paper(make_runner: Callable[..., Runner], source: Path, batches: int,
                                        max_norm: float | None) -> None:
    more = dict(accumulative_counts=batches)
    if max_norm is not None:
        more['clip_grad'] = dict(max_norm=max_norm)
    runner = make_runner(hooks(), model=pretrained(source), epochs=3, **settings(**more))
    runner.train()
    expected = pretrained(source)
    by_hand(expected, runner.train_dataloader.dataset, 9 // batches, batches, max_norm)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(runner.model.state_dict()[name], value, rtol=1e-5, atol=1e-6, msg=name)
    without = make_runner([], model=pretrained(source), epochs=3, **settings(**more))
    without.train()
    moved = [(r.model.backbone.weight - pretrained(source).backbone.weight).norm() for r in (runner, without)]
    assert moved[0] < 0.97 * moved[1]


@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'AmpOptimWrapper'])
def test_where_the_loss_is_flat_weights_go_straight_to_their_goals(make_runner: Callable[..., Runner], source: Path,
                                                                   wrapper: str) -> None:
    """The first step moves away; the second, of a loss of 0, moves by lr * alpha towards w0 and lr * beta towards 0."""
    model = pretrained(source, losses={2: 0.})
    sgd = dict(type=wrapper, optimizer=dict(type='SGD', lr=LR))
    make_runner(hooks(), model=model, epochs=1, **settings(**sgd)).train()
    start, first, second = model.seen
    assert not torch.equal(start['backbone.weight'], first['backbone.weight'])
    for name in start:
        rate, goal = (ALPHA, start[name]) if name.startswith('backbone') else (BETA, torch.zeros(()))
        torch.testing.assert_close(second[name], first[name] - LR * rate * (first[name] - goal), rtol=1e-6, atol=1e-7)


def test_frozen_weights_are_not_pulled(make_runner: Callable[..., Runner], source: Path) -> None:
    model = pretrained(source)
    model.head.requires_grad_(False)
    before = model.head.weight.clone()
    make_runner(hooks(), model=model, **settings()).train()
    assert torch.equal(model.head.weight, before)


def test_the_starting_point_survives_a_break(make_runner: Callable[..., Runner], source: Path, tmp_path: Path) -> None:
    checkpoint = dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)), **settings())
    make_runner(hooks(), model=pretrained(source), work_dir=str(tmp_path / 'whole'), epochs=4, **checkpoint).train()
    make_runner(hooks(), model=pretrained(source), work_dir=str(tmp_path / 'parts'), epochs=2, **checkpoint).train()
    source.unlink()
    fresh = TwoLayers()  # resuming loads no pretrained weights
    resumed = make_runner(hooks(), model=fresh, work_dir=str(tmp_path / 'parts'), epochs=4, resume=True, **checkpoint)
    resumed.train()
    whole, parts = (torch.load(tmp_path / name / 'epoch_4.pth', weights_only=True) for name in ('whole', 'parts'))
    for key in ('state_dict', 'l2sp_start'):
        assert whole[key].keys() == parts[key].keys() and len(whole[key]) >= 2
        assert all(torch.equal(value, parts[key][name]) for name, value in whole[key].items())
    torch.manual_seed(7)
    assert torch.equal(whole['l2sp_start']['backbone.weight'], nn.Linear(4, 8).weight)


def test_a_checkpoint_without_a_starting_point_is_refused(make_runner: Callable[..., Runner], source: Path,
                                                          tmp_path: Path) -> None:
    checkpoint = dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)), **settings())
    make_runner(hooks()[1:], model=pretrained(source), epochs=1, **checkpoint).train()
    resumed = make_runner(hooks(), model=TwoLayers(), epochs=2, resume=True, **checkpoint)
    with pytest.raises(CheckpointError, match='has no starting point for L2SPHook'):
        resumed.train()


def test_what_cannot_be_meant_is_refused(make_runner: Callable[..., Runner], source: Path) -> None:
    with pytest.raises(ConfigError, match='nothing was loaded to start from'):
        make_runner(hooks(), model=TwoLayers(), **settings()).train()
    decayed = settings(optimizer=dict(type='SGD', lr=LR, weight_decay=1e-4))
    with pytest.raises(ConfigError, match='replaces weight decay 0.0001: .*weight_decay=0'):
        make_runner(hooks(), model=pretrained(source), **decayed).train()
    with pytest.raises(ConfigError, match='L2SPHook.alpha=-1'):
        HOOKS.build(dict(type='L2SPHook', alpha=-1))


def test_the_preflight_tells(make_runner: Callable[..., Runner], source: Path, tmp_path: Path) -> None:
    make_runner([*hooks(), PreflightHook()], model=pretrained(source), epochs=1, cfg={}, **settings()).train()
    text = (tmp_path / 'run' / 'preflight.txt').read_text()
    assert 'strategy  L2-SP: 0.3/2 |w - w0|² over 2 loaded tensors, 0.2/2 |w|² over 2 others' in text
