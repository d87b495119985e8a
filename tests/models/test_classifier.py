"""ImageClassifier: modes, stages of features, the loss in validation, what does not fit together."""
import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper

from ftcls.models import ClsDataPreprocessor, ImageClassifier
from ftcls.models.classifiers import BaseClassifier
from ftcls.models.headed_model import _on_cpu
from ftcls.models.heads import LinearClsHead
from ftcls.registry import BATCH_AUGMENTS, MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError

CONFIG = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=5, in_channels=32),
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True))


def build(**changes: object) -> ImageClassifier:
    torch.manual_seed(0)
    return MODELS.build(dict(CONFIG, **changes))


def samples(labels: list[int]) -> list[DataSample]:
    return [DataSample().set_gt_label(x) for x in labels]


def test_modes() -> None:
    model = build().eval()
    assert isinstance(model, BaseClassifier) and model.with_neck and model.with_head
    x = torch.randn(3, 3, 16, 16)
    logits = model(x)
    assert logits.shape == (3, 5)
    losses = model(x, samples([0, 1, 4]), mode='loss')
    torch.testing.assert_close(losses['loss'], F.cross_entropy(logits, torch.tensor([0, 1, 4])))
    out = model(x, mode='predict')
    assert [int(s.pred_label) for s in out] == logits.argmax(1).tolist() and 'loss' not in out[0]
    with pytest.raises(ConfigError, match="'predct'; did you mean 'predict'"):
        model(x, mode='predct')


def test_features() -> None:
    model = build().eval()
    x = torch.randn(2, 3, 16, 16)
    maps = model.extract_feat(x, stage='backbone')
    assert isinstance(maps, tuple) and maps[0].shape == (2, 32, 2, 2)
    torch.testing.assert_close(model.extract_feat(x)[0], maps[0].mean((2, 3)))
    assert torch.equal(model.extract_feat(x, stage='pre_logits'), model.extract_feat(x)[0])
    with pytest.raises(ConfigError, match='nek'):
        model.extract_feat(x, stage='nek')
    headless = build(head=None, neck=None).eval()
    assert not headless.with_head and headless(x)[0].shape == (2, 32, 2, 2)
    for mode in ('predict', 'loss'):
        with pytest.raises(ConfigError, match='no head'):
            headless(x, samples([0, 1]), mode=mode)


def test_loss_in_validation() -> None:
    """Where every sample has its label, each gets its own loss, so that the batch size does not matter."""
    model = build().eval()
    x = torch.randn(2, 3, 16, 16)
    given = samples([0, 1])
    with torch.no_grad():
        out = model(x, given, mode='predict')
        wanted = F.cross_entropy(model(x), torch.tensor([0, 1]), reduction='none')
        mean = model(x, given, mode='loss')['loss']
    assert all(s.loss.ndim == 0 for s in out)
    torch.testing.assert_close(torch.stack([s.loss for s in out]), wanted)
    torch.testing.assert_close(wanted.mean(), mean)
    assert not model(x, samples([0, 1]), mode='predict')[0].loss.requires_grad
    partly = model(x, [*samples([0]), DataSample()], mode='predict')
    assert not any('loss' in s for s in partly)


def test_loss_in_validation_of_a_head_that_knows_batches_only() -> None:
    """A head with a loss of its own, of several parts: that of the batch stands for each of its samples."""

    class TwoParts(LinearClsHead):

        def loss(self, feats: tuple, data_samples: list) -> dict:
            return dict(loss_a=torch.tensor([1., 3.]), loss_b=torch.tensor(0.5), accuracy=torch.tensor(9.))

    model = build(head=TwoParts(num_classes=5, in_channels=32)).eval()
    out = model(torch.randn(3, 3, 16, 16), samples([0, 1, 2]), mode='predict')
    assert [float(s.loss) for s in out] == [2.5] * 3


