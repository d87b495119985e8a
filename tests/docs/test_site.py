"""The site builds without a warning. test_pages.py checks the pages' links in seconds."""
import subprocess
import sys

import pytest
from commands import ROOT


@pytest.mark.slow
def test_the_site_builds(tmp_path):
    for package in ('sphinx', 'myst_nb', 'furo', 'sphinx_copybutton'):
        pytest.importorskip(package, reason='the site needs pip install -r requirements/docs.txt')
    done = subprocess.run([
        sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q', '-d', tmp_path / 'trees', 'docs', tmp_path / 'html'
    ],
                          cwd=ROOT,
                          capture_output=True,
                          text=True,
                          check=False)
    assert not done.returncode, done.stderr[-3000:]
    pages = {path.stem: path.read_text(encoding='utf-8') for path in (tmp_path / 'html').glob('*.html')}
    assert 'What others leave to you' in pages['index'] and 'A backbone' in pages['migrating']
    assert 'lang="zh-CN"' in (tmp_path / 'html' / 'zh' / 'tutorial.html').read_text(encoding='utf-8')
    assert '<picture>' not in ''.join(pages.values())
    assert 'id="ftcls.models.backbones.ResNet"' in (tmp_path / 'html' / 'api' /
                                                    'ftcls.models.backbones.html').read_text()
