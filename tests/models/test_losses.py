"""Losses against torch, torchvision and scikit-learn."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import log_loss
from torchvision.ops import sigmoid_focal_loss

from ftcls.models.losses import CrossEntropyLoss, FocalLoss, LabelSmoothLoss, weight_reduce
from ftcls.registry import MODELS
from ftcls.utils import ConfigError, DataError

N, C = 6, 5
WEIGHTS = [0.2, 1.0, 3.0, 0.5, 2.0]


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(0)
    pred = torch.randn(N, C, generator=gen, dtype=torch.float64) * 3
    label = torch.randint(0, C, (N, ), generator=gen)
    soft = torch.rand(N, C, generator=gen, dtype=torch.float64)
    return pred, label, soft / soft.sum(1, keepdim=True)


def over_samples(loss: torch.Tensor, reduction: str) -> torch.Tensor:
    """Reduce losses of samples; torch would divide by the sum of the class weights, MMClassification does not."""
    return {'none': loss, 'mean': loss.mean(), 'sum': loss.sum()}[reduction]


def close(a: torch.Tensor, b: torch.Tensor | float) -> bool:
    return a.detach().numpy() == pytest.approx(np.asarray(b), rel=1e-6)


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
@pytest.mark.parametrize('class_weight', [None, WEIGHTS])
def test_cross_entropy_is_torchs(batch: tuple, reduction: str, class_weight: list | None) -> None:
    pred, label, soft = batch
    weight = None if class_weight is None else torch.tensor(class_weight, dtype=pred.dtype)
    loss = CrossEntropyLoss(reduction=reduction, class_weight=class_weight)
    assert close(loss(pred, label), over_samples(F.cross_entropy(pred, label, weight, reduction='none'), reduction))
    assert close(loss(pred, soft), F.cross_entropy(pred, soft, weight, reduction=reduction))
    loss = CrossEntropyLoss(use_soft=True, reduction=reduction, class_weight=class_weight, loss_weight=2.0)
    assert close(loss(pred, soft), 2 * F.cross_entropy(pred, soft, weight, reduction=reduction))


def test_cross_entropy_is_sklearns(batch: tuple) -> None:
    pred, label, _ = batch
    wanted = log_loss(label.numpy(), pred.softmax(1).numpy(), labels=range(C))
    assert close(CrossEntropyLoss()(pred, label), wanted)
    weight = np.array(WEIGHTS)[label.numpy()]
    wanted = log_loss(label.numpy(), pred.softmax(1).numpy(), labels=range(C), sample_weight=weight)
    assert close(CrossEntropyLoss(class_weight=WEIGHTS)(pred, label), wanted * weight.mean())


def test_avg_factor(batch: tuple) -> None:
    """The head gives the batch size: with class weights too, the sum is divided by it."""
    pred, label, soft = batch
    summed = F.cross_entropy(pred, label, torch.tensor(WEIGHTS, dtype=pred.dtype), reduction='sum')
    assert close(CrossEntropyLoss(class_weight=WEIGHTS)(pred, label, avg_factor=N), summed / N)
    assert close(LabelSmoothLoss(0., class_weight=WEIGHTS)(pred, label, avg_factor=4), summed / 4)
    assert close(CrossEntropyLoss()(pred, label, avg_factor=2 * N), F.cross_entropy(pred, label) / 2)
    # with sigmoid: the sum over the classes, the mean over the samples
    wanted = F.binary_cross_entropy_with_logits(pred, soft) * C
    assert close(CrossEntropyLoss(use_sigmoid=True)(pred, soft, avg_factor=N), wanted)


def test_sample_weight_and_override(batch: tuple) -> None:
    pred, label, _ = batch
    weight = torch.tensor([1., 0., 2., 0., 0., 1.])
    single = F.cross_entropy(pred, label, reduction='none')
    assert close(CrossEntropyLoss()(pred, label, weight), (single * weight).mean())
    assert close(CrossEntropyLoss()(pred, label, weight, reduction_override='none'), single * weight)
    bce = F.binary_cross_entropy_with_logits(pred, F.one_hot(label, C).double(), reduction='none')
    assert close(CrossEntropyLoss(use_sigmoid=True)(pred, label, weight), (bce * weight[:, None]).mean())


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_sigmoid(batch: tuple, reduction: str) -> None:
    pred, label, soft = batch
    weight = torch.tensor(WEIGHTS, dtype=pred.dtype)
    loss = CrossEntropyLoss(use_sigmoid=True, reduction=reduction, class_weight=WEIGHTS, pos_weight=WEIGHTS[::-1])
    wanted = F.binary_cross_entropy_with_logits(pred, soft, weight, pos_weight=weight.flip(0), reduction=reduction)
    assert close(loss(pred, soft), wanted)


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
@pytest.mark.parametrize('class_weight', [None, WEIGHTS])
def test_label_smooth_is_torchs(batch: tuple, reduction: str, class_weight: list | None) -> None:
    pred, label, soft = batch
    weight = None if class_weight is None else torch.tensor(class_weight, dtype=pred.dtype)
    for target in (label, soft):
        wanted = F.cross_entropy(pred, target, weight, label_smoothing=0.1, reduction='none')
        wanted = over_samples(wanted, reduction)
        assert close(LabelSmoothLoss(0.1, reduction=reduction, class_weight=class_weight)(pred, target), wanted)


def test_label_smooth_modes(batch: tuple) -> None:
    pred, label, soft = batch
    one_hot = F.one_hot(label, C).double()
    wanted = F.cross_entropy(pred, (one_hot + 0.1 / C) / 1.1)
    assert close(LabelSmoothLoss(0.1, mode='classy_vision', num_classes=C)(pred, label), wanted)
    several = (soft > 0.2).double()
    wanted = F.binary_cross_entropy_with_logits(pred, several * 0.9 + (1 - several) * 0.1)
    assert close(LabelSmoothLoss(0.1, mode='multi_label')(pred, several), wanted)
    more = torch.tensor(WEIGHTS, dtype=pred.dtype)
    wanted = F.binary_cross_entropy_with_logits(pred, several * 0.9 + (1 - several) * 0.1, pos_weight=more)
    assert close(LabelSmoothLoss(0.1, mode='multi_label', pos_weight=WEIGHTS)(pred, several), wanted)
    wanted = F.binary_cross_entropy_with_logits(pred, one_hot * 0.9 + 0.1 / C)
    assert close(LabelSmoothLoss(0.1, use_sigmoid=True)(pred, label), wanted)
    assert close(LabelSmoothLoss(0.0)(pred, label), F.cross_entropy(pred, label))


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_focal(batch: tuple, reduction: str) -> None:
    pred, label, soft = batch
    one_hot = F.one_hot(label, C).double()
    loss = FocalLoss(gamma=1.5, alpha=0.3, reduction=reduction, loss_weight=0.5)
    wanted = 0.5 * sigmoid_focal_loss(pred, one_hot, alpha=0.3, gamma=1.5, reduction=reduction)
    assert close(loss(pred, label), wanted)
    assert close(loss(pred, label[:, None]), wanted)
    assert close(FocalLoss(gamma=0, alpha=0.5)(pred, soft), 0.5 * F.binary_cross_entropy_with_logits(pred, soft))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', ['CrossEntropyLoss', 'LabelSmoothLoss', 'FocalLoss'])
def test_reduced_in_float32(dtype: torch.dtype, name: str) -> None:
    """9000 samples of a loss near 10 sum up to 90,000, more than float16 holds."""
    args = dict(label_smooth_val=0.1) if name == 'LabelSmoothLoss' else {}
    pred = torch.zeros(9000, 4, dtype=dtype)
    pred[:, 0] = 20
    label = torch.ones(9000, dtype=torch.long)
    for reduction in ('mean', 'sum'):
        loss = MODELS.build(dict(type=name, reduction=reduction, **args))(pred.requires_grad_(), label)
        assert loss.dtype == torch.float32 and torch.isfinite(loss)
        assert close(loss, MODELS.build(dict(type=name, reduction=reduction, **args))(pred.detach().double(), label))


def test_weight_reduce() -> None:
    loss = torch.tensor([[1., 2.], [3., 4.]])
    assert weight_reduce(loss, torch.tensor([1., 0.]), 'sum') == 3
    assert weight_reduce(loss, None, 'mean') == 2.5
    assert weight_reduce(loss, torch.tensor([1., 0.]), 'mean', avg_factor=2) == 1.5
    assert torch.equal(weight_reduce(loss, None, 'none', avg_factor=2), loss)


@pytest.mark.parametrize('name, args, words', [
    ('CrossEntropyLoss', dict(use_sigmoid=True, use_soft=True), 'exclude'),
    ('CrossEntropyLoss', dict(pos_weight=[1.]), 'pos_weight'),
    ('CrossEntropyLoss', dict(reduction='meen'), "'meen'.*did you mean 'mean'"),
    ('LabelSmoothLoss', dict(label_smooth_val=1.5), 'label_smooth_val=1.5.*below 1'),
    ('LabelSmoothLoss', dict(label_smooth_val=0.1, mode='orignal'), "did you mean 'original'"),
])
def test_wrong_arguments(name: str, args: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        MODELS.build(dict(type=name, **args))


def test_wrong_labels() -> None:
    pred = torch.zeros(2, 3)
    for loss in (CrossEntropyLoss(), CrossEntropyLoss(use_sigmoid=True), LabelSmoothLoss(0.1), FocalLoss()):
        for label in ([0, 3], [-1, 0]):
            with pytest.raises(DataError, match=f'label {[x for x in label if x][0]} in the data.*3 classes'):
                loss(pred, torch.tensor(label))
        with pytest.raises(DataError, match=r'shape \(2, 4\)'):
            loss(pred, torch.rand(2, 4))
        with pytest.raises(ConfigError, match="reduction='meen'; did you mean 'mean'"):
            loss(pred, torch.tensor([0, 1]), reduction_override='meen')
    with pytest.raises(ConfigError, match='class_weight has 2 values.*3 classes'):
        CrossEntropyLoss(class_weight=[1., 2.])(pred, torch.tensor([0, 1]))
    with pytest.raises(ConfigError, match='num_classes=4'):
        LabelSmoothLoss(0.1, num_classes=4)(pred, torch.tensor([0, 1]))


@pytest.mark.parametrize('name', ['CrossEntropyLoss', 'LabelSmoothLoss'])
@pytest.mark.parametrize('weights', [[0, 0], [-1., 2.], [float('nan'), 1.], [float('inf'), 1.]], ids=str)
def test_class_weights_that_cannot_be(name: str, weights: list) -> None:
    smooth = dict(label_smooth_val=0.1) if name == 'LabelSmoothLoss' else {}
    with pytest.raises(ConfigError, match='class_weight.*(at least 0|above 0)'):
        MODELS.build(dict(type=name, class_weight=weights, **smooth))
