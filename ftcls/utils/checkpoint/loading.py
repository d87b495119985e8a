"""Load pretrained weights: read safely, fit the names, report every tensor, stop where too little fits."""
import logging
import os
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from torch import nn

from ftcls.utils.errors import CheckpointError
from ftcls.utils.log import warn
from ftcls.utils.names import enumerate_names
from .adapter_files import add_base
from .matching import find_state_dict, match_state_dict, own_tensors, unwrap_model
from .reading import checkpoint_meta, locate_checkpoint, read_checkpoint, register_safe_loading
from .report import LoadReport, fold_names

__all__ = [
    'LoadReport', 'check_finite', 'check_report', 'checkpoint_meta', 'find_state_dict', 'load_matched',
    'load_pretrained', 'locate_checkpoint', 'log_report', 'match_state_dict', 'not_finite', 'read_checkpoint',
    'register_safe_loading', 'unwrap_model'
]

MOST_LEFT_OVER = 0.25  # share of a file's tensors for what is loaded; a network one third deeper leaves that much


def check_finite(tensors: dict[str, torch.Tensor], source: str, allow: bool = False) -> None:
    """Look for NaN and infinity in weights.

    Raises:
        CheckpointError: If there are any, with the names of the tensors; only logged with ``allow``.
    """
    if not (bad := not_finite(tensors)):
        return
    text = f'{source}: {len(bad)} of {len(tensors)} weights are NaN or infinite: {fold_names(bad)}, first {bad[0]}'
    if not allow:
        raise CheckpointError(f'{text}; its training had diverged, take an earlier checkpoint')
    warn(text)


def not_finite(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names of the tensors with NaN or infinity."""
    return [name for name, one in tensors.items() if one.is_floating_point() and not one.float().isfinite().all()]


def check_report(report: LoadReport,
                 state_dict: dict[str, torch.Tensor],
                 module: nn.Module,
                 min_loaded: float = 0.95,
                 way_on: str = 'allow_partial=True') -> None:
    """Stop where less than nearly all of a module was found in a file, or where the file holds much more of it.

    Args:
        report: What :func:`match_state_dict` made of it.
        state_dict: The file's weights, for the names shown.
        module: The module, for the names shown.
        min_loaded: Share of the module's tensors, classifier apart, that must be there (0 to 1).
        way_on: The setting that accepts it.

    Raises:
        CheckpointError: With what is missing, names of both sides and the prefix that would work; or with what is left
            over, if that is a quarter or more of the file's tensors for this module, or belongs to layers that were
            loaded.
    """
    if report.input_channels and not report.adapt_input:
        theirs, ours = report.input_channels
        raise CheckpointError(f'{report.source} was trained on images of {theirs} channels, the model takes {ours}: '
                              f"set adapt_input='repeat' ('sum', 'mean') in init_cfg, or in_channels={theirs}")
    advice = f'\n  give the file made for this model, its network (--backbone), or load what fits: {way_on}'
    if report.required and report.fraction >= min_loaded:
        if report.half_loaded:
            raise CheckpointError(f'{report.half_loaded_text()}, or load what fits: {way_on}')
        if report.left_over_share >= MOST_LEFT_OVER or report.has_adapter:
            raise CheckpointError(report.left_over_text() + advice)
        return
    absent = report.missing + list(report.mismatched)
    theirs = [n for n in state_dict if n in report.unexpected] or list(state_dict)
    ours = absent or list(own_tensors(module))
    share = f'{report.required_loaded} of {report.required} tensors of {type(unwrap_model(module)).__name__}'
    head = f'{report.source} has {share} (without classifier), {report.fraction:.0%}; needed: {min_loaded:.0%}'
    lines = [head, f'  missing: {fold_names(absent)}']
    if report.mismatched:
        lines.append(f'  {report.mismatched_text()}; is it the same architecture?')
    lines.append(f'  names in the file: {enumerate_names(theirs, 3)}; in the model: {enumerate_names(ours, 3)}')
    _, best = match_state_dict(state_dict, module)
    if best.required_loaded > report.required_loaded:
        prefix = best.strip.removeprefix('module.').rstrip('.') or None
        lines.append(f'  prefix={prefix!r} would load {best.required_loaded} of {best.required}')
    raise CheckpointError('\n'.join(lines) + advice)


def log_report(report: LoadReport) -> None:
    """Put a report into the log: the summary at INFO, the whole list at DEBUG, and at WARNING what is left over."""
    print_log('Loaded ' + report.summary(), logger='current')
    if report.half_loaded:
        warn(report.half_loaded_text())
    elif report.left_over:
        warn(report.left_over_text())
    print_log(report.details(), logger='current', level=logging.DEBUG)


def load_pretrained(module: nn.Module,
                    source: str | os.PathLike,
                    prefix: str | None = None,
                    map_location: str | torch.device = 'cpu',
                    allow_partial: bool = False,
                    min_loaded: float = 0.95,
                    adapt_input: str | None = None) -> LoadReport:
    """Load weights into a module, in place, and keep the report as ``module.load_report``.

    What became of it goes to the log, see :func:`log_report`. Numbers are turned into the module's own types: a file
    in half precision loads into a float32 model. If an error is raised the module is as before.

    Args:
        module: The module; its wrappers are looked through.
        source: Path, ``http(s)://`` address, ``torchvision://resnet50`` …, as :func:`locate_checkpoint` takes it.
        prefix: Beginning of the wanted names in the file (``'backbone'``); found by itself where None.
        map_location: Device that the file is read onto; the module stays where it is.
        allow_partial: Go on where less than ``min_loaded`` fits, where the file holds a deeper network, or where
            weights are not finite.
        min_loaded: Share of the module's tensors, classifier apart, that must be loaded (0 to 1).
        adapt_input: See :func:`match_state_dict`.

    Returns:
        What became of every tensor.

    Raises:
        MissingFileError: If there is no such file.
        CheckpointError: If it cannot be read or too little of it fits.
    """
    name = os.fspath(source)
    try:
        checkpoint = read_checkpoint(source, map_location)
        add_base(unwrap_model(module), checkpoint)
        state_dict, container = find_state_dict(checkpoint)
        matched, report = match_state_dict(state_dict, module, prefix, adapt_input)
    except CheckpointError as err:
        if name in str(err):
            raise
        raise CheckpointError(f'{name}: {err}') from None
    report.source, report.container = name, container
    load_matched(module, state_dict, matched, report, allow_partial, min_loaded)
    return report


def load_matched(module: nn.Module,
                 state_dict: dict[str, torch.Tensor],
                 matched: dict[str, torch.Tensor],
                 report: LoadReport,
                 allow_partial: bool,
                 min_loaded: float,
                 way_on: str = 'allow_partial=True') -> None:
    """Load what :func:`match_state_dict` made of a file's ``state_dict``, unless too little fits or it is not finite.

    The other arguments are those of :func:`load_pretrained` and :func:`check_report`.

    Raises:
        CheckpointError: If it is refused; the module is as before.
    """
    if not allow_partial:
        check_report(report, state_dict, module, min_loaded, way_on)
    check_finite(matched, report.source, allow=allow_partial)
    target = unwrap_model(module)
    target.load_state_dict(matched, strict=False)
    target.load_report = report
    log_report(report)
