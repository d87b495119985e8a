"""Which parameters learn, how fast, and where their values came from: the table of the preflight."""
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch.nn as nn
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from rich.console import Console
from rich.table import Table
from torch.nn.modules.batchnorm import _BatchNorm

from ftcls.utils import ConfigError

__all__ = [
    'ParameterInfo', 'ParameterRow', 'draw_table', 'never_learning', 'parameter_infos', 'parameter_rows',
    'parameter_sources', 'render_rows', 'unwrap'
]


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter: ``lr`` and ``weight_decay`` are None where it is frozen; ``source`` is None where it was initialised."""
    name: str
    shape: tuple[int, ...]
    count: int
    trained: bool
    lr: float | None
    weight_decay: float | None
    source: str | None


@dataclass(frozen=True)
class ParameterRow:
    """Parameters that belong together, as one line of the table."""
    name: str
    weights: str
    state: str
    lr: str
    weight_decay: str
    count: int
    batchnorm: str


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside a DistributedDataParallel wrapper."""
    return model.module if is_model_wrapper(model) else model


def parameter_infos(model: nn.Module, optim_wrapper: OptimWrapper) -> list[ParameterInfo]:
    """Describe every parameter.

    Raises:
        ConfigError: If a parameter that requires a gradient is not in the optimizer, which would silently freeze it.
    """
    groups = {id(p): group for group in optim_wrapper.param_groups for p in group['params']}
    sources = parameter_sources(model)
    infos, forgotten = [], []
    for name, param in model.named_parameters():
        group = groups.get(id(param))
        if param.requires_grad and group is None:
            forgotten.append(name)
        trained = param.requires_grad
        infos.append(
            ParameterInfo(
                name=name,
                shape=tuple(param.shape),
                count=param.numel(),
                trained=trained,
                # a schedule's warm-up has already lowered `lr`
                lr=group.get('initial_lr', group['lr']) if trained and group else None,
                weight_decay=group.get('weight_decay', 0.) if trained and group else None,
                source=sources.get(name)))
    if forgotten:
        raise ConfigError(f'{len(forgotten)} parameters are to be trained and the optimizer does not hold them: '
                          f'{", ".join(forgotten[:5])}; check optim_wrapper.constructor')
    return infos


def parameter_sources(model: nn.Module) -> dict[str, str]:
    """Return by name the file that a tensor's value came from; an outer module's load came later."""
    modules = [(name, m) for name, m in model.named_modules() if getattr(m, 'load_report', None) is not None]
    sources = {}
    for prefix, module in sorted(modules, key=lambda item: -item[0].count('.') - bool(item[0])):
        report = module.load_report
        for name in report.loaded:
            sources[f'{prefix}.{name}' if prefix else name] = str(report.source).rsplit('/', 1)[-1]
    return sources


def never_learning(model: nn.Module, later: Collection[str] = ()) -> list[str]:
    """Return a sentence on parameters that are frozen at their random start, for no file gave them and none will learn.

    Parameters of one value, such as a norm's ones and zeros, are not random.

    Args:
        model: The model, its weights loaded, without the wrapper of distributed training.
        later: Names of parameters that will be trained though they are frozen now.
    """
    known = {*parameter_sources(model), *later}
    names = [
        name for name, p in model.named_parameters()
        if not p.requires_grad and name not in known and p.numel() and bool((p != p.flatten()[0]).any())
    ]
    prefixes = _row_prefixes(model)
    parts = list(dict.fromkeys(_row_name(name, prefixes) for name in names))
    return [
        f'frozen at random values, NEVER TO LEARN: {", ".join(parts[:8])}' +
        (f' and {len(parts) - 8} more' if len(parts) > 8 else '') +
        '; no weights were loaded for these: load some (init_cfg of that part of the model, or load_from), or unfreeze them'
    ] if names else []


def _row_prefixes(model: nn.Module) -> list[str]:
    """Name the modules that make one line each: the children of backbone, neck and head."""
    prefixes = []
    for name, child in model.named_children():
        module, path = child, name
        while True:
            parts = [(n, c) for n, c in module.named_children() if any(True for _ in c.parameters())]
            if len(parts) != 1 or any(True
                                      for _ in module.parameters(recurse=False)) or not list(parts[0][1].children()):
                break
            module, path = parts[0][1], f'{path}.{parts[0][0]}'
        prefixes += [f'{path}.{n}' for n, _ in parts] + [path]
    return sorted(prefixes, key=len, reverse=True)


def _row_name(name: str, prefixes: list[str]) -> str:
    """Return which row of the table a parameter is in."""
    return next((p for p in prefixes if name.startswith(p + '.') or name == p), name)


def parameter_rows(model: nn.Module, optim_wrapper: OptimWrapper) -> list[ParameterRow]:
    """Gather the parameters into rows, in the model's own order."""
    prefixes = _row_prefixes(model)
    grouped: dict[str, list[ParameterInfo]] = {}
    for info in parameter_infos(model, optim_wrapper):
        grouped.setdefault(_row_name(info.name, prefixes), []).append(info)
    return [_row(name, infos, model) for name, infos in grouped.items()]


def _row(name: str, infos: list[ParameterInfo], model: nn.Module) -> ParameterRow:
    trained = [i for i in infos if i.trained]
    state = 'trained' if len(trained) == len(
        infos) else f'{len(trained)} of {len(infos)} trained' if trained else 'FROZEN'
    sources: dict[str, int] = {}
    for info in infos:
        key = info.source or 'initialised'
        sources[key] = sources.get(key, 0) + 1
    weights = next(iter(sources)) if len(sources) == 1 else ', '.join(f'{n} {src}' for src, n in sources.items())
    return ParameterRow(name, weights, state, _span([i.lr for i in trained]), _span([i.weight_decay for i in trained]),
                        sum(i.count for i in infos), _batchnorm(name, model))


def _span(values: list[float | None]) -> str:
    known = sorted({v for v in values if v is not None})
    if not known:
        return '-'
    return f'{known[0]:g}' if len(known) == 1 else f'{known[0]:g} .. {known[-1]:g}'


def _batchnorm(name: str, model: nn.Module) -> str:
    """Say what the BatchNorm layers of a row do with their running statistics; the model is in training mode."""
    try:
        module = model.get_submodule(name)
    except AttributeError:  # a parameter of its own
        return '-'
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        return '-'
    updating = sum(m.training for m in norms)
    return 'updated' if updating == len(norms) else 'fixed' if not updating else f'{updating} of {len(norms)} updated'


def render_rows(rows: list[ParameterRow]) -> str:
    """Draw the table as plain text."""
    columns = {'parameters': 'left', 'weights from': 'left', 'state': 'left', 'lr': 'right', 'weight decay': 'right',
               'count': 'right', 'BatchNorm statistics': 'left'}  # yapf: disable
    return draw_table(
        columns, ((r.name, r.weights, r.state, r.lr, r.weight_decay, f'{r.count:,}', r.batchnorm) for r in rows),
        width=150)


def draw_table(columns: Mapping[str, str], rows: Iterable[Sequence[str]], width: int) -> str:
    """Draw a table as plain text.

    Args:
        columns: Title of each column to ``'left'`` or ``'right'``.
        rows: The texts.
        width: Letters a line at most; longer texts are folded.
    """
    table = Table(box=None, pad_edge=False, header_style='bold')
    for title, justify in columns.items():
        table.add_column(title, justify=justify, overflow='fold')
    for row in rows:
        table.add_row(*row)
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return '\n'.join(line.rstrip() for line in capture.get().splitlines())
