"""The page of a report: its structure, and what it does in a browser."""
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ftcls.apis.report.contents import Calibration, ClassRow, Example, RunContents, Segment
from ftcls.apis.report.page import render
from ftcls.evaluation.calibration import Reliability
from ftcls.evaluation.predictions import Predictions

LONG = 'very_long_name_' * 20
CLASSES = ['猫', '</title><script>alert(1)</script>', 'كلب', LONG, '"a" & \'b\'']
LABELS = [0, 0, 0, 1, 1, 2, 2, 3, 4, 4]
PREDICTED = [0, 0, 1, 1, 0, 2, 2, 3, 4, 1]
VOID = set('meta link br wbr img input'.split())


def image_of(number: int) -> np.ndarray | None:
    """An image of the colour of its number; the last one cannot be read."""
    return None if number == 9 else np.full((40, 60, 3), 6 * number % 250, np.uint8)


def predictions(classes: list[str], labels: Any, predicted: Any) -> Predictions:
    """Predictions with a score of 0.6; labels are numbers, or a list of them for each image."""
    samples = []
    for number, pair in enumerate(zip(labels, predicted)):
        label, said = ([int(one)] if np.isscalar(one) else one for one in pair)
        scores = np.full(len(classes), 0.1)
        scores[said] = 0.6
        path = f'val/{number}.jpg' if number else 'caf\udce9/a.jpg'
        samples.append(dict(gt_label=label, pred_label=said, pred_score=scores, img_path=path))
    return Predictions.from_samples(samples, 'val', 'best.pth', classes)


def records() -> list[dict]:
    train = [dict(kind='train', epoch=1, iter=n, step=n, loss=1 / n, lr=.1, time=n) for n in range(1, 5)]
    return [*train, {'kind': 'val', 'epoch': 1, 'step': 4, 'loss': .4, 'accuracy/top1': 70.,
                      'higher_is_better': {'accuracy/top1': True}}]  # yapf: disable


def contents(name: str = 'a <b>bold</b> run', **changes: Any) -> RunContents:
    """A run with everything that a classifier's report may have."""
    bins = Reliability([0, 4, 6], [np.nan, .5, .9], [np.nan, .75, 1.])
    mistake = Example('caf\udce9/<i>.jpg', CLASSES[1], CLASSES[2], .61234, image_of(3),
                      np.eye(40, 60, dtype=np.float32))
    run = RunContents(
        name,
        work_dir=f'work_dirs/{name}',
        config=dict(optimizer=dict(lr=.1), work_dir=name),
        config_text='lr = 0.1',
        command='python tools/train.py "a & b.py"',
        preflight='<script>alert(2)</script>',
        verdict=['70.00% of 10 images are classified correctly.', 'See `tools/calibrate.py`.'],
        facts=[('Seed', '0')],
        records=records(),
        predictions=predictions(CLASSES, LABELS, PREDICTED),
        metric='accuracy/top1',
        score=70.,
        interval=(39.68, 89.22),
        score_without_duplicates=66.666,
        image_of=image_of,
        class_table=[ClassRow(CLASSES[4], 2, 100., 50., 66.667), ClassRow(CLASSES[1], 1200, 9.5, 100., 100.),
                     ClassRow(CLASSES[2], 0, np.nan, np.nan, np.nan)],
        mistakes=[mistake, mistake._replace(image=None, cam=None)],
        calibration=Calibration(1.5, dict(ece=bins.ece, nll=.5), dict(ece=bins.ece, nll=.4), (bins, bins)),
        suspects=[mistake],
        suspects_basis='by scores on the validation images',
        duplicates=[('shared', 'val/1.jpg', 'train/1.jpg')],
        notes=['curves: <img src=x onerror=alert(3)>'])  # yapf: disable
    return replace(run, **changes)


def matrix_alone(found: Predictions) -> 'Page':
    """The page of a run without figures."""
    return Page(render([RunContents('run', predictions=found, image_of=image_of)]))


