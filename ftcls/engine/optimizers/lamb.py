"""The optimizer Lamb, which torch does not have."""
from collections.abc import Iterable

from torch.optim import Optimizer

from ftcls.registry import OPTIMIZERS

__all__ = ['Lamb']


@OPTIMIZERS.register_module()
def Lamb(params: Iterable,
         lr: float = 1e-3,
         bias_correction: bool = True,
         betas: tuple[float, float] = (0.9, 0.999),
         eps: float = 1e-6,
         weight_decay: float = 0.01,
         grad_averaging: bool = True,
         max_grad_norm: float | None = 1.0,
         trust_clip: bool = False,
         always_adapt: bool = False) -> Optimizer:
    """Return timm's Lamb (You et al. 2020, arXiv:1904.00962), with mmpretrain's arguments; timm must be installed.

    Args: as of ``timm.optim.Lamb``.
    """
    from timm import optim
    return optim.Lamb(params, lr, bias_correction, betas, eps, weight_decay, grad_averaging, max_grad_norm, trust_clip,
                      always_adapt)
