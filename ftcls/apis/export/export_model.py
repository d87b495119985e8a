"""Writing a trained model to a file that other programs run, and comparing the file on real validation images."""
import copy
import json
import os
import warnings
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import Config
from safetensors.torch import save
from torch import nn
from torch.utils.data import DataLoader

from ftcls.apis.inference.exported import HEADS, METADATA, ExportedModel, check_installed
from ftcls.apis.inference.model_zoo import get_model, load_weights, resolve_model, validation_dataset
from ftcls.apis.training.loaders import build_datasets, build_loaders
from ftcls.apis.training.sanity_checks import config_errors
from ftcls.config.reading import named
from ftcls.config.resolve import EvalOptions, resolve, work_dir_of
from ftcls.models.adapters import merge_adapters
from ftcls.models.headed_model import HeadedModel, check_word
from ftcls.models.heads import ClsHead
from ftcls.models.segmentors import ImageSegmentor
from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.loading import read_checkpoint
from ftcls.utils.names import enumerate_names
from ftcls.version import __version__

__all__ = ['export_model']

_SUFFIXES = {'onnx': '.onnx', 'torch.export': '.pt2', 'torchscript': '.pt', 'safetensors': '.safetensors'}
_SAMPLE = DataSample(metainfo=dict(channel_order='rgb'))


class _Scorer(nn.Module):
    """A model from images (N, C, H, W) to scores, (N, num_classes) or (N, 1, H, W) float32, 0 to 1."""

    def __init__(self, model: HeadedModel, with_preprocessing: bool, half: bool) -> None:
        super().__init__()
        self.dtype = torch.float16 if half else torch.float32
        self.model = copy.deepcopy(model).to(self.dtype)
        self.model.data_preprocessor.float()
        head = getattr(model, 'head', ClsHead())  # TimmClassifier has its own, inside
        self.head = next((name for name in HEADS if isinstance(head, MODELS.get(name))), '')
        if not self.head:
            raise ConfigError(f'model.head: a file cannot give the scores of {type(head).__name__}, but of '
                              f'{enumerate_names(HEADS)} and what derives from them')
        self.with_preprocessing = with_preprocessing

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores of normalised images, or with preprocessing of pixels 0 to 255, in the model's order."""
        if self.with_preprocessing:
            images = self.model.data_preprocessor(dict(inputs=images, data_samples=[_SAMPLE]))['inputs']
        logits = self.model(images.to(self.dtype)).float()
        return logits.softmax(dim=1) if self.head == 'ClsHead' else logits.sigmoid()


def export_model(model: str | os.PathLike | Config,
                 checkpoint: str | os.PathLike | None = None,
                 to: str = 'onnx',
                 out: str | os.PathLike | None = None,
                 *,
                 dynamic_batch: bool = False,
                 with_preprocessing: bool = False,
                 half: bool = False,
                 images: int | None = None) -> dict[str, Any]:
    """Write a model to a file, and keep the file if it predicts validation images as the model does.

    An adapter is merged into the weights. Any file but one of weights alone takes ``images`` and gives ``scores``,
    probabilities. How images are prepared for it, and the names of the classes, are in its metadata.

    Args:
        model: A work dir, a config file, the name of a config or a config.
        checkpoint: The weights; None for the best, else the last of the run.
        to: 'onnx', 'torch.export', 'torchscript', or 'safetensors' for the weights alone.
        out: The file; None for ``model.onnx`` and so on in the work dir.
        dynamic_batch: Take any number of images at once instead of one.
        with_preprocessing: Take uint8 pixels, and normalise them inside.
        half: Store the weights, and compute, in float16.
        images: Compare on so many validation images, rounded up to whole batches; None for all.

    Returns:
        ``path``; ``checkpoint``, the weights; ``images``, how many went through both; ``difference``, the largest of a
        score; ``agreement``, the share of images (for masks of pixels) that are predicted the same; both from 0 to 1.

    Raises:
        ConfigError: If an option does not fit, the model cannot be written in this format, or a score of the file
            differs by more than 1e-4, with ``half`` 0.02; then there is no file.
        MissingFileError: If there is no such config or checkpoint.
    """
    suffix = _SUFFIXES[check_word('--to', to, tuple(_SUFFIXES))]
    if to == 'safetensors' and (dynamic_batch or with_preprocessing):
        raise ConfigError('--to safetensors: it has weights alone; leave out --dynamic-batch and --with-preprocessing')
    cfg, checkpoint = resolve_model(model, checkpoint or True)
    out = Path(out or Path(work_dir_of(cfg, EvalOptions()), f'model{suffix}'))
    if out.suffix != suffix:
        raise ConfigError(f'--out {out}: a file of --to {to} must end in {suffix}')
    net = get_model(cfg, checkpoint, 'cpu')
    merge_adapters(net)
    validation_dataset(cfg)  # raises an error if there is none
    split = 'val' if cfg.get('val_dataloader') else 'test'
    cfg[f'{split}_dataloader'].collate_fn = dict(type='default_collate')  # which refuses images of several sizes
    datasets, _ = build_datasets(cfg, [split], net._dataset_meta.get('classes'))
    loader = build_loaders(resolve(cfg, EvalOptions()).cfg, datasets)[split]
    with warnings.catch_warnings(), config_errors(f'--to {to}', keep_own=False, hint='; choose other options'):
        warnings.simplefilter('ignore')  # of torch and its exporters
        batch = next(iter(loader))
        inputs = batch['inputs'] if with_preprocessing else net.data_preprocessor(batch)['inputs']
        example = torch.zeros(1 + dynamic_batch, *inputs[0].shape, dtype=inputs[0].dtype)  # the file keeps it
        scorer = _Scorer(net, with_preprocessing, half).eval()
        meta = _metadata(cfg, checkpoint, scorer, example, batch['data_samples'][0].metainfo.get('channel_order'))
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f'.{out.name}.', dir=out.parent) as folder:
            draft = Path(folder, out.name)
            difference, same = _compare(net, _write(scorer, example, meta, draft), loader, images)
            tolerance = 2e-2 if half else 1e-4
            if not difference <= tolerance:  # NaN is refused too
                raise ConfigError(f'{out} is not written: its scores differ by up to {difference:.2g} on validation '
                                  f'images, and {tolerance:g} is allowed; choose another --to, or fewer options')
            draft.replace(out)
    agreement = sum(same) / len(same)
    return dict(path=out, checkpoint=checkpoint, images=len(same), difference=difference, agreement=agreement)


