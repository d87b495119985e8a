"""Every command of every page runs, every link has its target, and the site has every page; pages are found, not listed."""
import re
from pathlib import Path

import pytest
from commands import CHINESE, PAGES, ROOT, documented_commands, make_place, run_document

HERE = Path(__file__).parent
DOCS = ROOT / 'docs'
# Pages whose commands need data of their own, or much time: test_<page>*.py runs them.
GENERAL = [page for page in PAGES if documented_commands(page) and not list(HERE.glob(f'test_{page.stem}*.py'))]
LEAVES = dict(
    get_started={
        'work_dirs/demo/compare.png': 10_000,
        'predictions.csv': 100
    }, running={'metrics.json': 10})  # files of a page's commands, and the bytes that they have at least


def without_code(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.S)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, by GitHub's rule, which is that of the site."""
    titles = re.findall(r'^#+ (.+?)\s*$', without_code(page), flags=re.M)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """One tree for all pages, so that a command that two pages have runs once."""
    return make_place(tmp_path_factory.mktemp('pages'))


@pytest.mark.parametrize('page', GENERAL, ids=lambda page: page.stem)
def test_commands_of_the_page(page, place):
    for config in place.glob('*.py'):  # of another page; a new one does not replace it
        config.unlink()
    failures = run_document(page, place)
    assert not failures, '\n\n'.join(failures)
    assert all((place / name).stat().st_size > size for name, size in LEAVES.get(page.stem, {}).items())


@pytest.mark.parametrize('page', PAGES + CHINESE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_have_a_target(page):
    faults = []
    for target in re.findall(r'\]\(([^)\s]+)\)', without_code(page)):
        if re.match(r'\w+:', target):
            continue
        name, _, anchor = target.partition('#')
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or anchor and anchor not in anchors(file):
            faults.append(target)
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', page.read_text(encoding='utf-8'))
    assert not faults + [name for name in pictures if not (page.parent / name).is_file()]


def test_the_site_has_every_page():
    patterns = re.findall(r'^(?:.+ <)?([\w/*.-]+)>?$', (DOCS / 'index.md').read_text(encoding='utf-8'), flags=re.M)
    pages = [path.relative_to(DOCS).with_suffix('') for ending in ('md', 'ipynb') for path in DOCS.rglob(f'*.{ending}')]
    missing = [
        str(page) for page in pages
        if page.parts[0] not in ('_build', 'api') and not any(page.match(p) for p in patterns)
    ]
    assert missing == ['index']


def test_the_table_of_models_is_that_of_the_headers():
    import runpy
    made = runpy.run_path(str(DOCS / 'make_model_zoo.py'))
    text = (DOCS / 'model_zoo.md').read_text(encoding='utf-8')
    assert made['filled'](text) == text, 'run python docs/make_model_zoo.py'
    assert '| `strategies/finetune.py` |' in text and '76.91 ± 1.36 %' in text


def test_the_box_names_registered_components():
    """The tables of docs/reference.md list only registered names."""
    from ftcls import registry
    text = (DOCS / 'reference.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| (backbones|necks, heads|losses|data|transforms|metrics) \| (.*) \|$', text, flags=re.M)
    assert len(rows) == 6
    owner = {'data': registry.DATASETS, 'transforms': registry.TRANSFORMS, 'metrics': registry.METRICS}
    for kind, cell in rows:
        names = re.findall(r'`([A-Za-z0-9_]+)`', cell)
        assert names
        for name in names:
            assert owner.get(kind, registry.MODELS).get(name) is not None, name
