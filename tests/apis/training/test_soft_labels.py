"""Mixed labels train end to end, the preflight says so, and what cannot take them is refused before the first step."""
from pathlib import Path

import pytest
import torch
from torch import nn

from ftcls.apis import load_config, train, validate_config
from ftcls.apis.training.soft_labels import check_soft_labels
from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
AUGMENTS = [dict(type='Mixup', alpha=0.4), dict(type='CutMix', alpha=1.), dict(type='ResizeMix', alpha=1.)]
MIXING = dict(augments=AUGMENTS, probs=[0.3, 0.3, 0.2])


def config(tmp_path: Path, **overrides: object):
    short = {
        'work_dir': str(tmp_path),
        'train_cfg.max_epochs': 1,
        'param_scheduler.T_max': 1,
        'train_dataloader.dataset.indices': 95,
        'train_dataloader.batch_size': 31,  # 31, 31, 31 and 2
        'data_preprocessor.num_classes': 10,
        'data_preprocessor.batch_augments': MIXING,
    }
    return load_config(CONFIGS / 'tutorial' / 'lenet5_pretrain_digits.py', {**short, **overrides})


@MODELS.register_module()
class HardLoss(nn.Module):
    """Takes class indices only."""

    def forward(self, pred: torch.Tensor, label: torch.Tensor, avg_factor: int | None = None) -> torch.Tensor:
        return nn.functional.nll_loss(pred.log_softmax(1), label)


@MODELS.register_module()
class LikeliestLoss(nn.Module):
    """Looks at the likeliest class of a label only."""

    def forward(self, pred: torch.Tensor, label: torch.Tensor, avg_factor: int | None = None) -> torch.Tensor:
        return nn.functional.cross_entropy(pred, label.argmax(1))


@pytest.mark.parametrize('loss', [
    dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    dict(type='CrossEntropyLoss', use_soft=True),
    dict(type='CrossEntropyLoss', class_weight=[1.] * 9 + [2.]),
    dict(type='CrossEntropyLoss', use_sigmoid=True),
    dict(type='FocalLoss'),
])  # yapf: disable
def test_trains_with_odd_batches(tmp_path: Path, loss: dict) -> None:
    cfg = config(tmp_path, **{'model.head.loss': loss})
    validate_config(cfg)
    runner = train(cfg)
    line = 'augment   of the training batches 30% get Mixup(alpha=0.4), 30% get CutMix('
    assert line in (tmp_path / 'preflight.txt').read_text()
    assert runner.iter == 4
    scalars = runner.message_hub.log_scalars
    assert 'val/accuracy/top1' in scalars and torch.isfinite(torch.tensor(scalars['train/loss'].data[0])).all()


@pytest.mark.parametrize('overrides, words', [
    ({'model.head.cal_acc': True}, 'head or its loss cannot take: cal_acc=True'),
    ({'model.head.loss': dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='multi_label')},
     "LabelSmoothLoss gives the same loss for any shares.*mode='original'"),
    ({'model.head.loss': dict(_delete_=True, type='HardLoss')}, 'cannot take: RuntimeError.*CrossEntropyLoss'),
    ({'model.head.loss': dict(_delete_=True, type='LikeliestLoss')}, 'LikeliestLoss gives the same loss'),
    ({'data_preprocessor.num_classes': None}, 'data_preprocessor.num_classes is not set'),
    ({'data_preprocessor.batch_augments.augments': [dict(type='MixUp', alpha=1.)] * 3}, "did you mean 'Mixup'"),
    ({'data_preprocessor.batch_augments.augments': [dict(type='Mixup', alpha='x')] * 3}, 'alpha'),
])  # yapf: disable
def test_is_refused_before_the_first_step(tmp_path: Path, overrides: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=f'(?s){words}'):
        train(config(tmp_path, **overrides))
    assert not list(tmp_path.glob('*.pth'))


def test_without_mixing_nothing_is_said_or_tried(tmp_path: Path) -> None:
    overrides = {'data_preprocessor.batch_augments': None, 'model.head.cal_acc': True}
    train(config(tmp_path, **overrides))
    assert '\naugment' not in (tmp_path / 'preflight.txt').read_text()


def test_masks_are_no_labels_to_mix() -> None:
    model = MODELS.build(
        dict(
            type='ImageSegmentor',
            backbone=dict(type='UNet', base_channels=4),
            head=dict(type='PixelHead'),
            data_preprocessor=dict(batch_augments=MIXING))).eval()
    sample = DataSample(metainfo=dict(img_shape=(32, 32)))
    sample.set_field(torch.zeros(32, 32, dtype=torch.uint8), 'gt_mask')
    with pytest.raises(ConfigError, match='masks do not mix.*remove batch_augments'):
        check_soft_labels(model, dict(inputs=[torch.zeros(3, 32, 32, dtype=torch.uint8)], data_samples=[sample]))
