"""The ResNet family against torchvision, and against a trained file."""
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from ftcls.models.backbones import CifarResNet, LeNet5, ResNet, ResNet_CIFAR, ResNetV1c, ResNetV1d, ResNeXt
from ftcls.models.backbones.resnet_blocks import BasicBlock, Bottleneck
from ftcls.registry import MODELS
from ftcls.utils import ConfigError, DataError


def randomize(model: nn.Module) -> nn.Module:
    """Give every weight and statistic a random value, so that nothing is hidden by ones and zeros."""
    gen = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=gen)
            module.bias.data.uniform_(-0.5, 0.5, generator=gen)
            module.running_mean.uniform_(-0.5, 0.5, generator=gen)
            module.running_var.uniform_(0.5, 1.5, generator=gen)
    return model


def torchvision_features(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    outs = []
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = layer(x)
        outs.append(x)
    return outs


def without_fc(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v for k, v in model.state_dict().items() if not k.startswith('fc.')}


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_keys_are_torchvisions(depth: int) -> None:
    with torch.device('meta'):
        wanted = without_fc(torchvision.models.get_model(f'resnet{depth}'))
        got = ResNet(depth).state_dict()
    assert {k: v.shape for k, v in got.items()} == {k: v.shape for k, v in wanted.items()}


@pytest.mark.parametrize('name, build', [
    ('resnet18', lambda: ResNet(18, out_indices=(0, 1, 2, 3))),
    ('resnet50', lambda: ResNet(50, out_indices=(0, 1, 2, 3))),
    ('resnext50_32x4d', lambda: ResNeXt(50, out_indices=(0, 1, 2, 3))),
])
@pytest.mark.parametrize('training', [False, True])
def test_outputs_are_torchvisions(name: str, build: object, training: bool) -> None:
    torch.manual_seed(0)
    theirs = randomize(torchvision.models.get_model(name)).train(training)
    ours = build()
    ours.load_state_dict(without_fc(theirs), strict=True)
    ours.train(training)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(ours(x), torchvision_features(theirs, x), strict=True):
            # relative to the size of the features: in training mode the sum's order may differ by rounding
            assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def test_resnext_keys() -> None:
    with torch.device('meta'):
        for name, groups, width, depth in (('resnext50_32x4d', 32, 4, 50), ('resnext101_32x8d', 32, 8, 101)):
            wanted = without_fc(torchvision.models.get_model(name))
            got = ResNeXt(depth, groups=groups, width_per_group=width).state_dict()
            assert {k: v.shape for k, v in got.items()} == {k: v.shape for k, v in wanted.items()}
        assert ResNeXt(50, groups=1, width_per_group=4).layer1[0].conv2.weight.shape == (64, 64, 3, 3)
        assert ResNeXt(50, groups=2, width_per_group=3, base_channels=6).layer2[0].conv2.weight.shape == (12, 6, 3, 3)


def test_deep_stem_and_avg_down_keys() -> None:
    with torch.device('meta'):
        v1c, v1d = ResNetV1c(50), ResNetV1d(50)
    keys = set(v1d.state_dict())
    assert {'stem.0.conv.weight', 'stem.1.bn.running_mean', 'stem.2.conv.weight'} <= keys
    assert not any(k.startswith(('conv1', 'bn1')) for k in keys)
    # stride 1: no pooling, so the convolution is the first; else it follows the pooling
    assert {'layer1.0.downsample.0.weight', 'layer2.0.downsample.1.weight', 'layer2.0.downsample.2.weight'} <= keys
    assert isinstance(v1d.layer2[0].downsample[0], nn.AvgPool2d) and v1d.layer2[0].downsample[1].stride == (1, 1)
    assert {k
            for k in v1c.state_dict()
            if 'layer' in k} == set(ResNet(50).state_dict()) - {k
                                                                for k in ResNet(50).state_dict() if 'layer' not in k}
    assert [m.conv.weight.shape[0] for m in v1c.stem] == [32, 32, 64] and v1c.stem[0].conv.stride == (2, 2)


def test_sizes_strides_dilations() -> None:
    x = torch.rand(1, 3, 64, 64)
    small = dict(stem_channels=8, base_channels=4)
    assert [y.shape[2:] for y in ResNet(18, **small, out_indices=(0, 1, 2, 3))(x)] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    dilated = ResNet(18, **small, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    assert dilated(x)[0].shape == (1, 32, 8, 8) and dilated.layer4[1].conv1.dilation == (4, 4)
    dilated = ResNet(50, **small, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    assert dilated(x)[0].shape == (1, 128, 8, 8)
    caffe = ResNet(50, **small, style='caffe')
    assert caffe.layer2[0].conv1.stride == (2, 2) and caffe.layer2[0].conv2.stride == (1, 1)
    assert caffe(x)[0].shape == (1, 128, 2, 2)
    assert ResNet(50, **small, expansion=2)(x)[0].shape == (1, 64, 2, 2)
    short = ResNet(18, **small, num_stages=2, out_indices=(1, ))
    assert short(x)[0].shape == (1, 8, 8, 8) and short.feat_dim == 8
    assert ResNet_CIFAR(18, **small)(x)[0].shape == (1, 32, 8, 8)
    assert ResNet(18, in_channels=1, **small)(x[:, :1])[0].shape == (1, 32, 2, 2)


def test_norm_and_conv_cfg() -> None:
    model = ResNet(18, stem_channels=8, base_channels=8, norm_cfg=dict(type='GN', num_groups=4, eps=1e-3))
    assert isinstance(model.bn1, nn.GroupNorm) and model.layer1[0].bn1.eps == 1e-3
    assert isinstance(ResNet(18, stem_channels=8, base_channels=8, norm_cfg=dict(type='SyncBN')).bn1, nn.SyncBatchNorm)
    model = ResNet(50, stem_channels=8, base_channels=8, conv_cfg=dict(type='Conv2d', padding_mode='reflect'))
    assert {m.padding_mode for m in model.modules() if isinstance(m, nn.Conv2d)} == {'reflect'}
    assert model(torch.rand(1, 3, 64, 64))[0].shape == (1, 256, 2, 2)


@pytest.mark.parametrize('args, words', [
    (dict(depth=17), 'depth=17.*18, 34, 50, 101, 152'),
    (dict(depth=18, out_indices=(4, )), r'out_indices=\(4,\).*4 stages'),
    (dict(depth=18, num_stages=5), 'num_stages=5.*1 to 4'),
    (dict(depth=18, strides=(1, 2)), 'strides'),
    (dict(depth=18, style='tensorflow'), "tensorflow.*'pytorch', 'caffe'"),
    (dict(depth=18, expansion=4), 'expansion=4'),
    (dict(depth=18, norm_cfg=dict(type='BNN')), "'BNN'; did you mean 'BN'"),
    (dict(depth=18, norm_cfg=dict(type='GN')), 'num_groups'),
    (dict(depth=18, norm_cfg=dict(type='BN', epsilon=1)), 'epsilon'),
])
def test_wrong_arguments(args: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        MODELS.build(dict(type='ResNet', **args))


def test_other_wrong_arguments() -> None:
    with pytest.raises(ConfigError, match='deep_stem'):
        MODELS.build(dict(type='ResNet_CIFAR', depth=18, deep_stem=True))
    with pytest.raises(ConfigError, match='depth=21.*20, 32, 44, 56, 110'):
        MODELS.build(dict(type='CifarResNet', depth=21))
    with pytest.raises(DataError, match='28x28'):
        LeNet5()(torch.rand(1, 1, 28, 28))
    with pytest.raises(DataError, match='64x64'):
        LeNet5(num_classes=10)(torch.rand(1, 1, 64, 64))


def spread(weight: torch.Tensor) -> float:
    return float(weight.detach().std())


def test_default_init() -> None:
    """Kaiming over fan-out, norms of one, the last norm of each block at zero; a given init_cfg takes its place."""
    torch.manual_seed(0)
    model = ResNet(50)
    model.init_weights()
    conv = model.layer3[0].conv2.weight
    # Kaiming: std = sqrt(2 / fan out), fan out = 256 * 3 * 3
    assert spread(conv) == pytest.approx((2 / (256 * 9))**0.5, rel=0.02)
    blocks = [m for m in model.modules() if isinstance(m, (BasicBlock, Bottleneck))]
    assert all((b.bn3.weight == 0).all() and (b.bn1.weight == 1).all() for b in blocks)
    plain = ResNet(18, stem_channels=8, base_channels=8, zero_init_residual=False)
    plain.init_weights()
    assert (plain.layer1[0].bn2.weight == 1).all()
    own = ResNet(18, init_cfg=dict(type='Normal', layer='Conv2d', std=3.0))
    own.init_weights()
    assert spread(own.layer3[0].conv2.weight) == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize('as_list', [False, True])
def test_pretrained_after_default_init(as_list: bool, tmp_path: Path) -> None:
    """Weights in the file are the file's, also the last norms; what the file lacks starts as by default."""
    source = randomize(ResNet(18))
    state = {k: v for k, v in source.state_dict().items() if not k.startswith('layer4.1.conv2')}
    torch.save(state, tmp_path / 'part.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'part.pth'), allow_partial=True)
    torch.manual_seed(1)
    model = ResNet(18, init_cfg=[init_cfg] if as_list else init_cfg, frozen_stages=2)
    model.init_weights()
    for key, value in state.items():
        assert torch.equal(model.state_dict()[key], value), key
    assert spread(model.layer4[1].conv2.weight) == pytest.approx((2 / (512 * 9))**0.5, rel=0.02)
    assert not model.conv1.weight.requires_grad and model.layer3[0].conv1.weight.requires_grad


def test_gradient_checkpointing_changes_nothing() -> None:
    """Same output, gradients and, after the recomputation, the same BatchNorm statistics."""
    torch.manual_seed(0)
    plain = randomize(ResNet(18, stem_channels=8, base_channels=4, norm_cfg=dict(type='BN', momentum=0.3)))
    saving = ResNet(18, stem_channels=8, base_channels=4, norm_cfg=dict(type='BN', momentum=0.3), with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, saving):
        model(x)[0].square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-7), name
    for (name, a), b in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(a, b), name


def test_drop_path_leaves_out_whole_branches() -> None:
    model = ResNet(18, stem_channels=8, base_channels=4, drop_path_rate=0.5, zero_init_residual=False)
    x = torch.randn(1, 3, 64, 64)
    torch.manual_seed(0)
    assert len({float(model(x)[0].sum().detach()) for _ in range(5)}) > 1
    model.eval()
    assert len({float(model(x)[0].sum().detach()) for _ in range(3)}) == 1


def test_cifar_resnet_parameters() -> None:
    """The paper's table 6: 0.27, 0.46, 0.66, 0.85 and 1.7 million parameters with the classifier of 650."""
    wanted = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
    for depth, millions in wanted.items():
        count = sum(p.numel() for p in CifarResNet(depth).parameters()) + 650
        assert count / 1e6 == pytest.approx(millions, abs=0.05 if depth == 110 else 0.006)
    assert not any('downsample' in k for k in CifarResNet(20).state_dict())


def test_cifar_resnet20_on_real_images(real_data: Path) -> None:
    """The published ResNet-20, with ImageNet's statistics and its linear head, has 932 of 1017 test images right."""
    file = torch.load(real_data / 'resnet20-12fca82f.th', map_location='cpu', weights_only=True)
    state = {k.removeprefix('module.'): v for k, v in file['state_dict'].items()}
    model = CifarResNet(20).eval()
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith('linear.')}, strict=True)
    with open(real_data / 'cifar10' / 'cifar-10-batches-py' / 'test_batch', 'rb') as f:
        batch = pickle.load(f, encoding='latin1')
    x = torch.from_numpy(np.array(batch['data'])).reshape(-1, 3, 32, 32).float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        feats = model((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))[0].mean(dim=(2, 3))
        right = (feats @ state['linear.weight'].T + state['linear.bias']).argmax(1) == torch.tensor(batch['labels'])
    assert (int(right.sum()), len(right)) == (932, 1017)


def test_lenet() -> None:
    model = LeNet5(num_classes=10)
    # LeCun et al. 1998 have 60,000 trainable parameters; with full connection of the second convolution it is this many
    assert sum(p.numel() for p in model.parameters()) == 61_706
    # one image: the batch dimension stays
    assert model(torch.rand(1, 1, 32, 32))[0].shape == (1, 10)
    assert {k.split('.')[0] for k in model.state_dict()} == {'features', 'classifier'}
    assert len(model.stages()) == 4 and len(LeNet5().stages()) == 3
