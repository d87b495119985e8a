"""WiSE-FT: a model between the pretrained and the fine-tuned one, by averaging their weights."""
import copy
import os
import re
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from ftcls.apis.inference.model_zoo import build_model
from ftcls.apis.training.evaluation import test
from ftcls.apis.training.sanity_checks import config_errors
from ftcls.apis.training.train import require
from ftcls.config.loading import load_config
from ftcls.engine.mmengine_compat import quiet_run
from ftcls.utils import CheckpointError, ConfigError
from ftcls.utils.checkpoint.adapter_files import is_adapter
from ftcls.utils.checkpoint.folder import save_whole
from ftcls.utils.checkpoint.loading import (check_finite, checkpoint_meta, find_state_dict, match_state_dict,
                                            read_checkpoint)
from ftcls.utils.checkpoint.matching import is_classifier, own_tensors
from ftcls.utils.checkpoint.report import fold_names
from ftcls.utils.names import command
from ftcls.utils.table import render_table

__all__ = ['interpolate_weights', 'wise_ft']

Tensors = dict[str, torch.Tensor]


def interpolate_weights(start: Mapping[str, torch.Tensor], end: Mapping[str, torch.Tensor],
                        alpha: float) -> dict[str, torch.Tensor]:
    """Return ``(1 - alpha) * start + alpha * end`` of the tensors that both have, by name, and the others of ``end``.

    Floating-point tensors are averaged in at least float32 and keep the dtype of ``end``; counters are ``end``'s.

    Example:
        >>> interpolate_weights({'w': torch.zeros(1)}, {'w': torch.ones(1), 'v': torch.ones(1)}, alpha=0.25)
        {'w': tensor([0.2500]), 'v': tensor([1.])}
    """
    mixed = {}
    for name, tensor in end.items():
        mixed[name] = tensor.clone()
        if name in start and tensor.is_floating_point():
            exact = torch.promote_types(tensor.dtype, torch.float32)
            mixed[name] = torch.lerp(start[name].to(exact), tensor.to(exact), alpha).to(tensor.dtype)
    return mixed


def wise_ft(pretrained: str,
            finetuned: str,
            alphas: Sequence[float],
            out: str | Path,
            *,
            cfg: Config | None = None,
            split: str = 'val',
            same_classes: bool = False) -> str:
    """Write models between a pretrained and a fine-tuned checkpoint, and measure them if asked.

    Weight-space ensembling (Wortsman et al. 2022, `Robust fine-tuning of zero-shot models
    <https://arxiv.org/abs/2109.01903>`_). The names of the pretrained file are matched to those of the fine-tuned one.
    A classifier is averaged only if both files name the same classes (``meta.dataset_meta.classes``), or with
    ``same_classes``; else it is the fine-tuned one's, like all tensors of another shape or in one file only.

    Args:
        pretrained: Where fine-tuning started: a file, URL or ``torchvision://`` name.
        finetuned: Where it ended; its other contents (classes …) go into the results.
        alphas: Shares of the fine-tuned weights, 0 to 1; the paper's is 0.5.
        out: The file to write; for several alphas ``<stem>_alpha<alpha><suffix>`` each.
        cfg: Measure every result with the evaluator of this config.
        split: ``'val'`` or ``'test'``: the data to measure on. Choose an alpha on ``'val'``.
        same_classes: Average the classifiers in any case.

    Returns:
        What was averaged, what was taken from the fine-tuned model, and the files written, with their scores.

    Raises:
        ConfigError: If an alpha is outside 0 to 1, or the config has no such data.
        CheckpointError: If the files are of different models, in the wrong order, or do not fit the config's model.
    """
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise ConfigError(f'--alpha {alpha:g}: must be from 0 (pretrained) to 1 (fine-tuned)')
    start_file, end_file = read_checkpoint(pretrained), read_checkpoint(finetuned)
    source, end = find_state_dict(start_file)[0], find_state_dict(end_file)[0]
    if _has_our_names(source) and not _has_our_names(end):
        raise CheckpointError(f'{finetuned} looks pretrained, and {pretrained} like a checkpoint of a run; swap them')
    if _started_from(start_file, finetuned) and not _started_from(end_file, pretrained):
        raise CheckpointError(f'the run of {pretrained} started from {finetuned}, which comes first; swap them')
    same_classes = same_classes or _classes(start_file) == _classes(end_file) != []
    if any(map(is_adapter, end)):
        raise CheckpointError(f'{finetuned} has an adapter: merge it first, by {command("merge_adapter")}')
    start, lines = _shared(source, end, same_classes)
    if not start:
        raise CheckpointError(f'{pretrained} and {finetuned}: no tensor of one name and shape, so not of one model')
    check_finite(start, pretrained)
    check_finite(end, finetuned)
    if cfg is not None:
        require(cfg, f'{split}_dataloader', 'choose other data with --split')
        _check_fits(end, finetuned, cfg)
        lines.append(f'measured on {split}_dataloader')
    rows, scores, path = [], {}, Path(out)
    for alpha in alphas:
        if len(alphas) > 1:
            path = Path(out).with_stem(f'{Path(out).stem}_alpha{alpha:g}')
        origin = dict(alpha=alpha, pretrained=os.fspath(pretrained), finetuned=os.fspath(finetuned))
        meta = dict(checkpoint_meta(end_file), wise_ft=origin)
        save_whole(path, dict(meta=meta, state_dict=interpolate_weights(start, end, alpha)))
        if cfg is not None:
            scores = _measure(cfg, split, path)
        rows.append((f'{alpha:g}', path, *(f'{score:.4g}' for score in scores.values())))
    columns = dict.fromkeys(['alpha', 'file', *scores], 'left')
    return '\n'.join([*lines, '', render_table(columns, rows, width=10_000)])