class Page(HTMLParser):
    """What is in a page: its elements as (name, attributes), and its text without scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = '', ['']
        self.rows: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [''], 'an element is not closed'

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == 'tr':
            self.rows.append('')
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1] not in ('script', 'style'):
            data = data.replace('\xa0', ' ')
            self.text += data
            if 'tr' in self._open:
                self.rows[-1] += data.strip()

    def all(self, *names: str) -> list[dict[str, str | None]]:
        """The attributes of the elements with these names."""
        return [attributes for name, attributes in self.elements if name in names]

    def row(self, title: str) -> str:
        """The rest of the last row of a table that begins with a title."""
        return next(row.removeprefix(title) for row in reversed(self.rows) if row.startswith(title))


@pytest.fixture(scope='module')
def html() -> str:
    return render([contents()])


@pytest.fixture(scope='module')
def several() -> str:
    others = dict(verdict=['The other one.'], config=dict(optimizer=dict(lr=.2, beta=1)), score=80.)
    mask = np.indices((40, 60)).sum(0).astype(np.uint8) % 2
    segment = Segment('masks/a.png', 12.345, 6.5, image_of(2), mask, np.zeros_like(mask))
    unet = RunContents('unet', segments=[segment, Segment('masks/b.png', 50., 33.333)], metric='dice', score=31.2)
    return render([contents(), contents('猫 $x_1', interval=(69., 90.), **others), unet])


@pytest.mark.parametrize('which', ['html', 'several'])
def test_page_needs_nothing_else_and_is_well_formed(which: str, request: pytest.FixtureRequest) -> None:
    page = Page(request.getfixturevalue(which))
    ids = [attributes['id'] for _, attributes in page.elements if 'id' in attributes]
    assert Counter(ids).most_common(1)[0][1] == 1
    for name, attributes in page.elements:
        for key, value in attributes.items():
            if key in ('src', 'href', 'xlink:href', 'action', 'srcset', 'poster', 'data'):
                assert value.startswith('data:') or value[1:] in ids, (name, key, value[:80])
            if key in ('aria-controls', 'aria-labelledby'):
                assert value in ids
            assert not key.startswith('on')
            for target in re.findall(r'url\(#(.*?)\)', value or ''):
                assert target in ids
    assert not page.all('iframe', 'object', 'embed', 'form', 'base')
    assert len(page.all('script')) == len(page.all('h1')) == len(page.all('main')) == 1
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch('h[1-6]', name)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in zip(levels, levels[1:]))


@pytest.mark.parametrize('which', ['html', 'several'])
def test_each_image_has_a_text(which: str, request: pytest.FixtureRequest) -> None:
    page = Page(request.getfixturevalue(which))
    drawn = [attributes for _, attributes in page.elements if attributes.get('role') == 'img']
    assert len(drawn) > 15 and all(one['aria-label'].strip() for one in drawn)
    assert not page.all('img')  # all images are `use`d inside of those
    # each image is in the page once
    addresses = Counter(one['href'] for one in page.all('image'))
    assert addresses.most_common(1)[0][1] == 1
    assert all(address.startswith('data:image/webp;base64,') for address in addresses)
    assert {one['href'][1:] for one in page.all('use') if 'href' in one} >= {one['id'] for one in page.all('image')}


def test_names_and_paths_are_text(html: str) -> None:
    page = Page(html)
    for text in [
            *CLASSES, 'a <b>bold</b> run', 'caf\\udce9/<i>.jpg', '<script>alert(2)</script>', 'a & b.py',
            '<img src=x onerror=alert(3)>'
    ]:
        assert text in page.text
    assert not page.all('b', 'i')
    html.encode('utf-8')


def test_images_are_shown_as_the_files_are(tmp_path: Path) -> None:
    """The network gets 4 x 4 pixels of a photo that a camera took on its side; a person sees the photo, upright."""
    photo = Image.new('L', (300, 200), 90)
    photo.getexif()[274] = 6
    photo.save(tmp_path / 'photo.jpg', exif=photo.getexif())
    deep = tmp_path / 'deep.png'
    Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(deep)
    (tmp_path / 'broken.jpg').write_bytes((tmp_path / 'photo.jpg').read_bytes()[:200])
    seen = np.full((4, 4, 3), 7, np.uint8)
    suspects = [
        Example(str(path), 'a', 'b', .9, seen) for path in (tmp_path / 'photo.jpg', deep, tmp_path / 'broken.jpg')
    ]
    page = Page(render([RunContents('run', suspects=suspects)]))
    assert [(one['width'], one['height']) for one in page.all('image')] == [('75', '112'), ('4', '4')]


def test_numbers_have_two_decimals(html: str) -> None:
    page = Page(html)
    assert page.row(CLASSES[4]) == '66.67100.0050.002'
    assert '1,200' in page.text and '61.23 %' in page.text and '66.67 %' in page.text
    assert page.row(CLASSES[2]) == '–––0'


def test_matrix_counts_and_shows_the_images_of_a_cell(html: str) -> None:
    page = Page(html)
    links = {one['aria-controls']: one['aria-label'] for one in page.all('a') if 'aria-controls' in one}
    pairs = Counter(zip(LABELS, PREDICTED))
    assert set(links) == {f'r0-cell-{truth}-{predicted}' for truth, predicted in pairs}
    for (truth, predicted), count in pairs.items():
        label = links[f'r0-cell-{truth}-{predicted}']
        assert label == f'{CLASSES[truth]} predicted as {CLASSES[predicted]}: {count} images'
    assert '1 image, 33.33 % of the class' in page.text
    assert 'val/9.jpg' in page.text and 'cannot be read' in page.text
    assert len(page.all('image')) == 9 + 1  # of 10 predictions one cannot be read; one map of a mistake


def test_many_classes_show_the_worst_confusions() -> None:
    labels = np.repeat(np.arange(200), 5)
    predicted = np.where(np.arange(1000) % 5 < 2, (labels + 1) % 200, labels)
    predicted[:5] = 7
    page = matrix_alone(predictions([f'class {n}' for n in range(200)], labels, predicted))
    targets = [one['aria-controls'] for one in page.all('a') if 'aria-controls' in one]
    assert len(targets) == 60 and targets[0] == 'r0-cell-0-7'
    assert 'The 60 most frequent confusions of 200 classes' in page.text


def test_thumbnails_are_capped_and_the_cap_is_said() -> None:
    page = matrix_alone(predictions(['a', 'b'], [0] * 40, [0] * 40))
    assert '40 images, 100.00 % of the class; the 24 with the lowest score of the true class are shown' in page.text


def test_unknown_labels_and_missing_scores_are_left_out() -> None:
    found = predictions(['a', 'b'], [0, -1, 1], [0, 0, 0])
    found.scores = np.zeros((3, 0), np.float32)
    page = matrix_alone(found)
    assert {one['aria-controls'] for one in page.all('a') if 'aria-controls' in one} == {'r0-cell-0-0', 'r0-cell-1-0'}
    found.labels = np.full(3, -1)
    assert 'Confusion matrix' not in matrix_alone(found).text


def test_several_labels_per_image_have_no_matrix() -> None:
    several = predictions(['a', 'b'], [[1], [0, 1]], [[0, 1], [1]])
    page = Page(render([contents(predictions=several, records=[], calibration=None)]))
    assert 'Confusion matrix' not in page.text and 'Most confident mistakes' in page.text


def test_a_run_of_which_nothing_is_known() -> None:
    page = Page(render([RunContents('bare', notes=['curves: there is no metrics.jsonl'])]))
    assert 'there is no metrics.jsonl' in page.text and not page.all('svg')[1:]


def test_runs_side_by_side(several: str) -> None:
    page = Page(several)
    assert (
        '猫 $x_1 comes first with accuracy/top1 80.00 %, before a <b>bold</b> run with 70.00 %, but the difference may '
        'be chance: 10.00 points, 95 % interval -12.15 to 41.93.') in page.text
    assert 'cannot be ranked' not in page.text and '(best 70.00)' in page.text
    assert page.row('optimizer.lr') == '0.10.2not set' and page.row('optimizer.beta') == 'not set1not set'
    assert 'work_dir' not in page.text.partition('What differs')[2].partition('70.00% of 10')[0]
    for title in ('Dice 12.35 %, IoU 6.50 %', 'masks/b.png', 'The other one.'):
        assert title in page.text
    assert '"#r2"' in several and page.all('article')[2]['id'] == 'r2'


def test_runs_on_different_images_are_told_so() -> None:
    runs = [
        RunContents(
            f'of {count}', predictions=predictions(['a'], [0] * count, [0] * count), metric='accuracy', score=70.)
        for count in (2, 3)
    ]
    text = Page(render(runs)).text
    assert 'These runs were scored on different images and cannot be ranked.' in text and 'first with' not in text


def test_suspects_of_a_weak_model_are_folded() -> None:
    page = Page(render([contents()]))
    assert 'The model is wrong on 3 of 10 images: many of these 1 can be its own mistakes.' in page.text


def test_runs_of_one_name_are_told_apart_by_their_folders() -> None:
    page = Page(render([RunContents('run', work_dir=f'{place}/run') for place in 'ab']))
    assert 'a/run' in page.text and 'b/run' in page.text


# In a browser.


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    """Headless Chromium, which gives its log and what it asks for."""
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed (requirements/tests.txt)')
    driver = shutil.which('chromedriver')
    program = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not (driver and program):
        pytest.skip('no chromium and chromedriver on the PATH')
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for one in ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'):
        options.add_argument(one)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def opened(browser: Any, html: str, several: str, tmp_path: Path) -> Callable:
    """Opens a page in a window of some width and mode; returns a function that runs JavaScript in it."""

    def opened(page: str = html, width: int = 1440, mode: str = 'light', script: bool = True) -> Callable:
        browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride',
                                dict(width=width, height=800, deviceScaleFactor=1, mobile=width < 500))
        browser.execute_cdp_cmd('Emulation.setEmulatedMedia',
                                dict(features=[dict(name='prefers-color-scheme', value=mode)]))
        browser.execute_cdp_cmd('Emulation.setScriptExecutionDisabled', dict(value=not script))
        (tmp_path / 'page.html').write_text(page, encoding='utf-8')
        browser.get((tmp_path / 'page.html').as_uri())

        def evaluate(expression: str) -> Any:
            answer = browser.execute_cdp_cmd('Runtime.evaluate', dict(expression=expression, returnByValue=True))
            return answer['result'].get('value')

        return evaluate

    return opened


def test_a_browser_loads_it_without_an_error_and_without_a_request(browser: Any, opened: Callable,
                                                                   several: str) -> None:
    browser.get_log('performance')
    evaluate = opened(several)
    assert browser.get_log('browser') == []
    messages = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
    asked = [one['params']['request']['url'] for one in messages if one['method'] == 'Network.requestWillBeSent']
    assert [url for url in asked if not url.startswith('data:')] == [browser.current_url]
    assert evaluate('performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:")).length') == 0
    assert evaluate('[...document.querySelectorAll(".cards .picture use")].every(one => one.getBBox().width > 0)')


def test_a_cell_shows_its_images_by_click_and_by_keyboard(browser: Any, opened: Callable) -> None:
    evaluate = opened()
    visible = '[...document.querySelectorAll(".cell")].filter(one => one.offsetHeight).map(one => one.id)'
    first = evaluate(visible)
    assert len(first) == 1 and first[0] in ('r0-cell-1-0', 'r0-cell-4-1')  # half of the class, both
    browser.find_element('css selector', 'a[aria-controls=r0-cell-0-0]').click()
    assert evaluate(visible) == ['r0-cell-0-0']
    assert evaluate('document.querySelectorAll("[aria-expanded=true]").length') == 1
    browser.find_element('css selector', 'a[aria-controls=r0-cell-0-1]').send_keys('\ue007')  # Enter
    assert evaluate(visible) == ['r0-cell-0-1']
    assert evaluate('document.activeElement.getAttribute("aria-expanded")') == 'true'


def test_tables_are_sorted_by_click_and_by_keyboard(browser: Any, opened: Callable) -> None:
    evaluate = opened()
    column = '[...document.querySelectorAll("#r0-classes tbody tr")].map(row => row.cells[{}].textContent)'.format
    state = '[...document.querySelectorAll("#r0-classes th[scope=col]")].map(one => one.getAttribute("aria-sort"))'
    assert evaluate(column(1)) == ['66.67', '100.00', '–'] and evaluate(state)[1] == 'ascending'
    buttons = browser.find_elements('css selector', '#r0-classes th button')
    buttons[1].click()
    assert evaluate(column(1)) == ['100.00', '66.67', '–'] and evaluate(state)[1] == 'descending'
    buttons[4].send_keys(' ')
    assert evaluate(column(4)) == ['0', '2', '1,200'] and evaluate(state) == [None] * 4 + ['ascending']


@pytest.mark.parametrize('width', [360, 1440])
def test_nothing_is_wider_than_the_window(opened: Callable, html: str, several: str, width: int) -> None:
    for page in (html, several):
        evaluate = opened(page, width)
        assert evaluate('document.documentElement.scrollWidth') <= width


def _luminance(color: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r'\d+', color)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055)**2.4 for value in channels]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize('mode', ['light', 'dark'])
def test_text_has_the_contrast_of_wcag_aa_in_both_modes(opened: Callable, mode: str) -> None:
    evaluate = opened(mode=mode)
    ground = _luminance(evaluate('getComputedStyle(document.body).backgroundColor'))
    assert (ground > 0.5) == (mode == 'light')
    for selector in ('.verdict', '.soft', 'nav a', '.plot text', 'th[scope=col]', '.matrix a', 'footer', 'pre'):
        kind = 'fill' if 'text' in selector else 'color'
        text = _luminance(evaluate(f'getComputedStyle(document.querySelector("{selector}")).{kind}'))
        assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5, selector
    line = _luminance(evaluate('getComputedStyle(document.querySelector("path[style*=x0072b2]")).stroke'))
    assert (max(line, ground) + 0.05) / (min(line, ground) + 0.05) >= 3


def test_it_is_complete_without_javascript(opened: Callable) -> None:
    evaluate = opened(script=False)
    assert evaluate('[...document.querySelectorAll(".cell")].every(one => one.offsetHeight)')
    assert evaluate('document.querySelectorAll("button").length') == 0
