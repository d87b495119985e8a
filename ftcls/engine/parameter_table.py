"""Which parameters learn, how fast, and which file their values came from: the tables of preflight and print_params."""
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import torch.nn as nn
from mmengine.optim import OptimWrapper
from torch.nn.modules.batchnorm import _BatchNorm

from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.adapter_files import is_adapter, plain_name
from ftcls.utils.names import enumerate_names
from ftcls.utils.table import render_table
from ftcls.utils.tree import grouped, join_path

__all__ = ['ParameterInfo', 'full_table', 'never_learning', 'parameter_infos', 'parameter_sources', 'summary_table']


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter: ``lr`` and ``weight_decay`` are None if it is frozen; ``source`` is None if it was initialised."""
    name: str
    shape: tuple[int, ...]
    count: int
    trained: bool
    lr: float | None
    weight_decay: float | None
    source: str | None


def parameter_infos(model: nn.Module, optim_wrapper: OptimWrapper) -> list[ParameterInfo]:
    """Describe every parameter, in the model's order.

    Raises:
        ConfigError: If a parameter that requires a gradient is not in the optimizer, which would freeze it silently.
    """
    groups = {id(p): group for group in optim_wrapper.param_groups for p in group['params']}
    sources = parameter_sources(model)
    infos, forgotten = [], []
    for name, param in model.named_parameters():
        group, lr, weight_decay = groups.get(id(param)), None, None
        if param.requires_grad and group is None:
            forgotten.append(name)
        elif param.requires_grad:
            lr = group.get('initial_lr', group['lr'])  # a schedule's warm-up has already lowered `lr`
            weight_decay = group.get('weight_decay', 0.)
        size = (tuple(param.shape), param.numel())
        infos.append(ParameterInfo(name, *size, param.requires_grad, lr, weight_decay, sources.get(name)))
    if forgotten:
        names = enumerate_names(forgotten, most=5)
        raise ConfigError(f'optim_wrapper.constructor: its optimizer lacks {len(forgotten)} parameters that require a '
                          f'gradient: {names}. Freeze them, or put them into the optimizer')
    return infos


def parameter_sources(model: nn.Module) -> dict[str, str]:
    """Return, by the name of a tensor, the file that its value came from; outer modules are loaded after inner ones."""
    modules = [(name, m.load_report) for name, m in model.named_modules() if getattr(m, 'load_report', None)]
    sources = {}
    for prefix, report in sorted(modules, key=lambda item: item[0].count('.') + bool(item[0]), reverse=True):
        file = str(report.source).rsplit('/', 1)[-1]
        sources |= {join_path(prefix, name): file for name in report.loaded}
    names = [name for name, _ in model.named_parameters() if plain_name(name) in sources]
    return sources | {name: sources[plain_name(name)] for name in names}


def never_learning(model: nn.Module, later: Collection[str] = ()) -> list[str]:
    """Return a sentence on parameters that are frozen at random values, because no file gave them and none will learn.

    Parameters of one value, such as a norm's ones and zeros, are not random.

    Args:
        model: The model, its weights loaded, without the wrapper of distributed training.
        later: Names of parameters that will be trained though they are frozen now.
    """
    known = {*parameter_sources(model), *later}
    fixed = [(name, p) for name, p in model.named_parameters() if not p.requires_grad and name not in known]
    names = [name for name, param in fixed if bool((param != param.flatten()[:1]).any())]
    if not names:
        return []
    rows = enumerate_names(_by_row(model, names), most=8)
    advice = 'load some (init_cfg of that part of the model, or load_from), or unfreeze them'
    return [f'frozen at random values, NEVER TO LEARN: {rows}; no weights were loaded for these: {advice}']


def full_table(infos: list[ParameterInfo]) -> str:
    """Return a table with one row per parameter, none of them folded, and how many are trained."""
    rows = [(info.name, 'x'.join(map(str, info.shape)) or '1', *_cells([info])) for info in infos]
    columns = ('parameter', 'shape', 'state', 'lr', 'weight decay', 'value from')
    return _with_total(render_table(dict.fromkeys(columns, 'left'), rows, width=10_000), infos)


def _with_total(table: str, infos: list[ParameterInfo]) -> str:
    trained, total = sum(info.count for info in infos if info.trained), sum(info.count for info in infos)
    return f'{table}\n\n{trained:,} of {total:,} parameters are trained'


def summary_table(model: nn.Module, optim_wrapper: OptimWrapper) -> str:
    """Return a table with one row per child of backbone, neck and head, and how many parameters are trained.

    The model is in training mode.

    Raises:
        ConfigError: See :func:`parameter_infos`.
    """
    infos = {info.name: info for info in parameter_infos(model, optim_wrapper)}
    rows = []
    for row, names in _by_row(model, list(infos)).items():
        members = [infos[name] for name in names]
        *learning, sources = _cells(members)
        count = sum(info.count for info in members)
        rows.append((row, sources, *learning, f'{count:,}', _batchnorm(row, model)))
    titles = ['parameters', 'weights from', 'state', 'lr', 'weight decay', 'count', 'BatchNorm statistics']
    right = {title: 'right' for title in ('lr', 'weight decay', 'count')}
    return _with_total(render_table(dict.fromkeys(titles, 'left') | right, rows), list(infos.values()))


def _by_row(model: nn.Module, names: list[str]) -> dict[str, list[str]]:
    """Group parameter names by the row of the table that they are in."""
    prefixes = _row_prefixes(model)

    def row_of(name: str) -> str:
        row = next((prefix for prefix in prefixes if f'{name}.'.startswith(f'{prefix}.')), name)
        if is_adapter(name):
            row += ' (adapter)'
        return row

    return grouped((row_of(name), name) for name in names)


def _row_prefixes(model: nn.Module) -> list[str]:
    """Name the modules that have a row each: the children of backbone, neck and head; the longest name first.

    A module with a single child has the rows of that child.
    """
    prefixes = []
    for path, module in model.named_children():
        parts = _parts(module)
        while len(parts) == 1 and not list(module.parameters(recurse=False)):
            (name, child), = parts.items()
            if not list(child.children()):
                break
            path, module, parts = f'{path}.{name}', child, _parts(child)
        prefixes += [f'{path}.{name}' for name in parts] + [path]
    return sorted(prefixes, key=len, reverse=True)


def _parts(module: nn.Module) -> dict[str, nn.Module]:
    return {name: child for name, child in module.named_children() if list(child.parameters())}


def _cells(infos: list[ParameterInfo]) -> tuple[str | None, ...]:
    """Return what some parameters have in both tables: state, learning rate, weight decay, and where they come from."""
    state = _share(sum(info.trained for info in infos), len(infos), 'trained', 'FROZEN')
    counts = Counter(info.source or 'initialised' for info in infos)
    sources = ', '.join(f'{count} {source}' for source, count in counts.items())
    if len(counts) == 1:
        sources, = counts
    return state, _span([info.lr for info in infos]), _span([info.weight_decay for info in infos]), sources


def _span(values: list[float | None]) -> str | None:
    """Return the lowest and the highest value as ``'0.01 .. 0.1'``, one alone, or None for none."""
    known = sorted({value for value in values if value is not None})
    return ' .. '.join(f'{value:g}' for value in dict.fromkeys([*known[:1], *known[-1:]])) or None


def _share(count: int, total: int, word: str, none: str) -> str:
    if not count:
        return none
    return word if count == total else f'{count} of {total} {word}'


def _batchnorm(row: str, model: nn.Module) -> str | None:
    """Return what the BatchNorm layers of a row do with their running statistics, None without such layers."""
    modules = model.named_modules(remove_duplicate=False)
    norms = {m for name, m in modules if f'{name}.'.startswith(f'{row}.') and isinstance(m, _BatchNorm)}
    if not norms:
        return None
    return _share(sum(layer.training for layer in norms), len(norms), 'updated', 'fixed')
