"""Features of images: those of the model for what the validation prepares."""
import numpy as np
import pytest
import torch
from mmengine.config import Config

from ftcls.apis import FeatureExtractor, get_model, init_model
from ftcls.utils import ConfigError

CONFIG = dict(
    default_scope='ftcls',
    model=dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=4, out_indices=(0, 3)),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=32)),
    data_preprocessor=dict(mean=[100., 120., 140.], std=[50., 60., 70.], to_rgb=True),
    test_dataloader=dict(
        batch_size=2,
        dataset=dict(
            type='CustomDataset',
            data_root='nowhere',
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')])))


@pytest.fixture(scope='module')
def model() -> torch.nn.Module:
    return init_model(Config(CONFIG), None, 'cpu')


def images(*sizes: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for size in sizes]


def test_stages(model: torch.nn.Module) -> None:
    extractor = FeatureExtractor(model)
    pictures = images(32, 24, 32)
    maps = extractor(pictures, batch_size=3, stage='backbone')
    assert [[tuple(feat.shape) for feat in one] for one in maps] == [[(4, 32, 32), (32, 4, 4)], [(4, 24, 24),
                                                                                                 (32, 3, 3)],
                                                                     [(4, 32, 32), (32, 4, 4)]]
    vectors = extractor(pictures[0], stage='pre_logits')
    assert len(vectors) == 1 and vectors[0].shape == (32, )
    pixels = torch.from_numpy(pictures[0][..., ::-1].copy()).permute(2, 0, 1)[None].float()
    normal = (pixels - torch.tensor([100., 120., 140.]).view(3, 1, 1)) / torch.tensor([50., 60., 70.]).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(vectors[0], model.extract_feat(normal, stage='pre_logits')[0])
    torch.testing.assert_close(vectors[0], extractor(pictures[0], stage='neck')[0][1])  # the default
    torch.testing.assert_close(extractor(pictures[0])[0][1], vectors[0])
    rgb = extractor(pictures[0][..., ::-1].copy(), channel_order='rgb', stage='pre_logits')[0]
    torch.testing.assert_close(rgb, vectors[0])


def test_wrong_arguments(model: torch.nn.Module) -> None:
    with pytest.raises(ConfigError, match='batch_size must be at least 1'):
        FeatureExtractor(model)(images(32), batch_size=0)
    with pytest.raises(ConfigError, match="stage='necks'.*'neck'"):
        FeatureExtractor(model)(images(32), stage='necks')


def test_changes_to_the_model() -> None:
    extractor = FeatureExtractor(Config(CONFIG), False, 'cpu', backbone=dict(out_indices=(3, )))
    assert len(extractor(images(32))[0]) == 1
    assert get_model(Config(CONFIG), device='cpu', backbone=dict(out_indices=(1, 3))).backbone.out_indices == (1, 3)
