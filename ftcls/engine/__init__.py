"""What runs during training: hooks, optimizer wrappers and their constructors."""
from . import hooks, optimizers

__all__ = ['hooks', 'optimizers']
