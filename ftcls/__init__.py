"""Fine-tune pretrained image models from a config file."""
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .version import __version__

__all__ = ['__version__']


def __getattr__(name: str) -> Any:
    """Import a room, or a public name of ``ftcls.apis`` (``ftcls.get_model``), on its first use."""
    if find_spec(f'ftcls.{name}') is not None:
        return import_module(f'ftcls.{name}')
    return getattr(import_module('ftcls.apis'), name)
