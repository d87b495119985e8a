"""Heads and loss for several labels per image: against torch's, their predictions, what they refuse."""
import pytest
import torch
import torch.nn.functional as F

from ftcls.models import ImageClassifier
from ftcls.models.heads import MultiLabelClsHead, MultiLabelLinearClsHead
from ftcls.models.losses import AsymmetricLoss
from ftcls.models.tta import AverageClsScoreTTA
from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError

LOGITS = torch.tensor([[3., -2., 0.5], [-1., -3., -2.], [0., 2., 1.]])
LABELS = [[0, 2], [], [1]]
ONE_HOT = torch.tensor([[1., 0., 1.], [0., 0., 0.], [0., 1., 0.]])


def samples(labels: list) -> list[DataSample]:
    return [DataSample(metainfo=dict(img_path=f'{i}.png')).set_gt_label(x) for i, x in enumerate(labels)]


def test_the_loss_is_the_binary_cross_entropy_per_image() -> None:
    head = MultiLabelClsHead()
    wanted = F.binary_cross_entropy_with_logits(LOGITS, ONE_HOT, reduction='none').sum(dim=1)
    torch.testing.assert_close(head.loss((LOGITS, ), samples(LABELS))['loss'], wanted.mean())
    torch.testing.assert_close(head.loss_per_sample((LOGITS, ), samples(LABELS)), wanted)
    scored = [sample.set_gt_score(row) for sample, row in zip(samples(LABELS), ONE_HOT * 0.8)]
    wanted = F.binary_cross_entropy_with_logits(LOGITS, ONE_HOT * 0.8, reduction='none').sum(dim=1).mean()
    torch.testing.assert_close(head.loss((LOGITS, ), scored)['loss'], wanted)


def test_the_loss_of_mixed_labels() -> None:
    head = MultiLabelClsHead(dict(type='CrossEntropyLoss', use_soft=True))  # as mmpretrain's Mixup configs say
    mixed = torch.tensor([[0.3, 0., 0.7], [0., 1., 0.], [0., 0.5, 0.5]])
    scored = [sample.set_gt_score(row) for sample, row in zip(samples([[0], [1], [2]]), mixed)]
    wanted = F.cross_entropy(LOGITS, mixed)
    torch.testing.assert_close(head.loss((LOGITS, ), scored)['loss'], wanted)


def test_predictions() -> None:
    given = samples(LABELS)
    out = MultiLabelClsHead().predict((LOGITS, ), given)
    assert [s is g for s, g in zip(out, given, strict=True)] == [True] * 3
    torch.testing.assert_close(torch.stack([s.pred_score for s in out]), LOGITS.sigmoid())
    assert [s.pred_label.tolist() for s in out] == [[0, 2], [], [0, 1, 2]]  # 0.5 itself is predicted
    assert [s.pred_label.dtype for s in out] == [torch.int64] * 3
    assert [s.pred_label.tolist() for s in MultiLabelClsHead(thr=0.7).predict((LOGITS, ))] == [[0], [], [1, 2]]
    assert [s.pred_label.tolist() for s in MultiLabelClsHead(topk=2).predict((LOGITS, ))] == [[0, 2], [0, 2], [1, 2]]
    half = MultiLabelClsHead().predict((LOGITS.half(), ))
    assert half[0].pred_score.dtype == torch.float32


