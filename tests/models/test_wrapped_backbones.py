"""TorchvisionBackbone and TIMMBackbone against the libraries they wrap."""
import sys
from pathlib import Path

import pytest
import torch
import torchvision

from ftcls.models.backbones import TIMMBackbone, TorchvisionBackbone
from ftcls.models.necks import GlobalAveragePooling
from ftcls.registry import MODELS
from ftcls.utils import ConfigError

SMALL_VIT = dict(image_size=64)
# name, its arguments, module whose input is the vector that the classifier gets
NETWORKS = [
    ('resnet18', {}, 'fc'),
    ('mobilenet_v3_small', {}, 'classifier.0'),
    ('mobilenet_v2', {}, 'classifier.1'),
    ('efficientnet_b0', {}, 'classifier.1'),
    ('convnext_tiny', {}, 'classifier.2'),
    ('vit_b_16', SMALL_VIT, 'heads.head'),
    ('regnet_y_400mf', {}, 'fc'),
    ('densenet121', {}, 'classifier'),
    ('swin_t', {}, 'head'),
    ('shufflenet_v2_x0_5', {}, 'fc'),
    ('googlenet', {}, 'fc'),
]


@pytest.mark.parametrize('name, args, head', NETWORKS, ids=[n[0] for n in NETWORKS])
def test_features_are_what_the_classifier_gets(name: str, args: dict, head: str) -> None:
    backbone = TorchvisionBackbone(name, model_args=args).eval()
    more = dict(init_weights=False) if name == 'googlenet' else {}
    theirs = torchvision.models.get_model(name, **args, **more).eval()
    theirs.load_state_dict(backbone.model.state_dict(), strict=False)
    extra = set(backbone.model.state_dict()) - set(theirs.state_dict())
    assert not extra, 'the wrapped names are not torchvision\'s'
    seen = {}
    theirs.get_submodule(head).register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        theirs(x)
        got = GlobalAveragePooling()(backbone(x))[0]
    assert got.shape == (2, backbone.out_channels[0])
    torch.testing.assert_close(got, seen['x'].flatten(1), rtol=1e-4, atol=1e-5)


def test_maps_of_networks_that_pool_to_49_positions() -> None:
    """VGG and SqueezeNet: the map before their pooling or last convolution."""
    for name, channels in (('vgg11_bn', 512), ('squeezenet1_1', 512)):
        backbone = TorchvisionBackbone(name).eval()
        x = torch.randn(1, 3, 64, 64)
        with torch.inference_mode():
            assert torch.equal(backbone(x)[0], backbone.model.features(x))
        assert backbone.out_channels == (channels, )


def test_out_indices() -> None:
    backbone = TorchvisionBackbone('resnet18', out_indices=(0, 1, 2, 3)).eval()
    model = backbone.model
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        outs = backbone(x)
        y = model.layer1(model.maxpool(model.relu(model.bn1(model.conv1(x)))))
    assert backbone.out_channels == (64, 128, 256, 512) and torch.equal(outs[0], y)
    swin = TorchvisionBackbone('swin_t', out_indices=(0, 1, 2, 3))
    assert [y.shape for y in swin(x)] == [(1, 96, 16, 16), (1, 192, 8, 8), (1, 384, 4, 4), (1, 768, 2, 2)]
    with pytest.raises(ConfigError, match="out_indices.*torchvision's resnet18 has 4 stages"):
        TorchvisionBackbone('resnet18', out_indices=(4, ))


def test_stages_of_known_networks() -> None:

    def first(name: str, **args: object) -> list[str]:
        return [names[0] for names in TorchvisionBackbone(name, **args)._stage_names]

    assert first('resnet18') == ['conv1', 'maxpool', 'layer2', 'layer3', 'layer4']
    assert first('convnext_tiny') == [f'features.{i}' for i in (0, 1, 2, 4, 6)]
    assert len(first('vit_b_16', model_args=SMALL_VIT)) == 1 + 12


def test_wrong_names() -> None:
    with pytest.raises(ConfigError, match="'resnet17'.*did you mean 'resnet1"):
        TorchvisionBackbone('resnet17')
    with pytest.raises(ConfigError, match='no_such'):
        TorchvisionBackbone('resnet18', model_args=dict(no_such=1))
    # a detector is no classification network
    with pytest.raises(ConfigError, match='fasterrcnn'):
        TorchvisionBackbone('fasterrcnn_resnet50_fpn')


