"""Names in any script: drawn in a font that has them, or transliterated."""
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure

from ftcls.evaluation import ConfusionMatrix
from ftcls.structures import DataSample
from ftcls.utils import fonts
from ftcls.utils.fonts import drawable
from ftcls.visualization import UniversalVisualizer, plot_compare, plot_images, plot_search

NAMES = ['猫', 'ネコ', '고양이', 'แมว', '🦒', 'ant']


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let the system have no other fonts than these."""
    known = list(font_manager.fontManager.ttflist)

    def install(*files: Path) -> None:
        monkeypatch.setattr(fonts, '_system_fonts', lambda: list(map(str, files)))

    install()
    fonts._warn_once.cache_clear()
    with matplotlib.rc_context():
        yield install
    font_manager.fontManager.ttflist[:] = known


def _font(file: Path, characters: str) -> Path:
    """Write a font whose characters are all the same square."""
    pen = TTGlyphPen(None)
    for step, point in zip(['moveTo', *['lineTo'] * 3], [(0, 0), (0, 700), (700, 700), (700, 0)]):
        getattr(pen, step)(point)
    pen.closePath()
    names = ['.notdef', *(f'uni{ord(one):04X}' for one in characters)]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, characters), names[1:])))
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable(dict(familyName=file.stem, styleName='Regular'))
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(file)
    return file


def _draw_all(names: list[str], folder: Path) -> None:
    """Draw the names wherever there are names; a missing glyph is a warning, which fails the test."""
    classes = len(names)
    ConfusionMatrix.plot(np.eye(classes), classes=names, show=False, out=folder / 'matrix.png')
    plot_images([np.zeros((8, 8, 3), np.uint8)] * classes, names, folder / 'images.png', names[0])
    runs = {name: [[dict(kind='val', step=1, epoch=1, top1=3.)]] for name in names}
    plot_compare(runs, folder / 'compare.png', title=names[0])
    trials = [dict(number=i, score=i, pruned=False, values=dict(a=name)) for i, name in enumerate(names)]
    plot_search(trials, {}, [], 'top1', False, folder / 'search.png', names[0])
    sample = DataSample().set_gt_label(0).set_pred_label(1).set_pred_score([0.3] * classes)
    UniversalVisualizer().visualize_cls(np.zeros((64, 64, 3), np.uint8), sample, names, out_file=folder / 'sample.png')


def test_without_a_font_names_are_transliterated_and_that_is_said_once(system: Callable, tmp_path: Path,
                                                                       log_records: list) -> None:
    assert list(map(drawable, NAMES)) == ['Mao', 'neko', 'GoYangI', 'aemw', ':giraffe:', 'ant']
    _draw_all(NAMES, tmp_path)
    warned = [text for _, text in log_records]
    assert len(warned) == 1 and 'fonts-noto-cjk' in warned[0]


def test_fonts_of_the_system_are_found(system: Callable, tmp_path: Path, log_records: list) -> None:
    broken = tmp_path / 'broken.ttf'
    broken.write_bytes(b'no font')
    first, second = _font(tmp_path / 'First.ttf', '猫ネコ'), _font(tmp_path / 'Second.ttf', '고양이แมว')
    system(broken, first, second)
    assert list(map(drawable, NAMES)) == ['猫', 'ネコ', '고양이', 'แมว', ':giraffe:', 'ant']
    assert matplotlib.rcParams['font.family'][-2:] == ['First', 'Second']
    assert len(log_records) == 1
    _draw_all(NAMES[:4], tmp_path)


@pytest.mark.parametrize('name', ['Éléphant', 'кот', 'Ω', 'a$b$c_{', '$', '100 % \\alpha', 'a\nb', '', 'قطة', '\ue000'])
def test_any_name_is_drawn(system: Callable, name: str) -> None:
    figure = Figure()
    text = figure.text(0.5, 0.5, drawable(name))
    figure.canvas.draw()
    assert name.isascii() or text.get_text() in (name, '?')


def test_svg_keeps_the_text(system: Callable) -> None:
    with matplotlib.rc_context({'svg.fonttype': 'none'}):
        assert drawable('猫 $') == '猫 $'