def test_linear_head() -> None:
    head = MultiLabelLinearClsHead(num_classes=4, in_channels=256)
    head.init_weights()
    assert set(head.state_dict()) == {'fc.weight', 'fc.bias'}
    assert float(head.fc.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    feats = (torch.zeros(1), torch.randn(2, 256))
    torch.testing.assert_close(head(feats), head.fc(feats[1]))


@pytest.mark.parametrize(('arguments', 'said'), [
    (dict(loss=dict(type='CrossEntropyLoss')), r'loss=CrossEntropyLoss takes one label.*loss\.use_sigmoid=True'),
    (dict(loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1)), r'loss\.use_sigmoid=True'),
    (dict(thr=50), 'thr=50: must be from 0 to 1'),
    (dict(topk=0), 'topk=0: must be at least 1'),
    (dict(topk=5), 'topk=5: there are only num_classes=4'),
    (dict(num_classes=0), 'num_classes=0'),
])
def test_wrong_arguments(arguments: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        MODELS.build(dict(type='MultiLabelLinearClsHead', **{'num_classes': 4, 'in_channels': 8, **arguments}))


def test_wrong_samples_are_named() -> None:
    head = MultiLabelClsHead()
    with pytest.raises(DataError, match=r'1\.png has the labels \[0, 3\], but the head has 3 classes'):
        head.loss((LOGITS, ), samples([[0], [0, 3], []]))
    with pytest.raises(DataError, match=r'x\.png has no gt_label'):
        head.loss((LOGITS[:1], ), [DataSample(metainfo=dict(img_path='x.png'))])
    with pytest.raises(ConfigError, match='only 3 classes'):
        MultiLabelClsHead(topk=4).predict((LOGITS, ))


def test_threshold_and_topk_together_are_said(caplog: pytest.LogCaptureFixture) -> None:
    assert MultiLabelClsHead(thr=0.9, topk=1).predict((LOGITS, ))[2].pred_label.tolist() == []


def test_asymmetric_loss() -> None:
    # without focus and margin it is the binary cross entropy
    wanted = F.binary_cross_entropy_with_logits(LOGITS, ONE_HOT)
    torch.testing.assert_close(AsymmetricLoss(0., 0., clip=None)(LOGITS, ONE_HOT), wanted)
    torch.testing.assert_close(AsymmetricLoss(0., 0., clip=0.)(LOGITS, ONE_HOT, avg_factor=3), 3 * wanted)
    # by the paper's equations, one element at a time
    prob, rows = LOGITS.double().sigmoid(), AsymmetricLoss(1., 4.)(LOGITS, ONE_HOT, reduction_override='none')
    for p, y, loss in zip(prob.flatten(), ONE_HOT.flatten(), rows.flatten()):
        shifted = max(float(p) - 0.05, 0.)
        paper = -(1 - p) * p.log() if y else -shifted**4 * torch.tensor(1 - shifted).log()
        assert float(loss) == pytest.approx(float(paper), rel=1e-5, abs=1e-7)
    weighted = AsymmetricLoss(1., 4., loss_weight=2.)(LOGITS, ONE_HOT, weight=torch.tensor([1., 0., 2.]))
    torch.testing.assert_close(weighted, 2 * (rows * torch.tensor([[1.], [0.], [2.]])).mean())
    single = AsymmetricLoss(use_sigmoid=False, gamma_neg=0., clip=0.)(LOGITS, torch.tensor([0, 1, 2]))
    softmax = F.binary_cross_entropy(LOGITS.softmax(1), torch.eye(3))
    torch.testing.assert_close(single, softmax)


@pytest.mark.parametrize('gamma', [0., 0.5, 1., 4.])
def test_the_gradient_of_the_asymmetric_loss_is_finite(gamma: float) -> None:
    logits = torch.tensor([[-30., -3., 0., 30., 90., -90.]] * 2, requires_grad=True)
    target = torch.stack([torch.zeros(6), torch.ones(6)])
    AsymmetricLoss(gamma, gamma)(logits, target).backward()
    assert torch.isfinite(logits.grad).all()
    assert AsymmetricLoss()(logits.detach().half(), target.half()).dtype == torch.float32


@pytest.mark.parametrize('arguments', [dict(gamma_pos=-1.), dict(gamma_neg=-1.), dict(clip=1.), dict(reduction='sun')])
def test_wrong_arguments_of_the_asymmetric_loss(arguments: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        MODELS.build(dict(type='AsymmetricLoss', **arguments))


def test_views_are_averaged_before_the_threshold() -> None:
    model = ImageClassifier(
        dict(type='LeNet5'), head=dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=120))
    views = [DataSample().set_pred_score(torch.tensor(row)) for row in ([0.9, 0.4, 0.2], [0.3, 0.5, 0.2])]
    merged = AverageClsScoreTTA(module=model).merge_preds([views])[0]
    torch.testing.assert_close(merged.pred_score, torch.tensor([0.6, 0.45, 0.2]))
    assert merged.pred_label.tolist() == [0]


def test_a_batch_with_unlabelled_images_goes_through_the_model() -> None:
    torch.manual_seed(0)
    model = ImageClassifier(
        dict(type='LeNet5', num_classes=-1),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=120, loss=dict(type='AsymmetricLoss')),
        data_preprocessor=dict(mean=[127.], std=[127.], to_onehot=True, num_classes=3))
    inputs = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8)
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples(LABELS)), training=True)
    assert torch.equal(torch.stack([s.gt_score for s in data['data_samples']]), ONE_HOT)
    loss = model(**data, mode='loss')['loss']
    loss.backward()
    out = model.test_step(dict(inputs=inputs, data_samples=samples(LABELS)))
    torch.testing.assert_close(torch.stack([s.loss for s in out]).mean(), loss.detach())
