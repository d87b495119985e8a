"""Heads: keys, losses, predictions, accuracy."""
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import top_k_accuracy_score
from torch import nn

from ftcls.models.heads import ClsHead, LinearClsHead, StackedLinearClsHead
from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError


def samples(labels: list) -> list[DataSample]:
    return [DataSample(metainfo=dict(img_path=f'{i}.png')).set_gt_label(x) for i, x in enumerate(labels)]


def test_linear_head() -> None:
    torch.manual_seed(0)
    head = LinearClsHead(num_classes=10, in_channels=256)
    assert set(head.state_dict()) == {'fc.weight', 'fc.bias'}
    head.init_weights()
    assert float(head.fc.weight.detach().std()) == pytest.approx(0.01, rel=0.1) and (head.fc.bias == 0).all()
    feats = (torch.zeros(1), torch.randn(3, 256))
    logits = head(feats)
    torch.testing.assert_close(logits, F.linear(feats[1], head.fc.weight, head.fc.bias))
    losses = head.loss(feats, samples([3, 0, 9]))
    assert set(losses) == {'loss'}
    torch.testing.assert_close(losses['loss'], F.cross_entropy(logits, torch.tensor([3, 0, 9])))
    assert head.pre_logits(feats) is feats[1]


def test_stacked_head() -> None:
    head = StackedLinearClsHead(4, 8, [6, 5], dropout_rate=0.5, norm_cfg=dict(type='BN1d'))
    fc = {f'layers.{i}.fc.{key}' for i in range(3) for key in ('weight', 'bias')}
    assert {k for k in head.state_dict() if '.fc.' in k} == fc
    assert {k
            for k in head.state_dict() if '.norm.' in k} == {
                f'layers.{i}.norm.{key}'
                for i in range(2)
                for key in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
            }
    head.eval()
    x = torch.randn(3, 8)
    hidden = head.pre_logits((x, ))
    assert hidden.shape == (3, 5) and (hidden >= 0).all()
    torch.testing.assert_close(head((x, )), head.layers[-1].fc(hidden))
    assert head.fc is head.layers[-1]
    linear = StackedLinearClsHead(4, 8, [6], act_cfg=None)
    torch.testing.assert_close(linear((x, )), linear.layers[1].fc(linear.layers[0].fc(x)))
    with pytest.raises(ConfigError, match='mid_channels=6'):
        MODELS.build(dict(type='StackedLinearClsHead', num_classes=4, in_channels=8, mid_channels=6))
    with pytest.raises(ConfigError, match='mid_channels'):
        MODELS.build(dict(type='StackedLinearClsHead', num_classes=4, in_channels=8, mid_channels=[]))


def test_predict_sets_on_the_samples() -> None:
    head = ClsHead()
    logits = torch.tensor([[0., 2., 1.], [5., 0., 0.]])
    given = samples([1, 2])
    out = head.predict((logits, ), given)
    assert [s is g for s, g in zip(out, given, strict=True)] == [True, True]
    assert [s.pred_label.tolist() for s in out] == [[1], [0]]
    torch.testing.assert_close(torch.stack([s.pred_score for s in out]), logits.softmax(1))
    assert [s.gt_label.tolist() for s in out] == [[1], [2]]
    new = head.predict((logits.half(), ))
    assert len(new) == 2 and new[0].pred_score.dtype == torch.float32
    mixed = head.predict((logits, ), [None, given[1]])
    assert mixed[0].pred_label.tolist() == [1] and mixed[1] is given[1]


def test_accuracy_is_sklearns() -> None:
    torch.manual_seed(0)
    logits, truth = torch.randn(50, 6), torch.randint(0, 6, (50, ))
    losses = ClsHead(topk=(1, 3), cal_acc=True).loss((logits, ), samples(truth.tolist()))
    for k in (1, 3):
        wanted = 100 * top_k_accuracy_score(truth, logits, k=k, labels=range(6))
        assert float(losses[f'accuracy_top-{k}']) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ConfigError, match='only 6 classes'):
        ClsHead(topk=7, cal_acc=True).loss((logits, ), samples(truth.tolist()))


