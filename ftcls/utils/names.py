"""Names: the nearest ones to a misspelt one, which parameters a pattern matches, what the user calls a command."""
import difflib
import os
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    'SHORT_COMMANDS', 'command', 'did_you_mean', 'edits', 'enumerate_names', 'is_percentage', 'is_regex', 'match_names',
    'missing_hint', 'name_parts', 'nearest', 'plural', 'score_digits', 'shipped_folder'
]

SHORT_COMMANDS = dict(
    browse_dataset='browse', check_data='check', lr_finder='lr', new_config='new', print_config='print')
_TOOLS = Path(__file__).resolve().parents[2] / 'tools'  # of a checkout; a wheel has none there


def command(tool: str, *arguments: object) -> str:
    """Return the line that calls a tool, as the user called this one: ``ftcls …`` or ``python tools/….py …``.

    Args:
        tool: The name of its file, without suffix.
        arguments: Quoted for the shell where they must be.

    Example:
        >>> command('train', 'my config.py', '--dry-run'), command('new_config')
        ("ftcls train 'my config.py' --dry-run", 'ftcls new')
    """
    program = ['ftcls', SHORT_COMMANDS.get(tool, tool)]
    caller = Path(sys.argv[0])
    if caller.suffix == '.py' and caller.resolve().parent == _TOOLS:
        program = ['python', str(caller.with_name(f'{tool}.py'))]
    return shlex.join([*program, *map(str, arguments)])


def shipped_folder(name: str) -> Path:
    """Return a folder that comes with ftcls, 'configs' or 'tools': inside an installed package, else beside it."""
    inside, beside = (Path(__file__).resolve().parents[depth] / name for depth in (1, 2))
    return inside if inside.is_dir() else beside


def nearest(name: str, allowed: Iterable[str], most: int = 3) -> list[str]:
    """Return up to ``most`` of the ``allowed`` names that resemble ``name``, the nearest first.

    Example:
        >>> nearest('ResNte', ['ResNet', 'LeNet5'])
        ['ResNet']
    """
    allowed = list(dict.fromkeys(allowed))
    lowered = {candidate.lower(): candidate for candidate in reversed(allowed)}
    return [lowered[hit] for hit in difflib.get_close_matches(name.lower(), lowered, n=most, cutoff=0.55)]


def did_you_mean(name: str, allowed: Iterable[str], most: int = 3, lists: bool = True) -> str:
    """Return ``"; did you mean 'a' or 'b'?"``, or the whole list where it is short and nothing is near, or ``''``.

    Args:
        name: What was given.
        allowed: What could have been meant.
        most: Of these, so many are named.
        lists: False gives no list.
    """
    allowed = list(dict.fromkeys(allowed))
    if near := nearest(name, allowed, most):
        return f'; did you mean {" or ".join(map(repr, near))}?'
    if lists and allowed and len(allowed) <= 20:
        return '; allowed: ' + ', '.join(sorted(allowed))
    return ''


def missing_hint(path: str | os.PathLike) -> str:
    """Return a hint at a file or folder beside ``path`` with a similar name, or at the first folder that is missing."""
    target = Path(path)
    parent = target.parent
    if parent.is_dir():
        return did_you_mean(target.name, os.listdir(parent)).replace('; allowed: ', f'; {str(parent)!r} has: ')
    while not parent.exists() and parent != parent.parent:
        target, parent = parent, parent.parent
    return f'; the folder {str(target)!r} is missing'


def enumerate_names(names: Iterable[object], most: int = 10) -> str:
    """Return the first names in one line, and how many more there are.

    Example:
        >>> enumerate_names(['ants', 'bees', 'wasps'], most=2)
        'ants, bees and 1 more'
    """
    names = [str(name) for name in names]
    shown = ', '.join(names[:most])
    return shown if len(names) <= most else f'{shown} and {len(names) - most} more'


def plural(count: int, noun: str, suffix: str = 's') -> str:
    """Return ``'1 fault'``, ``'2 faults'``; ``suffix`` where the plural is not formed by an s."""
    return f'{count:,} {noun}' if count == 1 else f'{count:,} {noun}{suffix}'


def is_percentage(metric: str) -> bool:
    """Tell whether a metric's values are percentages, by its name."""
    return re.match('(val/|test/)?(accuracy/|single-label/|multi-label/|dice|iou)', metric) is not None


def score_digits(metric: str) -> int:
    """Return how many decimals the values of a metric are shown with.

    Example:
        >>> score_digits('accuracy/top1'), score_digits('loss')
        (2, 4)
    """
    return 2 if is_percentage(metric) else 4


def edits(one: str, other: str) -> int:
    """Return how many letters must be inserted, deleted, replaced or swapped with the next to turn one into the other.

    Example:
        >>> edits('modle', 'model'), edits('optim_wraper', 'optim_wrapper')
        (1, 1)
    """
    before, row = [], list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, start=1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                best = min(best, last[j - 2] + 1)
            row.append(best)
    return row[-1]


def is_regex(key: str) -> bool:
    """Tell whether a key over parameter names is a regular expression (a plain dot is a dot)."""
    return re.search(r'[\\^$*+?{}\[\]|()]', key) is not None


def match_names(key: str, names: Iterable[str]) -> list[str]:
    """Return the names that ``key`` matches: those that contain it or, for a regular expression, that it is found in.

    Raises:
        ValueError: If ``key`` is meant as a regular expression and is not a valid one.

    Example:
        >>> match_names('layer[12]', ['layer1.conv', 'layer3.conv'])
        ['layer1.conv']
    """
    if not is_regex(key):
        return [n for n in names if key in n]
    try:
        pattern = re.compile(key)
    except re.error as err:
        raise ValueError(f'{key!r} is not a valid regular expression over parameter names: {err}') from None
    return [n for n in names if pattern.search(n)]


def name_parts(names: Iterable[str]) -> list[str]:
    """Return the modules and the last components that occur in parameter names: what a key over them can have meant.

    Example:
        >>> name_parts(['layer1.0.conv.weight'])
        ['layer1', 'conv', 'weight', 'layer1.0', 'layer1.0.conv']
    """
    parts: dict[str, None] = {}
    for name in names:
        pieces = name.split('.')
        parts.update((piece, None) for piece in pieces if not piece.isdigit())
        parts.update(('.'.join(pieces[:end]), None) for end in range(2, len(pieces)))
    return list(parts)
