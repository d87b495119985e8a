"""A tiny model, random data and real runners."""
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset


class Points(Dataset):
    """Random points with the class that their first coordinate's sign gives."""

    metainfo = dict(classes=('left', 'right'))

    def __init__(self, length: int = 12) -> None:
        generator = torch.Generator().manual_seed(0)
        self.points = torch.randn(length, 4, generator=generator)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return dict(inputs=self.points[index], labels=(self.points[index, 0] > 0).long())


class TwoLayers(BaseModel):
    """Two linear layers; ``losses`` overrides the loss of the k-th training step."""

    def __init__(self, losses: dict[int, float] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(4, 8)
        self.head = nn.Linear(8, 2)
        self.losses = losses or {}
        self.steps = 0

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor, mode: str = 'tensor') -> Any:
        logits = self.head(self.backbone(inputs).relu())
        if mode != 'loss':
            return list(logits.argmax(1).eq(labels))
        self.steps += 1
        loss = nn.functional.cross_entropy(logits.float(), labels)
        return dict(loss=loss * self.losses.get(self.steps, 1.), margin=logits.std())


class Share(BaseMetric):
    """Share of right answers, and values of other kinds."""
    higher_is_better = True

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.extend(bool(sample) for sample in data_samples)

    def compute_metrics(self, results: list) -> dict[str, Any]:
        return dict(
            top1=100 * sum(results) / len(results),
            loss=torch.tensor(0.25),
            time=7.,
            per_class=torch.tensor([1., float('nan')]),
            matrix=torch.zeros(40, 40))


@pytest.fixture
def log_lines(closed_logs: None) -> Iterator[list[str]]:
    """The messages that go to MMEngine's current logger, as they come; a runner's go to its own logger."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.fixture
def make_runner(tmp_path: Path) -> Callable[..., Runner]:
    """Return a function that builds a runner of 3 epochs with 3 iterations of 4 points each."""
    count = iter(range(100))

    def make(hooks: list[Any] = (), losses: dict[int, float] | None = None, epochs: int = 3, **kwargs: Any) -> Runner:
        loader = dict(dataset=Points(), batch_size=4, num_workers=0, collate_fn=dict(type='default_collate'))
        settings = dict(
            model=TwoLayers(losses),
            work_dir=str(tmp_path / 'run'),
            train_dataloader=dict(sampler=dict(type='DefaultSampler', shuffle=False), **loader),
            val_dataloader=dict(sampler=dict(type='DefaultSampler', shuffle=False), **loader),
            val_evaluator=Evaluator(Share()),
            val_cfg=dict(),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=2), checkpoint=None),
            custom_hooks=list(hooks),
            default_scope='ftcls',
            randomness=dict(seed=0),
            experiment_name=f'test{next(count)}')
        return Runner(**{**settings, **kwargs})

    return make
