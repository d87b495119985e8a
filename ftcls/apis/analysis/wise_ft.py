"""WiSE-FT: a model between the pretrained and the fine-tuned one, by averaging their weights."""
import contextlib
import copy
import io
import os
import re
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from ftcls.apis.training.evaluation import test
from ftcls.apis.training.sanity_checks import config_errors
from ftcls.engine.parameter_table import draw_table
from ftcls.registry import MODELS
from ftcls.utils import CheckpointError, ConfigError
from ftcls.utils.checkpoint.loading import check_finite, find_state_dict, match_state_dict, read_checkpoint
from ftcls.utils.checkpoint.matching import is_classifier, own_tensors
from ftcls.utils.checkpoint.report import fold_names

__all__ = ['interpolate_weights', 'wise_ft']

Tensors = dict[str, torch.Tensor]
# What the names of weights of our models begin with.
_OUR_PARTS = ('backbone.', 'head.')


def interpolate_weights(start: Mapping[str, torch.Tensor], end: Mapping[str, torch.Tensor],
                        alpha: float) -> dict[str, torch.Tensor]:
    """Return ``(1 - alpha) * start + alpha * end`` of the tensors that both have, by name, and the others of ``end``.

    Floating-point tensors are averaged in float32 at least and keep the type of ``end``; of counters, ``end``'s is taken.

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
    <https://arxiv.org/abs/2109.01903>`_). The names of the pretrained file are fitted to the fine-tuned one's. A classifier
    is averaged only where both tell the same classes (``meta.dataset_meta.classes``) or ``same_classes`` says so; else it is the
    fine-tuned one's, like all that has another shape or is in one file only.

    Args:
        pretrained: Where fine-tuning started: a file, URL or ``torchvision://`` name.
        finetuned: Where it ended; its names and its other contents (classes …) go into the results.
        alphas: Shares of the fine-tuned weights, 0 (pretrained) to 1 (fine-tuned); the paper's is 0.5.
        out: The file to write; of several alphas, ``<stem>_alpha<alpha><suffix>`` is written for each.
        cfg: Measure every result with the evaluator of this config.
        split: ``'val'`` or ``'test'``: the data to measure on. An alpha is to be chosen on ``'val'``.
        same_classes: The classifiers of both tell the same classes, and are averaged.

    Returns:
        What was averaged, what was taken from the fine-tuned model, and the files written, with their scores.

    Raises:
        ConfigError: If an alpha is outside 0 to 1, or the config has no such data.
        CheckpointError: If the two are of different models, are given in the wrong order, or do not fit the config's.
    """
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise ConfigError(f'--alpha {alpha:g}: must be from 0 (pretrained) to 1 (fine-tuned)')
    start_file, end_file = read_checkpoint(pretrained), read_checkpoint(finetuned)
    end, _ = find_state_dict(end_file)
    source = find_state_dict(start_file)[0]
    _check_order(pretrained, (source, start_file), finetuned, (end, end_file))
    start, lines = _shared(source, end, _agree(start_file, end_file) or same_classes)
    if not start:
        raise CheckpointError(
            f'{pretrained} and {finetuned} have no tensor of one name and shape: they are of different models')
    check_finite(start, pretrained)
    check_finite(end, finetuned)
    if cfg is not None:
        _check_fits(end, finetuned, cfg)
    rows = []
    for alpha in alphas:
        path = Path(out) if len(alphas) == 1 else Path(out).with_name(
            f'{Path(out).stem}_alpha{alpha:g}{Path(out).suffix}')
        origin = dict(alpha=alpha, pretrained=os.fspath(pretrained), finetuned=os.fspath(finetuned))
        _save(interpolate_weights(start, end, alpha), end_file, origin, path)
        rows.append((f'{alpha:g}', str(path), *_scores(cfg, split, path)))
    titles = ['alpha', 'file'] + [name for name, _ in rows[0][2:]]
    texts = [(*row[:2], *(f'{value:.4g}' for _, value in row[2:])) for row in rows]
    width = sum(max(map(len, column)) + 2 for column in zip(titles, *texts))
    if cfg is not None:
        lines.append(f'measured on {split}_dataloader')
    return '\n'.join(lines + ['', draw_table(dict.fromkeys(titles, 'left'), texts, width)])


