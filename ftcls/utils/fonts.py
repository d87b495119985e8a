"""Texts in figures: fonts that have the characters of all scripts, or a transliteration."""
from functools import cache

from anyascii import anyascii

from .log import warn

__all__ = ['drawable']

_warn_once = cache(warn)


def drawable(text: str) -> str:
    """Return a text as matplotlib can draw it.

    Fonts of the system that have characters which matplotlib's font lacks are added to its setting ``font.family``.
    Characters that no font has are transliterated, and a warning says so once. Before matplotlib 3.11, Arabic and
    Hebrew are drawn from left to right.

    Example:
        >>> drawable('ants'), drawable('5 $')
        ('ants', '5 \\\\$')
    """
    from matplotlib import font_manager, rcParams
    if rcParams['svg.fonttype'] == 'none':  # text stays text, and the browser has fonts
        return text
    text = text.replace('$', r'\$')  # which would begin a formula
    if text.isascii():
        return text
    missing, families = set(text), list(rcParams['font.family'])
    for file in (font_manager.findfont(font_manager.FontProperties()), *_system_fonts()):
        family, characters = _font(file)
        if missing & characters:
            families.append(family)
        missing -= characters
    rcParams['font.family'] = list(dict.fromkeys(families))
    if missing:
        _warn_once(
            'no font here can draw some names: figures transliterate them; install one, e.g. fonts-noto-cjk (apt)')
    return ''.join(anyascii(one) if one in missing else one for one in text) or '?'


@cache
def _system_fonts() -> list[str]:
    """Return the files of all fonts, sans serif and regular ones first."""
    from matplotlib.font_manager import findSystemFonts
    return sorted(findSystemFonts(), key=lambda file: ('Sans' not in file, 'Regular' not in file, file))


@cache
def _font(file: str) -> tuple[str, frozenset[str]]:
    """Make a font known to matplotlib; return its name and its characters, none where matplotlib cannot use it."""
    from matplotlib import font_manager, ft2font
    try:
        font_manager.fontManager.addfont(file)
        font = ft2font.FT2Font(file)
    except (NotImplementedError, OSError, RuntimeError):  # one of bitmaps, or a damaged one
        return '', frozenset()
    return font.family_name, frozenset(map(chr, font.get_charmap()))
