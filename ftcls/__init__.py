"""Fine-tune pretrained image models from a config file."""
import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from typing import Any

from .version import __version__

__all__ = ['__version__']


class _NoTransformers(MetaPathFinder):
    """Keeps MMEngine (0.10.7) from importing ``transformers``, for seconds, for an optimizer that torch has too.

    Its ``mmengine.optim`` does so where that package is installed; ``type='Adafactor'`` is torch's in any case.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Raise an ImportError while ``mmengine.optim`` is imported, and never again."""
        importer = sys.modules.get('mmengine.optim.optimizer.builder')
        if fullname == 'transformers' and getattr(getattr(importer, '__spec__', None), '_initializing', False):
            raise ModuleNotFoundError(f'{fullname} is not needed here', name=fullname)


sys.meta_path.insert(0, _NoTransformers())


def __getattr__(name: str) -> Any:
    """Import a room, or a public name of ``ftcls.apis`` (``ftcls.get_model``), on its first use."""
    if find_spec(f'ftcls.{name}') is not None:
        return import_module(f'ftcls.{name}')
    return getattr(import_module('ftcls.apis'), name)