def _classes(checkpoint: Mapping[str, Any]) -> list[str]:
    return list((checkpoint_meta(checkpoint).get('dataset_meta') or {}).get('classes') or ())


def _has_our_names(tensors: Tensors) -> bool:
    return any(name.startswith(('backbone.', 'head.')) for name in tensors)


def _started_from(checkpoint: Mapping[str, Any], source: str) -> bool:
    pattern = rf'(checkpoint|load_from)=[\'"]{re.escape(os.fspath(source))}[\'"]'
    return re.search(pattern, str(checkpoint_meta(checkpoint).get('cfg'))) is not None


def _check_fits(end: Tensors, finetuned: str, cfg: Config) -> None:
    """Refuse weights that leave a part of the config's model without weights, for example its classifier."""
    with config_errors('model'):
        module = build_model(cfg)
    matched, _ = match_state_dict(end, module)
    missing = [name for name in own_tensors(module) if name not in matched and not name.endswith('num_batches_tracked')]
    if missing:
        raise CheckpointError(f'{finetuned} does not fit the model of --config: it has no {fold_names(missing)} of '
                              'that shape; give the pretrained file first, then the fine-tuned one and its config')


def _shared(start: Tensors, end: Tensors, with_classifier: bool) -> tuple[Tensors, list[str]]:
    """Return the tensors to average, under the names of ``end``, and a report on them and on the others."""
    fitted, _ = match_state_dict(start, end)
    counters = [name for name, tensor in end.items() if not tensor.is_floating_point()]
    apart = [name for name in fitted if is_classifier(name) and not with_classifier]
    shared = {name: tensor for name, tensor in fitted.items() if name not in apart and name not in counters}
    only = [name for name in end if name not in fitted and name not in counters]
    lines = [f'averaged: {len(shared)} of {len(end)} tensors']
    if counters:
        kinds = ', '.join(dict.fromkeys(name.rpartition('.')[2] for name in counters))
        lines.append(f'whole numbers ({kinds}), taken from the fine-tuned model: {len(counters)}')
    if only:
        lines.append(f'of another shape, or only in the fine-tuned model, and taken from there: {fold_names(only)}')
    if apart:
        lines.append('the classifier is the fine-tuned one, since the files do not name the same classes: '
                     f'{fold_names(apart)}; if their classes are the same: --same-classes')
    return shared, lines


def _measure(cfg: Config, split: str, path: Path) -> dict[str, float]:
    cfg = copy.deepcopy(load_config(cfg))
    cfg.test_dataloader, cfg.test_evaluator = cfg[f'{split}_dataloader'], cfg[f'{split}_evaluator']
    cfg.test_cfg = {key: value for key, value in cfg[f'{split}_cfg'].items() if key != 'type'}
    cfg.experiment_name = f'{path.stem}-{uuid.uuid4().hex}'  # two runs in one second would share MMEngine's name
    with tempfile.TemporaryDirectory() as folder, quiet_run():
        return test(cfg, str(path), work_dir=folder)
