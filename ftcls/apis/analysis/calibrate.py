"""Temperature scaling: making a trained classifier's scores mean what they say."""
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ftcls.apis.inference.model_zoo import get_model
from ftcls.apis.training.data_checks import check_heads
from ftcls.apis.training.loaders import build_datasets, build_loaders
from ftcls.apis.training.train import check_config
from ftcls.config.resolve import EvalOptions, resolve, work_dir_of
from ftcls.evaluation.calibration import Reliability, fit_temperature, reliability
from ftcls.utils import ConfigError, DataError
from ftcls.visualization import plot_reliability

__all__ = ['Calibration', 'calibrate']


@dataclass(frozen=True)
class Calibration:
    """What temperature scaling did.

    Attributes:
        temperature: What the logits are divided by.
        layer: Name of the layer whose weights were divided by it.
        fitted_on: Number of validation pictures that it was fitted on.
        before: ``nll``, ``ece`` (0 to 1) and ``accuracy`` (percent) on the test set with the logits as they were.
        after: The same with the logits divided.
        same_data: Whether the test set is the validation set, so that ``after`` looks better than it is.
    """
    temperature: float
    layer: str
    fitted_on: int
    before: dict[str, float]
    after: dict[str, float]
    same_data: bool

    def text(self) -> str:
        """Describe it in a few lines."""
        lines = [f'temperature {self.temperature:.4f}, fitted on {self.fitted_on:,} validation pictures', '',
                 'on the test set    NLL     ECE  accuracy/top1']  # yapf: disable
        lines += [f'{name:<13}{one["nll"]:9.4f}{100 * one["ece"]:7.2f}%{one["accuracy"]:15.2f}'
                  for name, one in (('before', self.before), ('after', self.after))]  # yapf: disable
        if self.same_data:
            lines += ['', 'The test set is the validation set that the temperature was fitted on: `after` flatters.']
        return '\n'.join(lines)


def calibrate(cfg: Config,
              checkpoint: str,
              out_dir: str | Path | None = None,
              *,
              bins: int = 15,
              device: str | None = None) -> Calibration:
    """Fit a temperature on ``val_dataloader``, measure it on ``test_dataloader``, and write a calibrated checkpoint.

    Guo et al. 2017 (arXiv:1706.04599). The temperature is put into the weights: the last layer's weight and bias are divided
    by it. So ``calibrated.pth`` is an ordinary checkpoint of the same config, and whatever loads it, ``tools/predict.py`` for
    one, gives calibrated scores. Predictions stay what they were; ``meta.temperature`` tells what was done.

    Args:
        cfg: The config; it is not changed.
        checkpoint: A file or URL.
        out_dir: Gets ``calibrated.pth``, ``calibration.json``, ``reliability.png``; None takes ``<work_dir>/calibration``.
        bins: Bins of the reliability diagram and of the expected calibration error.
        device: Where the model runs; None takes the accelerator where there is one.

    Raises:
        ConfigError: If there is no bin, a split is missing, or the logits do not come out of a linear layer.
        DataError: If pictures have not exactly one label, or no temperature fits.
    """
    if bins < 1:
        raise ConfigError(f'--bins {bins}: must be at least 1')
    options = EvalOptions()
    check_config(cfg, options)
    for split in ('val', 'test'):
        if not cfg.get(f'{split}_dataloader'):
            raise ConfigError(f'{split}_dataloader: missing; the temperature is fitted on `val` and measured on `test`')
    model = get_model(cfg, checkpoint, device)
    datasets, report = build_datasets(cfg, ['val', 'test'], model._dataset_meta.get('classes'))
    check_heads(cfg, report)
    loaders = build_loaders(resolve(cfg, options).cfg, datasets)
    logits, labels = _logits(model, loaders['val'])
    temperature = fit_temperature(logits, labels)
    test_logits, test_labels = _logits(model, loaders['test'])
    tables = [_measured(one, test_labels, bins) for one in (test_logits, test_logits / temperature)]
    layer = _divide_logits(model, temperature, next(_inputs(model, loaders['val'])))
    result = Calibration(temperature, layer, len(labels), tables[0][0], tables[1][0],
                         cfg.val_dataloader.dataset == cfg.test_dataloader.dataset)
    out_dir = Path(out_dir or Path(work_dir_of(cfg, options), 'calibration'))
    out_dir.mkdir(parents=True, exist_ok=True)
    meta = dict(temperature=temperature, calibrated_from=str(checkpoint))
    if report.classes:
        meta['dataset_meta'] = dict(classes=list(report.classes))
    torch.save(dict(meta=meta, state_dict=model.cpu().state_dict()), out_dir / 'calibrated.pth')
    (out_dir / 'calibration.json').write_text(json.dumps(asdict(result), indent=2) + '\n', encoding='utf-8')
    panels = {
        f'{name}: ECE {100 * bars.ece:.2f} %, NLL {numbers["nll"]:.3f}': (bars.count, bars.confidence, bars.accuracy)
        for name, (numbers, bars) in zip(('before', f'after, T = {temperature:.2f}'), tables)
    }
    plot_reliability(panels, out_dir / 'reliability.png')
    return result


