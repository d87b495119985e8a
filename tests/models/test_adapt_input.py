"""Weights for three channels in networks for other images, by ``adapt_input``."""
from pathlib import Path

import pytest
import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ftcls.utils.errors import CheckpointError

NETWORKS = {
    'ResNet': dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
    'ResNetV1d': dict(type='ResNetV1d', depth=18, base_channels=8, stem_channels=8),
    'LeNet5': dict(type='LeNet5', in_channels=3),
    'UNet': dict(type='UNet', base_channels=4, num_stages=2),
    'timm': dict(type='TIMMBackbone', model_name='resnet10t'),
    'timm ViT': dict(type='TIMMBackbone', model_name='vit_tiny_patch16_224', img_size=32, depth=1),
    'torchvision': dict(type='TorchvisionBackbone', model_name='resnet18'),
}


def first_weight(network: nn.Module) -> torch.Tensor:
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d)).weight.detach()


@pytest.fixture(params=NETWORKS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict, str, torch.Tensor]:
    """The config of a network, a file of its weights for three channels, and the first of them."""
    network = MODELS.build(NETWORKS[request.param])
    torch.save(network.state_dict(), tmp_path / 'rgb.pth')
    return NETWORKS[request.param], str(tmp_path / 'rgb.pth'), first_weight(network)


def load(config: dict, checkpoint: str, channels: int, **options: object) -> nn.Module:
    pretrained = dict(type='Pretrained', checkpoint=checkpoint, **options)
    network = MODELS.build({**config, 'in_channels': channels, 'init_cfg': pretrained})
    network.init_weights()
    return network


def test_the_first_layer_is_fitted_and_all_others_loaded(source: tuple[dict, str, torch.Tensor]) -> None:
    config, checkpoint, rgb = source
    got = first_weight(load(config, checkpoint, 1, adapt_input='sum'))
    torch.testing.assert_close(got, rgb.sum(1, keepdim=True))
    got = first_weight(load(config, checkpoint, 5, adapt_input='repeat'))
    torch.testing.assert_close(got, rgb[:, [0, 1, 2, 0, 1]] * 3 / 5)
    network = load(config, checkpoint, 4, adapt_input='mean')
    got = first_weight(network)
    assert torch.equal(got[:, :3], rgb)
    torch.testing.assert_close(got[:, 3], rgb.mean(1))
    report = network.load_report
    assert report.input_channels == (3, 4) and not report.mismatched and report.complete
    assert "from 3 to 4 channels (adapt_input='mean')" in report.summary()


def test_grey_and_constant_images_are_seen_as_before(tmp_path: Path) -> None:
    config = NETWORKS['ResNet']
    rgb = MODELS.build(config)
    torch.save(rgb.state_dict(), tmp_path / 'rgb.pth')
    grey = torch.rand(1, 1, 32, 32)
    expected = rgb.eval()(grey.repeat(1, 3, 1, 1))[0]
    for channels, how in ((1, 'sum'), (6, 'sum'), (6, 'repeat')):
        network = load(config, str(tmp_path / 'rgb.pth'), channels, adapt_input=how).eval()
        torch.testing.assert_close(network(grey.repeat(1, channels, 1, 1))[0], expected, rtol=1e-4, atol=1e-5)


def test_from_grey_to_rgb_and_from_four_to_two() -> None:
    from ftcls.utils.checkpoint.matching import match_state_dict
    for own, channels in ((1, 3), (4, 2)):
        weight = torch.rand(8, own, 3, 3)
        for how in ('sum', 'repeat', 'mean'):
            matched, _ = match_state_dict({'weight': weight}, nn.Conv2d(channels, 8, 3, bias=False), adapt_input=how)
            total = matched['weight'].sum(1)
            assert matched['weight'].shape == (8, channels, 3, 3)
            if how != 'mean' and channels > own:
                torch.testing.assert_close(total, weight.sum(1))


def test_without_it_the_error_names_the_setting(source: tuple[dict, str, torch.Tensor]) -> None:
    config, checkpoint, _ = source
    with pytest.raises(CheckpointError, match="of 3 channels, the model takes 4: set adapt_input='repeat'"):
        load(config, checkpoint, 4)
    assert not load(config, checkpoint, 4, allow_partial=True).load_report.complete


def test_only_the_first_layer_is_fitted(tmp_path: Path) -> None:
    wide = dict(NETWORKS['ResNet'], base_channels=16)
    torch.save(MODELS.build(wide).state_dict(), tmp_path / 'wide.pth')
    with pytest.raises(CheckpointError, match='of another shape'):
        load(NETWORKS['ResNet'], str(tmp_path / 'wide.pth'), 3, adapt_input='repeat')


def test_a_wrong_word_is_refused(tmp_path: Path) -> None:
    torch.save(MODELS.build(NETWORKS['ResNet']).state_dict(), tmp_path / 'rgb.pth')
    with pytest.raises((ConfigError, TypeError), match='adapt_input'):
        load(NETWORKS['ResNet'], str(tmp_path / 'rgb.pth'), 4, adapt_input='max')


def test_torchvision_takes_other_channels() -> None:
    for name in ('squeezenet1_0', 'mobilenet_v3_small', 'shufflenet_v2_x0_5'):
        network = MODELS.build(dict(type='TorchvisionBackbone', model_name=name, in_channels=2))
        assert network.eval()(torch.rand(1, 2, 64, 64))[0].shape[0] == 1
