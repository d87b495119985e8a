"""Rendering the templates beside this file."""
import math
from pathlib import Path
from typing import Any

__all__ = ['render_template']


def render_template(name: str, **values: Any) -> str:
    """Return the text of a template; what goes into HTML is escaped, and a value that it lacks is an error there."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined
    is_html = name.endswith('.html')
    undefined = StrictUndefined if is_html else Undefined
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=is_html, undefined=undefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters['two'] = _two
    return environment.get_template(name).render(values)


def _two(value: float | None) -> str:
    """Write a number as all numbers of a report, with two decimals."""
    return '–' if value is None or math.isnan(value) else f'{value:,.2f}'
