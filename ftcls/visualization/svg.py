"""Figures as SVG that takes its colours from the page around it."""
import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from .curves import _panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['svg_panels']

_NO_METADATA = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))


def svg_panels(draw: Callable[[list['Axes']], None], count: int, prefix: str) -> list[str]:
    """Return each of the panels that ``draw`` fills as an ``<svg>`` element for the inside of an HTML page.

    Text stays text. A colour such as #0072b2 is written ``var(--x0072b2,#0072b2)``, so that the page's CSS can give it
    another one, for example on a dark ground.

    Args:
        draw: Called with a list of empty axes, each of its own figure.
        count: How many.
        prefix: Begins all ids inside, which have to be unique in the page.
    """
    from matplotlib import rc_context
    svgs = []
    settings = {'svg.fonttype': 'none', 'svg.hashsalt': prefix, 'text.parse_math': False}
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph')  # that a font lacks: the browser has others
        panels = [_panels(1, None)[1][0] for _ in range(count)]
        draw(panels)
        for number, axes in enumerate(panels):
            text = io.StringIO()
            axes.figure.set_size_inches(4., 3.3)
            axes.figure.savefig(text, format='svg', transparent=True, metadata=_NO_METADATA)
            svg = re.sub(r'(?<=\bid=")|(?<=href="#)|(?<=url\(#)', f'{prefix}-{number}-', text.getvalue())
            svgs.append('<svg' + re.sub(r'(?<=: )#([0-9a-f]{6})\b', r'var(--x\1,#\1)', svg).partition('<svg')[2])
    return svgs
