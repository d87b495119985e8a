"""Temperature scaling: making a trained classifier's scores mean what they say."""
import json
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from operator import itemgetter
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ftcls.apis.inference.model_zoo import get_model
from ftcls.apis.training.data_checks import evaluation_loaders
from ftcls.apis.training.train import check_config, require
from ftcls.config.resolve import EvalOptions, work_dir_of
from ftcls.evaluation.calibration import Reliability, fit_temperature, reliability
from ftcls.utils import ConfigError, DataError
from ftcls.utils.checkpoint.folder import save_whole
from ftcls.utils.table import render_table
from ftcls.visualization import plot_reliability

__all__ = ['Calibration', 'calibrate', 'measure_scores']


@dataclass(frozen=True)
class Calibration:
    """What temperature scaling did.

    Attributes:
        temperature: What the logits, and the weights of ``layer``, are divided by.
        fitted_on: Number of validation images.
        before: ``nll``, ``ece`` (0 to 1) and ``accuracy`` (percent) on the test set; ``after`` the same.
        same_data: Whether the test set is the validation set, so that ``after`` is too good.
    """
    temperature: float
    layer: str
    fitted_on: int
    before: dict[str, float]
    after: dict[str, float]
    same_data: bool

    def text(self) -> str:
        """Describe it in a few lines."""
        columns = {'on the test set': 'left', **dict.fromkeys(('NLL', 'ECE', 'accuracy/top1'), 'right')}
        rows = [(name, f'{one["nll"]:.4f}', f'{100 * one["ece"]:.2f}%', f'{one["accuracy"]:.2f}')
                for name, one in (('before', self.before), ('after', self.after))]
        text = f'temperature {self.temperature:.4f}, fitted on {self.fitted_on:,} validation images\n\n'
        text += render_table(columns, rows)
        if self.same_data:
            text += '\n\nThe temperature was fitted on the test set: `after` is better than it is on other images.'
        return text


def calibrate(cfg: Config,
              checkpoint: str,
              out_dir: str | Path | None = None,
              *,
              bins: int = 15,
              device: str | None = None) -> Calibration:
    """Fit a temperature on ``val_dataloader``, measure it on ``test_dataloader``, and write a calibrated checkpoint.

    Guo et al. 2017 (arXiv:1706.04599). The weight and the bias of the last layer are divided by the temperature. So
    ``calibrated.pth`` is an ordinary checkpoint of the same config, and all that load it, for example
    ``tools/predict.py``, give calibrated scores. The predicted classes do not change; ``meta.temperature`` records it.

    Args:
        cfg: The config; it is not changed.
        checkpoint: A file or URL.
        out_dir: For ``calibrated.pth``, ``calibration.json``, ``reliability.png``; None for ``<work_dir>/calibration``.
        bins: Bins of the reliability diagram and of the expected calibration error.
        device: Where the model runs; None for the accelerator if there is one.

    Raises:
        ConfigError: If a split is missing, or the logits are not the output of a linear layer.
        DataError: If images do not have exactly one label, or no temperature fits.
    """
    if bins < 1:
        raise ConfigError(f'--bins {bins}: must be at least 1')
    options = EvalOptions()
    cfg = check_config(cfg, options)
    for split in ('val', 'test'):
        require(cfg, f'{split}_dataloader', 'the temperature is fitted on `val` and measured on `test`')
    model = get_model(cfg, checkpoint, device)
    loaders, report = evaluation_loaders(cfg, ['val', 'test'], model)
    logits, labels = _logits(model, loaders['val'])
    temperature = fit_temperature(logits, labels)
    test_logits, test_labels = _logits(model, loaders['test'])
    scaled = {'before': test_logits, f'after, T = {temperature:.2f}': test_logits / temperature}
    measured = {name: measure_scores(logits, test_labels, bins) for name, logits in scaled.items()}
    before, after = (numbers for numbers, _ in measured.values())
    layer = _divide_logits(model, temperature, next(_inputs(model, loaders['val']))[0])
    same_data = cfg.val_dataloader.dataset == cfg.test_dataloader.dataset
    result = Calibration(temperature, layer, len(labels), before, after, same_data)
    out_dir = Path(out_dir or Path(work_dir_of(cfg, options), 'calibration'))
    meta = dict(temperature=temperature, calibrated_from=str(checkpoint))
    if report.classes:
        meta['dataset_meta'] = dict(classes=list(report.classes))
    save_whole(out_dir / 'calibrated.pth', dict(meta=meta, state_dict=model.cpu().state_dict()))
    (out_dir / 'calibration.json').write_text(json.dumps(asdict(result), indent=2) + '\n', encoding='utf-8')
    title = '{}: ECE {:.2f} %, NLL {:.3f}'
    panels = {title.format(name, 100 * bars.ece, one['nll']): astuple(bars) for name, (one, bars) in measured.items()}
    plot_reliability(panels, out_dir / 'reliability.png')
    return result


def _inputs(model: nn.Module, loader: DataLoader) -> Iterator[tuple[torch.Tensor, list]]:
    """Return each batch as the model takes it: inputs (N, C, H, W) float, and samples."""
    return map(itemgetter('inputs', 'data_samples'), (model.data_preprocessor(batch, False) for batch in loader))


@torch.no_grad()
def _logits(model: nn.Module, loader: DataLoader) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits (N, C) float and the labels (N, ) int64 of a data set, on the CPU."""
    logits, labels = [], []
    for inputs, samples in _inputs(model, loader):
        out = model(inputs, mode='tensor')
        if not isinstance(out, torch.Tensor) or out.ndim != 2 or getattr(model, 'head', None) is None:
            raise ConfigError('model: temperature scaling needs a classifier with a head, with (N, classes) logits')
        if not all('gt_label' in sample and len(sample.gt_label) == 1 for sample in samples):
            raise DataError('temperature scaling needs exactly one label per image')
        logits.append(out.float().cpu())
        labels += [int(sample.gt_label) for sample in samples]
    return torch.cat(logits), torch.tensor(labels)


def measure_scores(logits: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> tuple[dict[str, float], Reliability]:
    """Return ``nll``, ``ece`` and ``accuracy`` of logits (N, C) for labels (N, ), and the bins of their scores."""
    bars = reliability(logits.double().softmax(dim=1), labels, bins)
    nll = F.cross_entropy(logits.double(), labels).item()
    accuracy = 100 * (logits.argmax(dim=1) == labels).double().mean().item()
    return dict(nll=nll, ece=bars.ece, accuracy=accuracy), bars


@torch.no_grad()
def _divide_logits(model: nn.Module, temperature: float, inputs: torch.Tensor) -> str:
    """Divide the weight and bias of the layer that gives the logits, and return its name.

    The layer is found by trial: if its weights are halved (which is exact), so are the logits.
    """
    before = model(inputs, mode='tensor')
    for name, layer in reversed(list(model.named_modules())):
        if not isinstance(layer, nn.Linear) or layer.out_features != before.shape[1]:
            continue
        _scale(layer, 0.5)
        is_last = torch.allclose(model(inputs, mode='tensor'), before / 2, rtol=1e-5, atol=1e-7)
        _scale(layer, 2.)
        if is_last:
            _scale(layer, 1 / temperature)
            return name
    raise ConfigError(f'model: no linear layer gives the logits, to be divided by the temperature {temperature:.4f}')


def _scale(layer: nn.Linear, factor: float) -> None:
    for tensor in layer.parameters():
        tensor.mul_(factor)