def _check_order(pretrained: str, start: tuple[Tensors, Mapping], finetuned: str, end: tuple[Tensors, Mapping]) -> None:
    """Refuse two files in the wrong order, where they tell: the result would have the classifier of the pretraining.

    Args:
        pretrained: The first file.
        start: Its weights and all of it.
        finetuned: The second file.
        end: The same of it.
    """
    ours, others = (any(name.startswith(_OUR_PARTS) for name in tensors) for tensors, _ in (start, end))
    why = ''
    if ours and not others:
        parts = ', '.join(dict.fromkeys(name.split('.')[0] for name in end[0]))
        why = f'{finetuned} has the look of a source (its weights begin with {parts}), and {pretrained} is a run\'s'
    elif _began_with(start[1], finetuned) and not _began_with(end[1], pretrained):
        why = f'the run of {pretrained} began with {finetuned}, as its config says'
    if why:
        raise CheckpointError(f'{why}: the pretrained file comes first, then the fine-tuned one; exchange the two')


def _began_with(checkpoint: Mapping[str, Any], source: str) -> bool:
    """Tell whether the config that a checkpoint carries names a source to load."""
    meta = checkpoint.get('meta')
    cfg = meta.get('cfg') if isinstance(meta, Mapping) else None
    return isinstance(cfg, str) and re.search(rf'(checkpoint|load_from)=[\'"]{re.escape(os.fspath(source))}[\'"]',
                                              cfg) is not None


def _check_fits(end: Tensors, finetuned: str, cfg: Config) -> None:
    """Refuse weights that the config's model would not take whole, its classifier included."""
    init_default_scope(cfg.get('default_scope', 'ftcls'))
    model = copy.deepcopy(cfg.model)
    for owner in (model, model.get('backbone') or {}):
        owner['init_cfg'] = None
    with config_errors('model'):
        module = MODELS.build(model)
    matched, _ = match_state_dict(end, module)
    wanting = [name for name in own_tensors(module) if name not in matched and not name.endswith('num_batches_tracked')]
    if wanting:
        raise CheckpointError(
            f'{finetuned} does not fit the model of --config: it has no {fold_names(wanting)} of that shape; the pretrained '
            'file comes first, then the fine-tuned one, whose config it must be')


def _agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two checkpoints name the same classes in the same order."""
    names = [((c.get('meta') or {}).get('dataset_meta') or {}).get('classes') if isinstance(c.get('meta'), Mapping) else None
             for c in (one, other)]  # yapf: disable
    return names[0] is not None and list(names[0]) == list(names[1] or ())


def _shared(start: Tensors, end: Tensors, with_classifier: bool) -> tuple[Tensors, list[str]]:
    """Return the tensors to average, under the names of ``end``, and what is said of them and of the rest."""
    fitted, _ = match_state_dict(start, end)
    apart = [] if with_classifier else [name for name in fitted if is_classifier(name)]
    counters = [name for name, tensor in end.items() if not tensor.is_floating_point()]
    shared = {name: tensor for name, tensor in fitted.items() if name not in apart and name not in counters}
    only = [name for name in end if name not in fitted and name not in counters]
    lines = [f'averaged: {len(shared)} of {len(end)} tensors']
    if counters:
        kinds = ', '.join(dict.fromkeys(name.rpartition('.')[2] for name in counters))
        lines.append(f'whole numbers ({kinds}), taken from the fine-tuned model: {len(counters)}')
    if only:
        lines.append(f'of another shape, or in the fine-tuned model alone, and taken from there: {fold_names(only)}')
    if apart:
        lines.append(
            f'the classifier is the fine-tuned one, since the files do not name the same classes: {fold_names(apart)}; '
            'if they do mean the same: --same-classes')
    return shared, lines


def _save(tensors: Tensors, source: Mapping[str, Any], origin: dict[str, Any], path: Path) -> None:
    """Write weights with the fine-tuned checkpoint's ``meta``, which holds its classes."""
    meta = source.get('meta')
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta={**(meta if isinstance(meta, Mapping) else {}), 'wise_ft': origin}, state_dict=tensors), path)


def _scores(cfg: Config | None, split: str, path: Path) -> list[tuple[str, float]]:
    """Return the metrics of a checkpoint."""
    if cfg is None:
        return []
    if not cfg.get(f'{split}_dataloader'):
        raise ConfigError(f'{split}_dataloader: missing; choose other data with --split')
    cfg = copy.deepcopy(cfg)
    for key in ('dataloader', 'cfg', 'evaluator'):
        cfg[f'test_{key}'] = cfg[f'{split}_{key}']
    cfg.test_cfg = {k: v for k, v in cfg.test_cfg.items() if k != 'type'}
    cfg.experiment_name = f'{path.stem}-{uuid.uuid4().hex}'  # two in one second would be one to MMEngine
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        scores = list(test(cfg, str(path), work_dir=folder).items())
        for handler in MMLogger.get_current_instance().handlers:
            handler.close()
    return scores
