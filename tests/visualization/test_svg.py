"""Figures as SVG for a page: its colours are the page's, its text is text, its ids are its own."""
import re
from xml.etree import ElementTree

from ftcls.visualization.curves import draw_curves
from ftcls.visualization.svg import svg_panels

RECORDS = [
    *(dict(kind='train', step=step, epoch=1, loss=1 / step, lr=0.1) for step in range(1, 5)),
    {'kind': 'val', 'step': 4, 'epoch': 1, 'loss': 0.3, '精度 <b> $x_1$': 70.}
]  # yapf: disable


def test_panels_become_elements_of_a_page() -> None:
    svgs = [svg for prefix in 'ab' for svg in svg_panels(lambda panels: draw_curves(panels, RECORDS), 3, prefix)]
    roots = [ElementTree.fromstring(svg) for svg in svgs]
    assert [root.tag for root in roots] == ['{http://www.w3.org/2000/svg}svg'] * 6
    assert any('精度 <b> $x_1$' in text for text in roots[1].itertext())
    ids = [element.get('id') for root in roots for element in root.iter() if element.get('id')]
    assert len(set(ids)) == len(ids) and all(re.match(r'[ab]-[012]-', one) for one in ids)
    for svg in svgs:
        assert set(re.findall(r'(?:url\(|href=")#([^)"]*)', svg)) <= set(ids)
        assert '#' not in re.sub(r'var\(--x([0-9a-f]{6}),#\1\)|(url\(|href=")#', '', svg)
        assert 'http' not in re.sub(r'xmlns(:xlink)?="[^"]*"', '', svg)
    assert 'var(--x0072b2,#0072b2)' in svgs[0]


def test_the_same_figure_is_the_same_text() -> None:
    first, second = (svg_panels(lambda panels: draw_curves(panels, RECORDS), 3, 'a') for _ in range(2))
    assert first == second
