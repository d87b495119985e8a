"""Fine-tune pretrained image models from a config file."""
from .version import __version__

__all__ = ['__version__']
