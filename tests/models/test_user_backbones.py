"""A backbone of a user's that has only ``forward``: it works wherever no stages are needed, else a line says what to write."""
import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from ftcls.engine.hooks import GradualUnfreezingHook
from ftcls.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from ftcls.models import BaseBackbone, ImageClassifier
from ftcls.models.frozen_prefix import FrozenPrefix
from ftcls.models.heads import LinearClsHead
from ftcls.structures import DataSample
from ftcls.utils import ConfigError

WRITE = r'Plain has no stages\(\).*write `def stages\(self\): return \[\[self.stem\], \[self.blocks\]\]`'


class Plain(BaseBackbone):
    """Without ``stages``, ``out_channels`` and a call of ``freeze_stages``."""

    def __init__(self, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.stem = nn.Conv2d(3, 4, 3)
        self.blocks = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.blocks(self.stem(x)), )


class OwnStages(Plain):
    """With its blocks under the name ``stages``, and freezing of its own, as many networks of MMClassification."""

    def __init__(self, frozen_stages: int = 1) -> None:
        super().__init__()
        self.stages = nn.ModuleList([self.stem, self.blocks])
        self.frozen_stages = frozen_stages
        self._freeze_stages()

    def _freeze_stages(self) -> None:
        for stage in self.stages[:self.frozen_stages]:
            stage.eval()
            stage.requires_grad_(False)

    def train(self, mode: bool = True) -> None:
        """Return nothing, as MMClassification's."""
        super().train(mode)
        self._freeze_stages()


def classifier(backbone: nn.Module, **kwargs: object) -> ImageClassifier:
    neck, head = dict(type='GlobalAveragePooling'), dict(type='LinearClsHead', num_classes=3, in_channels=8)
    return ImageClassifier(backbone, neck, head, **kwargs)


@pytest.mark.parametrize('kind', [Plain, OwnStages, nn.Conv2d])
def test_trained_and_tested(kind: type) -> None:
    model = classifier(kind(3, 8, 3) if kind is nn.Conv2d else kind())
    model.init_weights()
    model.train()
    optim_wrapper = OptimWrapper(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1))
    before = copy.deepcopy(model.state_dict())
    batch = dict(inputs=[torch.zeros(3, 8, 8, dtype=torch.uint8)] * 2, data_samples=[DataSample().set_gt_label(1)] * 2)
    assert model.train_step(batch, optim_wrapper)['loss'] > 0
    assert not torch.equal(before['head.fc.bias'], model.state_dict()['head.fc.bias'])
    if kind is OwnStages:
        assert torch.equal(before['backbone.stem.weight'], model.state_dict()['backbone.stem.weight'])
        assert not model.backbone.stem.training and model.backbone.blocks.training
    assert model.test_step(batch)[0].pred_score.shape == (3, )


def test_frozen_by_name() -> None:
    model = classifier(Plain(), freeze='^backbone')
    model.train()
    assert not any(param.requires_grad for param in model.backbone.parameters())
    assert not model.backbone.blocks[1].training
    assert FrozenPrefix(model).modules == [model.backbone, model.neck]


@pytest.mark.parametrize('use', [
    lambda model: model.backbone.freeze_stages(0),
    lambda model: model.backbone.checkpoint_gradients(),
    lambda model: LearningRateDecayOptimWrapperConstructor(
        dict(optimizer=dict(type='SGD', lr=0.1)), dict(layer_decay_rate=0.5))(model),
    lambda model: GradualUnfreezingHook(every=1).plan(model, 5),
], ids=['freezing', 'checkpointing', 'layer decay', 'unfreezing'])  # yapf: disable
def test_what_needs_stages_says_how_to_write_them(use: object) -> None:
    with pytest.raises(ConfigError, match=WRITE):
        use(classifier(Plain()))
    assert FrozenPrefix(classifier(Plain(), freeze='stem')).modules == []  # no feature cache, but no stop either


def test_with_the_line_that_was_asked_for() -> None:

    class WithStages(Plain):

        def stages(self) -> list:
            return [[self.stem], [self.blocks]]

    model = classifier(WithStages())
    model.backbone.freeze_stages(0)
    assert [name for name, p in model.backbone.named_parameters()
            if not p.requires_grad] == ['stem.weight', 'stem.bias']


def test_overridden_parts_of_a_head_are_called() -> None:

    class Head(LinearClsHead):

        def _get_loss(self, cls_score: torch.Tensor, data_samples: list, **kwargs: object) -> dict:
            return {name: 2 * loss for name, loss in super()._get_loss(cls_score, data_samples, **kwargs).items()}

        def _get_predictions(self, cls_score: torch.Tensor, data_samples: list | None = None) -> list:
            return super()._get_predictions(-cls_score, data_samples)

    torch.manual_seed(0)
    ours, plain = Head(num_classes=3, in_channels=2), LinearClsHead(num_classes=3, in_channels=2)
    plain.load_state_dict(ours.state_dict())
    feats, samples = (torch.rand(4, 2), ), [DataSample().set_gt_label(i % 3) for i in range(4)]
    torch.testing.assert_close(ours.loss(feats, samples)['loss'], 2 * plain.loss(feats, samples)['loss'])
    assert [s.pred_label.item() for s in ours.predict(feats)] == plain(feats).argmin(dim=1).tolist()
    # and the loss in validation is the one that is trained, not that of the base class
    model = ImageClassifier(nn.Flatten(), head=ours)
    seen = model.predict(feats[0], [sample.clone() for sample in samples])
    assert seen[0].loss.item() == pytest.approx(ours.loss(feats, samples)['loss'].item())


def test_features_of_several_batches() -> None:
    model = classifier(Plain()).eval()
    batches = [torch.rand(1, 3, 8, 8), torch.rand(2, 3, 9, 9)]
    feats = model.extract_feats(batches, stage='pre_logits')
    assert [feat.shape for feat in feats] == [(1, 8), (2, 8)]
    torch.testing.assert_close(feats[1], model.extract_feat(batches[1], stage='pre_logits'))
    with pytest.raises(TypeError, match='extract_feat'):
        model.extract_feats(batches[0])


def test_a_loss_that_always_reduces_is_that_of_each_sample() -> None:

    class Margin(nn.Module):

        def forward(self, cls_score: torch.Tensor, label: torch.Tensor, weight: object = None, avg_factor: object = None,
                    reduction_override: object = None) -> torch.Tensor:  # yapf: disable
            return nn.functional.multi_margin_loss(cls_score, label)

    model = ImageClassifier(nn.Flatten(), head=LinearClsHead(num_classes=3, in_channels=2, loss=Margin()))
    samples = [DataSample().set_gt_label(i) for i in range(3)]
    predicted = model.predict(torch.rand(3, 2), samples)
    batch = model.loss(torch.zeros(3, 2), samples)['loss']
    assert len({sample.loss.item() for sample in predicted}) == 1 and batch.ndim == 0
