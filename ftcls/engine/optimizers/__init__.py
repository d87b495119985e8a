"""What is around the optimizer: parameter groups and mixed precision."""
import torch

from ftcls.registry import OPTIMIZERS
from .amp import AmpOptimWrapper, convert_to_amp
from .constructor import DefaultOptimWrapperConstructor, LearningRateDecayOptimWrapperConstructor
from .lamb import Lamb

__all__ = [
    'AmpOptimWrapper', 'DefaultOptimWrapperConstructor', 'LearningRateDecayOptimWrapperConstructor', 'Lamb',
    'convert_to_amp'
]

# MMEngine has all of torch's optimizers under their names but this one, which it calls TorchAdafactor.
OPTIMIZERS.register_module(name='Adafactor', module=torch.optim.Adafactor)
