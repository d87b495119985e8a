"""What stands around the optimizer: parameter groups and mixed precision."""
from .amp import AmpOptimWrapper, convert_to_amp
from .constructor import DefaultOptimWrapperConstructor

__all__ = ['AmpOptimWrapper', 'DefaultOptimWrapperConstructor', 'convert_to_amp']
