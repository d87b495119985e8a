"""Going on from a checkpoint: which one, and whether the config still asks for the same run."""
import inspect
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import find_latest_checkpoint

from ftcls.registry import HOOKS
from ftcls.utils import ConfigError, MissingFileError
from ftcls.utils.checkpoint.loading import read_checkpoint

__all__ = ['as_list', 'check_same_recipe', 'iter_pretrained', 'resolve_resume']

# A checkpoint brings the state of these, their settings included, so that other settings in the config would be ignored.
# Accumulation and half precision are not among them: a run may go on with another number of processes.
_RESTORED = ('optim_wrapper.optimizer', 'optim_wrapper.paramwise_cfg', 'optim_wrapper.constructor', 'param_scheduler')

# Hooks that set what is trained when: with another plan, stages that have been trained would rest again.
_PLANS = ('GradualUnfreezingHook', 'LinearProbeFineTuneHook')
# What is trained towards, or kept of it; the run goes on with what the config says now.
_OTHER_HOOKS = ('L2SPHook', 'EMAHook')
# Keys of what stays frozen, with what they are where they are absent.
_FREEZING = {
    'model.freeze': None,
    'model.norm_policy': 'train',
    'model.backbone.frozen_stages': -1,
    'model.backbone.norm_eval': False
}


def resolve_resume(cfg: Config, resume: bool | str) -> None:
    """Find the checkpoint to resume from; a run that resumes loads no pretrained weights before.

    Raises:
        MissingFileError: If the checkpoint that was named is not there.
    """
    resume = resume or cfg.get('resume', False)
    path = resume if isinstance(resume, str) else cfg.load_from if cfg.get('resume') and cfg.get('load_from') else None
    cfg.resume = False
    if not resume:
        return
    if path is None:
        path = _latest(Path(cfg.work_dir))
        if path is None:
            there = sorted(f.name for f in Path(cfg.work_dir).glob('*.pth'))
            print_log(
                f'--resume: nothing to resume from, training STARTS FROM THE BEGINNING: there is no last_checkpoint in '
                f'{Path(cfg.work_dir).resolve()}, the work dir, which names the latest checkpoint of a run' +
                (f'; of {", ".join(there[:6])} there, give one by its path: --resume PATH'
                 if there else '; is it the --work-dir of the run that was broken off?'),
                logger='current',
                level=logging.WARNING)
            return
    if not Path(path).is_file():
        raise MissingFileError(
            f'--resume {path}: no such checkpoint; give the path of one, or none for the latest of the work dir')
    cfg.load_from, cfg.resume = str(path), True
    for owner in list(iter_pretrained(cfg.model)):
        others = [c for c in as_list(owner['init_cfg']) if c.get('type') != 'Pretrained']
        owner['init_cfg'] = others or None


def _latest(work_dir: Path) -> str | None:
    """Return the latest checkpoint of a work dir; the note that names it holds another path where the folder was moved."""
    if not (work_dir / 'last_checkpoint').is_file():
        return None
    noted = find_latest_checkpoint(str(work_dir))
    here = work_dir / Path(noted).name
    return str(here) if here.is_file() else noted


def check_same_recipe(cfg: Config) -> None:
    """Refuse to resume with other rates, schedules or unfreezing; warn where what is frozen, L2-SP or EMA is another.

    The checkpoint's rates would silently be taken instead, and stages that have been trained would rest again. A run without
    unfreezing may go on with it.

    Raises:
        ConfigError: Naming each key, its value in the checkpoint's config and in this one.
    """
    text = (read_checkpoint(cfg.load_from).get('meta') or {}).get('cfg')
    if not cfg.get('resume') or not isinstance(text, str):
        return
    try:
        before = Config.fromstring(text, '.py')
    except Exception:  # another tool's config; what it asked for cannot be told
        return
    changed = [line for key in _RESTORED for line in _differences(_at(before, key), _at(cfg, key), key)]
    if _hooks(before, _PLANS):
        changed += _hook_differences(before, cfg, _PLANS)
    warned = [line for key, absent in _FREEZING.items()
              for line in _differences(_setting(before, key, absent), _setting(cfg, key, absent), key)]  # yapf: disable
    warned += _hook_differences(before, cfg, _OTHER_HOOKS)
    if warned:
        print_log(
            '\n  '.join([f'--resume {cfg.load_from}: the run goes on otherwise than it was started:', *warned]),
            logger='current',
            level=logging.WARNING)
    if changed:
        raise ConfigError('\n'.join([f'--resume {cfg.load_from}: the config is not the one that the run was started with:'] + [
            f'  {line}' for line in changed
        ] + ['a resumed run goes on with the optimizer, the schedule and the unfreezing of its checkpoint; set these keys back (train_cfg.max_epochs '
             'may change), or start a new run from its weights with load_from=…']))  # yapf: disable


def _at(cfg: Config, path: str) -> Any:
    head, _, rest = path.partition('.')
    return (cfg.get(head) or {}).get(rest) if rest else cfg.get(head)


def _setting(cfg: Config, path: str, absent: Any) -> Any:
    head, *rest = path.split('.')
    value = cfg.get(head)
    for key in rest:
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None:
        return absent
    return as_list(value) if path == 'model.freeze' else value


def _hooks(cfg: Config, names: tuple[str, ...]) -> dict[int, dict]:
    """Return the config's hooks of these names by their place, what they leave out filled in with its default."""
    found = {}
    for i, hook in enumerate(cfg.get('custom_hooks') or []):
        name = hook.get('type') if isinstance(hook, Mapping) else None
        name = name.rsplit('.', 1)[-1] if isinstance(name, str) else getattr(name, '__name__', None)
        if name in names:
            known = inspect.signature(HOOKS.get(name)).parameters.values()
            defaults = {p.name: p.default for p in known if p.default is not p.empty}
            found[i] = {**defaults, **hook, 'type': name}
    return found


def _hook_differences(old: Config, new: Config, names: tuple[str, ...]) -> list[str]:
    """Compare the hooks of these names, one after another, wherever they stand."""
    before, now = _hooks(old, names), _hooks(new, names)
    lines = []
    for (_, a), (i, b) in zip(before.items(), now.items()):
        lines += _differences(a if a['type'] == b['type'] else a['type'], b if a['type'] == b['type'] else b['type'],
                              f'custom_hooks.{i}' + ('' if a['type'] == b['type'] else '.type'))  # yapf: disable
    for i, hook in list(before.items())[len(now):]:
        lines.append(f'custom_hooks.{i}: {hook["type"]} in the checkpoint, none in the config')
    for i, hook in list(now.items())[len(before):]:
        lines.append(f'custom_hooks.{i}: none in the checkpoint, {hook["type"]} in the config')
    return lines


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), f'{path}.{key}')
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new)):
            yield from _differences(a, b, f'{path}.{i}')
    elif old != new:
        yield f'{path}: {old!r} in the checkpoint, {new!r} in the config'


def as_list(value: Any) -> list:
    """Return a list or tuple as a list, anything else as a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]


def iter_pretrained(node: Any) -> Iterator[dict]:
    """Yield the component dicts whose ``init_cfg`` loads a checkpoint."""
    if isinstance(node, Mapping):
        init = node.get('init_cfg')
        if init and any(isinstance(c, Mapping) and c.get('type') == 'Pretrained' for c in as_list(init)):
            yield node
        for child in node.values():
            yield from iter_pretrained(child)
    elif isinstance(node, list | tuple):
        for child in node:
            yield from iter_pretrained(child)
