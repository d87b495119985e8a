"""What every registered loss promises: its reductions, gradients, and half precision that does not overflow."""
import pytest
import torch

import ftcls.models.losses  # noqa: F401  (registers)
from ftcls.registry import MODELS

N, C, SIDE = 4, 3, 8
# How to build each loss, and whether it is over classes or pixels.
RECIPES = {
    'AsymmetricLoss': ({}, 'classes'),
    'BCEDiceLoss': ({}, 'pixels'),
    'BCEWithLogitsLoss': ({}, 'pixels'),
    'CrossEntropyLoss': ({}, 'classes'),
    'DiceLoss': ({}, 'pixels'),
    'FocalLoss': ({}, 'classes'),
    'IoULoss': ({}, 'pixels'),
    'LabelSmoothLoss': (dict(label_smooth_val=0.1), 'classes'),
    'TverskyLoss': ({}, 'pixels'),
}
LOSSES = sorted(name for name, cls in MODELS.module_dict.items() if cls.__module__.startswith('ftcls.models.losses'))


def build(name: str, **kwargs: object) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """The loss, logits that need a gradient, and targets."""
    if name not in RECIPES:
        pytest.fail(f'{name} is registered, and this file does not know how to build it: add it to RECIPES')
    settings, kind = RECIPES[name]
    torch.manual_seed(0)
    if kind == 'classes':
        logits, target = torch.randn(N, C), torch.randint(0, C, (N, ))
    else:
        logits, target = torch.randn(N, 1, SIDE, SIDE), torch.randint(0, 2, (N, SIDE, SIDE))
    return MODELS.build(dict(type=name, **settings, **kwargs)), logits.requires_grad_(), target


@pytest.mark.parametrize('name', LOSSES)
def test_gradient_and_reduction(name: str) -> None:
    loss, logits, target = build(name)
    value = loss(logits, target)
    assert value.shape == () and torch.isfinite(value)
    value.backward()
    assert torch.isfinite(logits.grad).all() and logits.grad.any()
    assert torch.allclose(value.detach(), loss(logits, target, reduction_override='mean'))
    each = loss(logits, target, reduction_override='none')
    assert len(each) == N
    assert torch.allclose(each.sum(), loss(logits, target, reduction_override='sum'), rtol=1e-5)


@pytest.mark.parametrize('name', LOSSES)
def test_loss_weight_is_a_factor(name: str) -> None:
    (one, logits, target), (two, *_) = build(name), build(name, loss_weight=2.)
    assert torch.allclose(2 * one(logits, target), two(logits, target))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', LOSSES)
def test_sums_run_in_float32(name: str, dtype: torch.dtype) -> None:
    loss, logits, target = build(name)
    value = loss(logits.detach().to(dtype), target)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(logits, target).item(), rel=0.05)