def test_torchvisions_own_file_loads(tmp_path: Path) -> None:
    theirs = torchvision.models.mobilenet_v3_small()
    torch.save(theirs.state_dict(), tmp_path / 'file.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth'))
    backbone = TorchvisionBackbone('mobilenet_v3_small', init_cfg=init_cfg)
    backbone.init_weights()
    for key, value in backbone.model.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[key]), key


def test_timm_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(ConfigError, match='pip install timm'):
        TIMMBackbone('resnet18')


class TestTIMM:

    @pytest.fixture(autouse=True)
    def timm(self) -> object:
        return pytest.importorskip('timm')

    @pytest.mark.parametrize('name, args', [('resnet18', {}), ('vit_tiny_patch16_224', dict(img_size=64)),
                                            ('regnety_002', {}), ('swin_tiny_patch4_window7_224', dict(img_size=64))])
    def test_same_as_timm(self, timm: object, name: str, args: dict) -> None:
        backbone = TIMMBackbone(name, **args).eval()
        theirs = timm.create_model(name, **args).eval()
        kept = backbone.timm_model.state_dict()
        assert set(kept) <= set(theirs.state_dict())
        theirs.load_state_dict(kept, strict=False)
        x = torch.randn(2, 3, 64, 64)
        with torch.inference_mode():
            wanted = theirs.forward_features(x)
            got = backbone(x)[0]
            if got.ndim == 2:
                wanted = theirs.forward_head(wanted, pre_logits=True)
            elif wanted.shape[1] != backbone.out_channels[0]:
                wanted = wanted.permute(0, 3, 1, 2)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)

    def test_features_only_and_channels(self) -> None:
        backbone = TIMMBackbone('resnet18', features_only=True, in_channels=1)
        outs = backbone(torch.rand(1, 1, 64, 64))
        assert backbone.out_channels == (64, 64, 128, 256, 512) == tuple(y.shape[1] for y in outs)

    @pytest.mark.parametrize('name, args, wanted', [
        ('vit_tiny_patch16_224', dict(dynamic_img_size=True, depth=2), (192, )),
        ('vit_base_patch16_siglip_224', dict(img_size=64, embed_dim=48, depth=2, num_heads=2), (48, )),
        ('deit_tiny_distilled_patch16_224', dict(img_size=64, depth=2), (192, )),
        ('poolformer_s12', dict(), (512, 2, 2)),
        ('hiera_tiny_224', dict(img_size=(64, 64)), (768, )),
        ('efficientvit_b0', dict(), (1280, )),
        ('pit_ti_distilled_224', dict(img_size=64), (256, )),
        ('coat_tiny', dict(img_size=64), (152, )),
    ])
    def test_networks_that_cannot_lose_their_pooling(self, timm: object, name: str, args: dict, wanted: tuple) -> None:
        backbone = TIMMBackbone(name, **args)
        images = torch.rand(2, 3, 64, 64)
        assert tuple(backbone(images)[0].shape[1:]) == wanted and backbone.out_channels == wanted[:1]
        sum(feature.sum() for feature in backbone(images)).backward()
        unused = [key for key, parameter in backbone.named_parameters() if parameter.grad is None]
        assert not unused

    def test_checkpoint_path_is_read_like_pretrained(self, timm: object, tmp_path: Path) -> None:
        theirs = timm.create_model('resnet18')
        torch.save(theirs.state_dict(), tmp_path / 'file.pth')
        backbone = TIMMBackbone('resnet18', checkpoint_path=str(tmp_path / 'file.pth'))
        backbone.init_weights()
        assert torch.equal(backbone.timm_model.layer4[0].conv1.weight, theirs.layer4[0].conv1.weight)

    @pytest.mark.parametrize('args, words', [
        (dict(model_name='resnet17'), "'resnet17'.*did you mean"),
        (dict(model_name='resnet18', no_such=1, drop_rate=0.1), r"timm's resnet18 does not take {'no_such': 1}: "),
        (dict(model_name='resnet18', frozen=2), r"does not take {'frozen': 2}: .*; did you mean 'frozen_stages'\?"),
        (dict(model_name='resnet18', pretrained='a.pth'), 'pretrained'),
        (dict(model_name='resnet18', pretrained=True, checkpoint_path='a.pth'), 'not several'),
    ])
    def test_wrong_arguments(self, args: dict, words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            MODELS.build(dict(type='TIMMBackbone', **args))
