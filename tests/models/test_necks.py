"""Pooling necks against torch."""
import pytest
import torch

from ftcls.models.necks import GeneralizedMeanPooling, GlobalAveragePooling
from ftcls.registry import MODELS
from ftcls.utils import ConfigError


@pytest.mark.parametrize('neck', [GlobalAveragePooling(), GeneralizedMeanPooling(p=1., clamp=False)])
def test_mean(neck: torch.nn.Module) -> None:
    x = torch.randn(1, 3, 4, 5)
    torch.testing.assert_close(neck(x), x.mean((2, 3)))
    outs = neck((x, x[:, :2]))
    assert isinstance(outs, tuple) and [y.shape for y in outs] == [(1, 3), (1, 2)]


def test_average_of_other_dimensions() -> None:
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(GlobalAveragePooling(dim=1)(x), x.mean(2))
    x = torch.randn(2, 3, 4, 5, 6)
    torch.testing.assert_close(GlobalAveragePooling(dim=3)((x, ))[0], x.mean((2, 3, 4)))
    vector = torch.randn(2, 3)
    assert torch.equal(GlobalAveragePooling()(vector), vector)
    with pytest.raises(ConfigError, match='dim=4'):
        MODELS.build(dict(type='GlobalAveragePooling', dim=4))


def test_generalized_mean() -> None:
    x = torch.rand(2, 3, 4, 5)
    neck = GeneralizedMeanPooling(p=3.)
    torch.testing.assert_close(neck(x), (x**3).mean((2, 3))**(1 / 3))
    neck(x).sum().backward()
    assert neck.p.grad is not None
    # towards the maximum
    assert (GeneralizedMeanPooling(p=100.)(x) - x.amax((2, 3))).abs().max() < 0.05
    assert not GeneralizedMeanPooling(p_trainable=False).p.requires_grad
    # below eps: a negative number has no real power
    assert torch.isfinite(neck(-x)).all()
    half = torch.full((1, 1, 2, 2), 100.).half()
    assert neck(half).dtype == torch.float16 and float(neck(half).detach()) == pytest.approx(100, rel=1e-3)
    with pytest.raises(ConfigError, match='p=0.5'):
        MODELS.build(dict(type='GeneralizedMeanPooling', p=0.5))