def test_training_and_validation_step() -> None:
    config = copy.deepcopy(CONFIG)
    model = build(backbone=dict(CONFIG['backbone'], frozen_stages=2))
    assert config == CONFIG, 'the caller\'s config was edited'
    optim = OptimWrapper(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1))
    data = dict(inputs=[torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8) for _ in range(4)])
    data['data_samples'] = samples([0, 1, 2, 3])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    losses = [float(model.train_step(data, optim)['loss'].detach()) for _ in range(5)]
    assert losses[-1] < losses[0]
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and not any(
        k.startswith(('backbone.conv1', 'backbone.bn1', 'backbone.layer1', 'backbone.layer2')) for k in changed)
    model.eval()
    with torch.no_grad():
        out = model.val_step(data)
    assert len(out) == 4 and float(out[0].loss) > 0 and out[0].pred_score.shape == (5, )


def test_data_preprocessor() -> None:
    assert isinstance(build(data_preprocessor=None).data_preprocessor, ClsDataPreprocessor)
    own = ClsDataPreprocessor()
    assert build(data_preprocessor=own).data_preprocessor is own
    assert build().data_preprocessor.to_rgb


def test_train_cfg() -> None:
    BATCH_AUGMENTS.register_module(name='Nothing', module=lambda: (lambda x, score: (x, score)), force=True)
    try:
        augments = dict(augments=[dict(type='Nothing')], probs=[0.5])
        model = build(train_cfg=augments, data_preprocessor=dict(num_classes=5))
        assert model.data_preprocessor.batch_augments.probs == [0.5, 0.5] and model.data_preprocessor.to_onehot
        with pytest.raises(ConfigError, match='set twice'):
            build(train_cfg=augments, data_preprocessor=dict(batch_augments=augments))
        with pytest.raises(ConfigError, match="'augment'; did you mean 'augments'"):
            build(train_cfg=dict(augment=[]))
        with pytest.raises(ConfigError, match='train_cfg'):
            build(train_cfg=augments, data_preprocessor=ClsDataPreprocessor())
    finally:
        BATCH_AUGMENTS.module_dict.pop('Nothing')


def test_parts_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match='model.head.in_channels=33.*32 channels: set model.head.in_channels=32'):
        build(head=dict(type='LinearClsHead', num_classes=5, in_channels=33))
    with pytest.raises(ConfigError, match='pretrained'):
        build(pretrained='a.pth', init_cfg=dict(type='Pretrained', checkpoint='a.pth'))
    model = build(neck=None)
    with pytest.raises(ConfigError, match="neck=dict\\(type='GlobalAveragePooling'\\)"):
        model(torch.rand(1, 3, 16, 16))


def test_lenet_with_its_own_classifier() -> None:
    model = build(
        backbone=dict(type='LeNet5', num_classes=10), neck=None, head=dict(type='ClsHead'), data_preprocessor=None)
    out = model(torch.rand(1, 1, 32, 32), samples([3]), mode='predict')
    assert out[0].pred_score.shape == (10, ) and float(out[0].loss.detach()) > 0


def test_whole_model_from_a_file(tmp_path: object) -> None:
    source = build()
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'model.pth')
    torch.manual_seed(5)
    model = MODELS.build(dict(CONFIG, pretrained=str(tmp_path / 'model.pth')))
    model.init_weights()
    for key, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_validation_copies_each_field_once(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []

    def cpu(x: torch.Tensor) -> torch.Tensor:
        copies.append(x.shape)
        return torch.ones(x.shape, dtype=x.dtype)

    monkeypatch.setattr(torch.Tensor, 'cpu', cpu)
    labels = [torch.zeros(number, dtype=torch.int64, device='meta') for number in (1, 2, 1)]
    samples = [DataSample().set_pred_score(torch.zeros(4, device='meta')).set_gt_label(label) for label in labels]
    out = _on_cpu(samples)
    assert copies == [(3, 4)]  # labels of several lengths are left to the metric
    assert out == samples and [sample.pred_score.tolist() for sample in out] == [[1.] * 4] * 3
    assert _on_cpu([]) == []
