"""How much training fits in a time: steps of a written config, timed on this machine."""
import itertools
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from torch import nn

from ftcls.apis.inference.model_zoo import build_model
from ftcls.apis.training.loaders import build_datasets
from ftcls.config.loading import load_config
from ftcls.datasets.survey import spread
from ftcls.engine.hooks.speed import Layout, Trial, has_bfloat16
from ftcls.engine.mmengine_compat import log_level
from ftcls.utils import ConfigError
from ftcls.utils.processes import keep_freed_memory, usable_cores

__all__ = ['Pace', 'measure_pace', 'parse_time']

_SECONDS = dict(s=1, sec=1, m=60, min=60, h=3600)
_SAMPLES = 16  # images, which are read once


@dataclass(frozen=True)
class Pace:
    """Seconds per image, of a step of training and of a validation, reading included, and the layout that they need."""
    training: float
    evaluation: float
    layout: Layout


def parse_time(text: str) -> float:
    """Return the seconds of ``'300s'``, ``'5min'`` or ``'1.5h'``.

    Raises:
        ConfigError: If it is none of these.
    """
    match = re.fullmatch(r'(\d+(?:\.\d+)?) ?(s|sec|m|min|h)', text.strip())
    if not match or float(match[1]) == 0:
        raise ConfigError(f'--time {text}: must be a number above 0 with s, min or h, for example 5min')
    return float(match[1]) * _SECONDS[match[2]]


def measure_pace(path: Path, device: str) -> Pace:
    """Time a few steps of the training that a config describes, in the layout that is fastest here.

    Raises:
        ConfigError: If this machine has no such device.
    """
    if device == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('--device cuda: --time measures this machine, which has no GPU; leave out one of the two')
    keep_freed_memory()  # as in training
    cfg = load_config(path)
    cfg.model.backbone.pop('pretrained', None)  # the weights' values take no time
    init_default_scope('ftcls')
    with log_level('ERROR'):
        dataset = build_datasets(cfg, ['train'])[0]['train']
        model = build_model(cfg).to(device)
    begin = time.perf_counter()
    samples = [dataset[number] for number in spread(range(len(dataset)), _SAMPLES)]
    reading = (time.perf_counter() - begin) / len(samples) / usable_cores()
    batch_size = cfg.train_dataloader.batch_size
    flags = itertools.product((False, True), (False, True) if has_bfloat16(device) else (False, ))
    layouts = sorted(itertools.starmap(Layout, flags), key=lambda one: one[::-1])
    trial = Trial(model, samples, default_collate)
    layout, _ = trial.compare(layouts, 10**9, batch_size)
    training = min(trial.step(batch_size, layout)[0] for _ in range(2)) / batch_size
    return Pace(training + reading, _forward(trial.model, samples) + reading, layout)


def _forward(model: nn.Module, samples: list[dict]) -> float:
    """Return the seconds of the network for one image, without gradients."""
    times = []
    with torch.no_grad():
        for _ in range(3):
            batch = model.data_preprocessor(default_collate(samples))
            begin = time.perf_counter()
            model.eval()(batch['inputs'], batch['data_samples'], mode='tensor')
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begin)
    return min(times) / len(samples)
