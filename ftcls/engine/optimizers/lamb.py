"""The optimizer Lamb of You et al. 2020 (arXiv:1904.00962), with the arguments that it has in mmpretrain: timm's."""
from ftcls.registry import OPTIMIZERS
from ftcls.utils import ConfigError

try:
    from timm.optim import Lamb
except ImportError:
    raise ConfigError('optimizer Lamb needs timm: pip install timm') from None

OPTIMIZERS.register_module(module=Lamb)
