"""Settings of the site (`make docs`): Markdown pages, a notebook, and a reference of classes and functions."""
import pydoc
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

from make_api import named_types, write_api  # noqa: E402

from ftcls.version import __version__  # noqa: E402

project = 'ftcls'
author = 'the authors of ftcls'
release = version = __version__

extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.autosummary', 'sphinx.ext.napoleon', 'sphinx_copybutton']
exclude_patterns = ['_build']

html_theme = 'furo'
html_title = f'ftcls {version}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_copy_source = False
html_theme_options = dict(navigation_with_keys=True)

myst_enable_extensions = ['attrs_inline']
myst_heading_anchors = 4
nb_execution_mode = 'off'  # the outputs in the file are shown; tests/docs/test_notebook.py makes them again

autodoc_default_options = {'members': True, 'show-inheritance': True}
autodoc_typehints_format = 'short'
autodoc_preserve_defaults = True
autosummary_generate = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True

nitpicky = True
# parts of annotations: bounds, types that are imported only where they are used, a name that torch removes
nitpick_ignore_regex = [('py:class',
                         r'-?[\d.]+|inf|Figure|Console|collections\.abc\.Annotated|torch\.optim\.optimizer\..*')]

# Pages that are files of the root, so that they are written once.
ROOT_PAGES = {
    'index': 'README.md',
    'extending': 'CONTRIBUTING.md',
    'security': 'SECURITY.md',
    'changes': 'CHANGELOG.md',
    'zh/readme': 'README_zh-CN.md'
}


def _read_page(app, docname: str, source: list[str]) -> None:
    """Put the root's file in place of its page, and an image for each of light and dark in place of `<picture>`."""
    if docname in ROOT_PAGES:
        text = (ROOT / ROOT_PAGES[docname]).read_text(encoding='utf-8')
        up = '../' * docname.count('/')
        for page, file in ROOT_PAGES.items():
            text = text.replace(f']({file})', f']({up}{page}.md)')
        text = re.sub(r'(\]\(|src="|srcset=")docs/', rf'\1{up}', text)
        source[0] = f'{text}\n{source[0]}' if docname == 'index' else text
    source[0] = re.sub(r'<picture>.*?</picture>', _two_images, source[0], flags=re.S)


def _two_images(picture: re.Match) -> str:
    dark, light = (re.search(f'{name}="([^"]+)"', picture[0])[1] for name in ('srcset', 'src'))
    text = re.search('alt="([^"]*)"', picture[0])[1]
    return f'![{text}]({light}){{.only-light}}\n![{text}]({dark}){{.only-dark}}'


def _find_reference(app, env, node, content):
    """Resolve a name that a docstring gives without its module; what has no page is shown without a link.

    A name that is neither on a page nor in the code remains a warning.
    """
    from sphinx.util.nodes import make_refnode
    if node.get('refdomain') != 'py':
        return None
    name = node['reftarget'].lstrip('.')
    objects = env.domaindata['py']['objects']
    found = {entry.node_id: entry for key, entry in objects.items() if key == name or key.endswith(f'.{name}')}
    if len(found) == 1:
        (node_id, entry), = found.items()
        return make_refnode(app.builder, node['refdoc'], entry.docname, node_id, content, name)
    source = re.search(r'docstring of ([\w.]+)', node.source or '')
    parts = (source[1] if source else f"{node.get('py:module')}.{node.get('py:class')}").split('.')
    names = [name, *('.'.join([*parts[:i], name]) for i in range(len(parts), 0, -1))]
    names += [f'{module}.{name}' for module in sys.modules if module.startswith('ftcls.')]
    return content if any(pydoc.locate(one) is not None for one in names) else None


def _name_types(app, what, name, obj, options, signature, returned):
    """Write `PositiveInt` for the annotation that it stands for."""
    texts = [named_types(text) if text else text for text in (signature, returned)]
    return tuple(texts)


def _set_language(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Say which pages are in Chinese, so that browsers take Chinese forms of the characters."""
    if pagename.startswith('zh/'):
        context['language'] = 'zh-CN'


def setup(app) -> None:
    """Connect what the pages need."""
    app.connect('autodoc-process-signature', _name_types)
    app.connect('builder-inited', lambda app: write_api(HERE / 'api'))
    app.connect('source-read', _read_page)
    app.connect('html-page-context', _set_language)
    app.connect('missing-reference', _find_reference)