def _metadata(cfg: Config, checkpoint: str, scorer: _Scorer, example: torch.Tensor, order: str | None) -> dict:
    """Return what is to be known of a file to use it, as JSON can hold it."""
    info = read_checkpoint(checkpoint).get('message_hub', {}).get('runtime_info', {})
    meta = dict(scorer.model._dataset_meta, ftcls=__version__, config=Path(cfg.filename or '').name)
    meta |= dict(checkpoint=Path(checkpoint).name, best_score=info.get('best_score'), commit=info.get('ftcls_commit'))
    task = dict(PixelHead='Image Segmentation').get(scorer.head, 'Image Classification')
    arguments = {key: getattr(scorer.model.head, key) for key in HEADS[scorer.head]}
    meta |= dict(task=task, head=dict(arguments, type=scorer.head), with_preprocessing=scorer.with_preprocessing)
    meta |= dict(batch=1 if len(example) == 1 else None, shape=list(example.shape[1:]), dtype=str(example.dtype)[6:])
    settings = named(cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {})
    meta |= dict(preprocessor=settings, channel_order='rgb' if settings.get('to_rgb') else order)
    return meta | dict(pipeline=named(list(validation_dataset(cfg).get('pipeline') or ())))


def _write(scorer: _Scorer, example: torch.Tensor, meta: dict, path: Path) -> HeadedModel:
    """Write a model to a file, in the format of its suffix, and return what the file holds.

    An example of two images makes the number of images free: torch.export takes a size of 1 for a constant.
    """
    extra = {METADATA: json.dumps(meta, default=str)}
    if path.suffix == '.safetensors':
        path.write_bytes(save({name: one.clone() for name, one in scorer.model.state_dict().items()}, extra))
        fresh = copy.deepcopy(scorer.model).float()
        load_weights(fresh, path)
        return fresh
    if path.suffix == '.pt':
        torch.jit.save(torch.jit.trace(scorer, example, check_trace=False), path, _extra_files=extra)
        return ExportedModel(path, trusted=True)
    shapes = {'images': {0: torch.export.Dim('batch')}} if meta['batch'] is None else None
    program = torch.export.export(scorer, (example, ), dynamic_shapes=shapes)
    if path.suffix == '.pt2':
        torch.export.save(program, path, extra_files=extra)
    else:
        check_installed('onnx', 'onnxscript', 'onnxruntime')
        names = dict(input_names=['images'], output_names=['scores'])
        file = torch.onnx.export(program, opset_version=18, verbose=False, **names)
        file.model.metadata_props.update(extra)
        file.save(path, external_data=False)
    return ExportedModel(path, trusted=True)


@torch.no_grad()
def _compare(net: HeadedModel, written: HeadedModel, loader: DataLoader, most: int | None) -> tuple[float, list[float]]:
    """Return the largest difference of a score, and of each image the share of its prediction that is the same."""
    differences, same = [], []
    names = ('pred_prob', 'pred_mask') if isinstance(net, ImageSegmentor) else ('pred_score', 'pred_label')
    for batch in takewhile(lambda batch: most is None or len(same) < most, loader):
        expected, found = ([tuple(map(one.get, names)) for one in m.test_step(batch)] for m in (net, written))
        for (score, label), (other, other_label) in zip(expected, found):
            differences.append((score - other).abs().max())
            is_same = (label == other_label) if label.shape == other_label.shape else torch.zeros(1)
            same.append(is_same.float().mean().nan_to_num(1.).item())  # NaN: both without a label
    return torch.stack(differences).max().item(), same
