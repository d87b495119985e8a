"""Packaging of ftcls; the requirements are read from ``requirements/*.txt``, which are their only home."""
import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """Read ``requirements/<name>.txt``, without comments and empty lines."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in (raw.split('#')[0].strip() for raw in lines) if line]


def version() -> str:
    """Read the version without importing the package, which needs torch."""
    text = (ROOT / 'ftcls' / 'version.py').read_text(encoding='utf-8')
    return re.search(r"__version__ = '(.+)'", text).group(1)


def config_packages() -> list[str]:
    """Name the folders of ``configs/`` as packages of ``ftcls.configs``, where a wheel has them."""
    folders = {file.parent.relative_to(ROOT) for file in (ROOT / 'configs').glob('**/*.py')}
    return sorted('.'.join(('ftcls', *folder.parts)) for folder in folders)


extras = {name: requirements(name) for name in ('optional', 'tests', 'docs')}
extras['all'] = sorted(set(sum(extras.values(), [])))

setup(
    name='ftcls',
    version=version(),
    description='Fine-tune pretrained image models from a config file; nothing is silent',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8') if (ROOT / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['ftcls', 'ftcls.*']) + config_packages() + ['ftcls.tools'],
    package_dir={
        'ftcls.configs': 'configs',
        'ftcls.tools': 'tools'
    },
    package_data={'': ['*.*']},  # templates, tables, shell scripts: whatever is beside the modules
    python_requires='>=3.10',
    install_requires=requirements('runtime'),
    extras_require=extras,
    entry_points={'console_scripts': ['ftcls = ftcls.cli:main']},
    zip_safe=False,
)
