"""Every command of the README and of CONTRIBUTING runs."""
import os

from commands import ROOT, documented_commands, make_place, run_document


def test_commands_of_the_readme(tmp_path):
    failures = run_document(ROOT / 'README.md', make_place(tmp_path))
    assert not failures, '\n\n'.join(failures)
    assert (tmp_path / 'work_dirs' / 'demo' / 'compare.png').stat().st_size > 10_000
    lines = (tmp_path / 'predictions.csv').read_text().splitlines()
    assert len(lines) >= 5  # a header and four images
    assert (tmp_path / 'metrics.json').is_file()


def test_commands_of_contributing(tmp_path):
    assert documented_commands(ROOT / 'CONTRIBUTING.md')
    assert not run_document(ROOT / 'CONTRIBUTING.md', tmp_path)


def test_readme_names_the_registered_components():
    """The table of components lists only registered names."""
    import re

    from ftcls import registry
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| (backbones|necks, heads|losses|data|transforms|metrics) \| (.*) \|$', text, flags=re.M)
    assert len(rows) == 6
    owner = {'data': registry.DATASETS, 'transforms': registry.TRANSFORMS, 'metrics': registry.METRICS}
    for kind, cell in rows:
        names = [n for n in re.findall(r'`([A-Za-z0-9_]+)`', cell)]
        assert names
        for name in names:
            assert owner.get(kind, registry.MODELS).get(name) is not None, name


def test_documents_link_to_files_that_exist():
    import re
    for document in [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *(ROOT / 'docs').glob('*.md')]:
        for target in re.findall(r'\]\(([^)#:]+)\)', document.read_text(encoding='utf-8')):
            assert os.path.exists(document.parent / target), f'{document.name}: {target}'