def test_scores_come_before_labels() -> None:
    logits = torch.randn(2, 3)
    scores = torch.tensor([[0.5, 0.5, 0.], [0., 0.2, 0.8]])
    given = [s.set_gt_score(x) for s, x in zip(samples([0, 1]), scores)]
    torch.testing.assert_close(ClsHead().loss((logits, ), given)['loss'], F.cross_entropy(logits, scores))
    with pytest.raises(ConfigError, match='cal_acc'):
        ClsHead(cal_acc=True).loss((logits, ), given)


@pytest.mark.parametrize('loss', [
    dict(type='CrossEntropyLoss', loss_weight=0.5),
    dict(type='CrossEntropyLoss', reduction='sum'),
    dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    dict(type='CrossEntropyLoss', use_sigmoid=True),
    dict(type='FocalLoss'),
])
def test_loss_per_sample(loss: dict) -> None:
    """Its mean is the loss of the batch; a sample's does not depend on what else is in the batch."""
    head = ClsHead(loss=loss)
    logits, given = torch.randn(5, 4), samples([0, 3, 1, 1, 2])
    each = head.loss_per_sample((logits, ), given)
    whole = head.loss((logits, ), given)['loss'] / (5 if loss.get('reduction') == 'sum' else 1)
    assert each.shape == (5, )
    torch.testing.assert_close(each.mean(), whole)
    torch.testing.assert_close(head.loss_per_sample((logits[1:3], ), given[1:3]), each[1:3])


def test_loss_per_sample_of_a_loss_that_knows_batches_only() -> None:

    class Constant(torch.nn.Module):

        def forward(self, score: torch.Tensor, label: torch.Tensor, avg_factor: int) -> torch.Tensor:
            return score.sum() * 0 + avg_factor

    assert ClsHead(loss=Constant()).loss_per_sample((torch.zeros(2, 3), ), samples([0, 1])).tolist() == [2., 2.]


def test_class_weight_through_the_head() -> None:
    logits, weight = torch.randn(4, 3), [0.1, 1.0, 5.0]
    head = ClsHead(loss=dict(type='CrossEntropyLoss', class_weight=weight))
    wanted = F.cross_entropy(logits, torch.tensor([0, 1, 2, 2]), torch.tensor(weight), reduction='sum') / 4
    torch.testing.assert_close(head.loss((logits, ), samples([0, 1, 2, 2]))['loss'], wanted)


def test_wrong_input() -> None:
    logits = torch.zeros(2, 3)
    with pytest.raises(DataError, match='1.png has no gt_label'):
        ClsHead().loss((logits, ), [*samples([0]), DataSample(metainfo=dict(img_path='1.png'))])
    with pytest.raises(DataError, match=r'1.png has the labels \[0, 2\].*MultiLabelLinearClsHead'):
        ClsHead().loss((logits, ), samples([0, [0, 2]]))
    with pytest.raises(DataError, match='label 3 in the data.*3 classes'):
        ClsHead().loss((logits, ), samples([0, 3]))
    with pytest.raises(ConfigError, match='GlobalAveragePooling'):
        LinearClsHead(3, 8)((torch.zeros(2, 8, 4, 4), ))
    for args in (dict(num_classes=0), dict(num_classes=-1)):
        with pytest.raises(ConfigError, match='num_classes'):
            MODELS.build(dict(type='LinearClsHead', in_channels=8, **args))
    for topk in (0, (0, ), ()):
        with pytest.raises(ConfigError, match='topk'):
            MODELS.build(dict(type='ClsHead', topk=topk))


class _MeanLoss(nn.Module):
    """A user's loss: always the mean of the batch, as one number of shape (1, )."""

    def forward(self, pred: torch.Tensor, target: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return F.cross_entropy(pred, target)[None]


def test_the_loss_of_a_batch_counts_for_each_sample() -> None:
    feats, labels = (torch.tensor([[1., 0.], [0., 3.]]), ), torch.tensor([0, 0])
    wanted = F.cross_entropy(feats[0], labels).expand(2)
    torch.testing.assert_close(ClsHead(_MeanLoss()).loss_per_sample(feats, samples([0, 0])), wanted)
