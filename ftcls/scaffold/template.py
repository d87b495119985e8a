"""From a template of Jinja to a config."""
import json
from collections.abc import Iterable
from pathlib import Path
from pprint import pformat
from textwrap import wrap
from typing import Any

from ftcls.utils.checkpoint.folder import write_whole
from ftcls.utils.names import command

__all__ = ['VAL_FRACTION', 'write_config']

VAL_FRACTION = 0.2


def write_config(path: Path, template: str, **values: Any) -> None:
    """Write the config ``path``: the template of this name, filled with values."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    options = dict(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), **options)
    environment.filters.update(comment=_comment, listing=_listing, quoted=_quoted, repr=repr)
    environment.globals.update(val_fraction=VAL_FRACTION, command=command)
    write_whole(path, environment.get_template(template).render(values, path=path.as_posix()))


def _comment(text: str, margin: int = 0) -> str:
    """Return a text, in which a file name may hold a line break, as a comment with ``margin`` spaces before it."""
    lines = wrap('# ' + ' '.join(text.split()), 120 - margin, subsequent_indent='# ', break_long_words=False)
    return ('\n' + ' ' * margin).join(lines)


def _listing(names: Iterable[str]) -> str:
    return pformat(sorted(names), width=100, compact=True)


def _quoted(text: str) -> str:
    """Return a name so that it ends neither the docstring nor a line of it."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