def _inputs(model: nn.Module, loader: DataLoader) -> Iterator[tuple[torch.Tensor, list]]:
    """Yield each batch as the model takes it: inputs (N, C, H, W) float, and samples."""
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        yield data['inputs'], data['data_samples']


@torch.no_grad()
def _logits(model: nn.Module, loader: DataLoader) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits (N, C) float and the labels (N, ) int64 of a data set, on the CPU."""
    logits, labels = [], []
    for inputs, samples in _inputs(model, loader):
        out = model(inputs, mode='tensor')
        if not isinstance(out, torch.Tensor) or out.ndim != 2 or getattr(model, 'head', None) is None:
            raise ConfigError(
                'model: temperature scaling needs a classifier with a head that gives logits (N, classes)')
        if not all('gt_label' in sample and len(sample.gt_label) == 1 for sample in samples):
            raise DataError('temperature scaling needs exactly one label a picture')
        logits.append(out.float().cpu())
        labels += [int(sample.gt_label) for sample in samples]
    return torch.cat(logits), torch.tensor(labels)


def _measured(logits: torch.Tensor, labels: torch.Tensor, bins: int) -> tuple[dict[str, float], Reliability]:
    bars = reliability(logits.double().softmax(dim=1), labels, bins)
    numbers = dict(
        nll=F.cross_entropy(logits.double(), labels).item(),
        ece=bars.ece,
        accuracy=100 * (logits.argmax(dim=1) == labels).double().mean().item())
    return numbers, bars


@torch.no_grad()
def _divide_logits(model: nn.Module, temperature: float, batch: tuple[torch.Tensor, list]) -> str:
    """Divide the weight and bias of the layer that gives the logits, and return its name.

    Which layer that is, is tried: with its weights halved (which is exact), the logits are halves.

    Raises:
        ConfigError: If there is none.
    """
    inputs = batch[0]
    before = model(inputs, mode='tensor')
    layers = [(n, m) for n, m in model.named_modules()
              if isinstance(m, nn.Linear) and m.out_features == before.shape[1]]
    for name, layer in reversed(layers):
        _scale(layer, 0.5)
        found = torch.allclose(model(inputs, mode='tensor'), before / 2, rtol=1e-5, atol=1e-7)
        _scale(layer, 2.)
        if found:
            _scale(layer, 1 / temperature)
            return name
    raise ConfigError(f'model: no linear layer whose output are the logits was found, so that the temperature '
                      f'{temperature:.4f} cannot be put into the weights')


def _scale(layer: nn.Linear, factor: float) -> None:
    layer.weight.mul_(factor)
    if layer.bias is not None:
        layer.bias.mul_(factor)
