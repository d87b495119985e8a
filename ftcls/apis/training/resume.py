"""Resuming a run: from which checkpoint, and whether the config still asks for the same run."""
import ast
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ftcls.config.loading import parse_value
from ftcls.config.resolve import TrainOptions, type_name, work_dir_of
from ftcls.registry import HOOKS
from ftcls.utils import CheckpointError, ConfigError, MissingFileError
from ftcls.utils.arguments import own_arguments
from ftcls.utils.checkpoint.folder import is_whole, newest_whole
from ftcls.utils.log import warn
from ftcls.utils.names import enumerate_names
from ftcls.utils.tree import as_list, differences, walk

__all__ = ['UNFREEZING_HOOKS', 'check_same_recipe', 'find_resumed', 'loaders_before']

# A checkpoint restores these with their settings; a run may continue with another accumulation or precision.
_RESTORED = ('optim_wrapper.optimizer', 'optim_wrapper.paramwise_cfg', 'optim_wrapper.constructor', 'param_scheduler')

UNFREEZING_HOOKS = ('GradualUnfreezingHook', 'LinearProbeFineTuneHook')  # they set what is trained when
_OTHER_HOOKS = ('L2SPHook', 'EMAHook')  # the run continues with what the config says now of them
_FREEZING = {  # keys of what stays frozen, and their defaults
    'model.freeze': [],
    'model.norm_policy': 'train',
    'model.backbone.frozen_stages': -1,
    'model.backbone.norm_eval': False
}


def find_resumed(cfg: Config, options: TrainOptions) -> str | None:
    """Return the checkpoint that a run resumes from, None if it begins anew.

    Raises:
        MissingFileError: If the checkpoint that was named does not exist.
        CheckpointError: If it is not whole, and there is one that is.
    """
    if not (resume := options.resume or cfg.get('resume', False)):
        return None
    path = resume
    if not isinstance(resume, str):
        path = (cfg.get('resume') and cfg.get('load_from')) or _latest(cfg, Path(work_dir_of(cfg, options)))
    if path is not None and not Path(path).is_file():
        raise MissingFileError(f'--resume {path}: no such checkpoint; give a path, or none for the latest one')
    if earlier := path and not is_whole(path) and newest_whole([Path(path).parent]):
        raise CheckpointError(f'--resume {path}: cut short or damaged; the newest whole checkpoint: --resume {earlier}')
    return path and str(path)


def _latest(cfg: Config, work_dir: Path) -> str | None:
    """Return the latest whole checkpoint of a work dir; the log warns if it is not the noted one, or there is none."""
    note, noted = work_dir / 'last_checkpoint', ''
    if note.is_file():
        noted = note.read_text(encoding='utf-8', errors='replace').strip()
    for path in (work_dir / Path(noted).name, Path(noted)):  # the folder may have been moved
        if is_whole(path):
            return str(path)
    text = f'--resume: {note.resolve()} names no whole checkpoint ({noted[:200] or "it is missing or empty"})'
    settings = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    folders = [work_dir, *(Path(folder) / work_dir.name for folder in as_list(settings.get('out_dir') or []))]
    newest = newest_whole(folders, settings.get('filename_tmpl'))
    others = enumerate_names(sorted(f.name for f in work_dir.glob('*.pth')), 6)
    if newest is not None:
        text += f'; the run continues from the newest whole checkpoint, {newest}'
    elif noted:
        raise MissingFileError(f'{text}; no whole checkpoint is there. Give one by its path: --resume PATH '
                               f'({others or "it holds none"}), or train anew without --resume')
    else:
        text += ('; training STARTS FROM THE BEGINNING. Is it the --work-dir of the run that was stopped? It holds '
                 f'{others or "no checkpoint"}; give one by its path: --resume PATH')
    warn(text)
    return newest and str(newest)


def check_same_recipe(cfg: Config, checkpoint: str, meta: Mapping[str, Any]) -> None:
    """Refuse to resume with other rates, schedules or unfreezing; warn of other freezing, L2-SP or EMA.

    The checkpoint's rates would silently be used instead, and stages that have been trained would be frozen again. A
    run without unfreezing may continue with it.

    Args:
        cfg: The resolved config.
        checkpoint: The file to resume from.
        meta: What it says of its run.

    Raises:
        ConfigError: Naming each key, its value in the checkpoint's config and in this one.
    """
    if (before := _read_config(meta.get('cfg'))) is None:
        if 'cfg' in meta:
            warn(f'--resume {checkpoint}: the config in it cannot be read, and is not compared with this one')
        return
    old, new = _by_path(before), _by_path(cfg.to_dict())
    changed = [line for key in _RESTORED for line in _describe(key, old.get(key), new.get(key))]
    if any(_hooks(before, UNFREEZING_HOOKS)):
        changed += _hook_differences(before, cfg, UNFREEZING_HOOKS)
    warned = list(_hook_differences(before, cfg, _OTHER_HOOKS))
    warned += [line for key in _FREEZING for line in _describe(key, old[key], new[key])]
    if warned:
        lines = [f'--resume {checkpoint}: the run continues with other settings than it was started with:', *warned]
        warn('\n  '.join(lines))
    if changed:
        lines = [f'--resume {checkpoint}: the config is not the one that the run was started with:', *changed]
        advice = '\na resumed run continues with the optimizer, schedule and unfreezing of its checkpoint; set these ' \
            'keys back (train_cfg.max_epochs may change), or start a new run from its weights with load_from=…'
        raise ConfigError('\n  '.join(lines) + advice)


def loaders_before(meta: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the settings of the dataloaders in a checkpoint's config, by split."""
    before = _read_config(meta.get('cfg')) or {}
    splits = ('train', 'val', 'test')
    return {split: before[f'{split}_dataloader'] for split in splits if before.get(f'{split}_dataloader')}


def _read_config(text: Any) -> dict[str, Any] | None:
    """Read the config that a checkpoint carries without running it; None if that is not possible."""
    try:
        assignments = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
        return {ast.unparse(node.targets[0]): parse_value(ast.unparse(node.value)) for node in assignments} or None
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return None


def _by_path(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values in a config by their paths, with the defaults of what stays frozen."""
    found = _FREEZING | {path: value for path, value in walk(cfg) if value is not None}
    return found | {'model.freeze': as_list(found['model.freeze'])}


def _hooks(cfg: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[dict]:
    """Yield the config's hooks of these names, with their defaults filled in."""
    for hook in cfg.get('custom_hooks') or []:
        if (name := type_name(hook)) in names:
            parameters = own_arguments(HOOKS.get(name)).items()
            defaults = {key: one.default for key, one in parameters if one.default is not one.empty}
            yield {**defaults, **hook, 'type': name}


def _hook_differences(old: Mapping[str, Any], new: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    """Compare the hooks of these names, one after another."""
    for before, now in itertools.zip_longest(_hooks(old, names), _hooks(new, names), fillvalue={'type': 'none'}):
        kinds = _describe('custom_hooks', before['type'], now['type'])
        yield from kinds or _describe(f'custom_hooks.{now["type"]}', before, now)


def _describe(path: str, old: Any, new: Any) -> list[str]:
    """Return a line for each difference of two parts of a config."""
    text = '{}: {!r} in the checkpoint, {!r} in the config'
    return [text.format(*one) for one in differences(old, new, path, missing=None)]
