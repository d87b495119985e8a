"""The one place that states the version; ``setup.py`` reads it without importing torch."""
import subprocess
from pathlib import Path
from shutil import which

__version__ = '0.1.0'


def commit_of(folder: Path = Path(__file__).parents[1]) -> str:
    """Return the commit (12 digits) of the checkout of ftcls that runs; '' for an installed package."""
    if not (folder / '.git').exists() or not which('git'):
        return ''
    call = ['git', '-C', str(folder), 'rev-parse', '--short=12', 'HEAD']
    return subprocess.run(call, capture_output=True, text=True).stdout.strip()
