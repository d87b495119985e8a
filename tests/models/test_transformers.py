"""VisionTransformer, SwinTransformer, ConvNeXt and their head: other libraries' files, sizes, refusals."""
import importlib.util
import json
import os
import re
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig

import ftcls.models  # noqa: F401
from ftcls.models.heads import VisionTransformerClsHead
from ftcls.registry import MODELS
from ftcls.utils import ConfigError, DataError
from ftcls.utils.checkpoint.loading import LoadReport, load_pretrained

timm = pytest.importorskip('timm')
ROOT = Path(__file__).resolve().parents[2]
VIT = dict(
    type='VisionTransformer', arch=dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24), img_size=64)
SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=8, depths=[2, 1, 1, 2], num_heads=[1, 1, 2, 2]),
    window_size=2,
    img_size=64)
CONVNEXT = dict(type='ConvNeXt', arch=dict(depths=[1, 1, 1, 1], channels=[4, 8, 8, 12]))


@cache
def peers() -> object:
    """The module `benchmarks/peer_networks.py`."""
    spec = importlib.util.spec_from_file_location('peer_networks', ROOT / 'benchmarks' / 'peer_networks.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def randomized(cfg: dict, **more: object) -> nn.Module:
    return peers().randomize(MODELS.build(dict(cfg, **more)))


def load(model: nn.Module, state: dict, folder: Path) -> LoadReport:
    torch.save(state, folder / 'weights.pth')
    return load_pretrained(model, folder / 'weights.pth')


@pytest.mark.slow
def test_networks_of_other_libraries(tmp_path: Path) -> None:
    """The table of the benchmark: the peer's networks too where its Python is known."""
    python = os.environ.get('FTCLS_PEERS')
    families = ['vision_transformer', 'vit_average', 'convnext_v2', 'swin_transformer']
    rows = list(peers().rows(families, python, tmp_path))
    assert len(rows) >= 5 and all(row[-1] == 'yes' for row in rows), rows


@pytest.fixture(scope='module')
def torchvision_networks() -> dict[str, nn.Module]:
    """Small networks of torchvision, with random values."""
    sizes = zip([4, 8, 8, 12], [8, 8, 12, None])
    networks = {
        'vit': models.VisionTransformer(64, 16, num_layers=2, num_heads=2, hidden_dim=12, mlp_dim=24, num_classes=7),
        'swin': models.SwinTransformer([4, 4], 8, [2, 1, 1, 2], [1, 1, 2, 2], [2, 2], num_classes=7),
        'convnext': models.ConvNeXt([CNBlockConfig(a, b, 1) for a, b in sizes], num_classes=7),
    }
    return {name: peers().randomize(network) for name, network in networks.items()}


@pytest.mark.parametrize(
    'name, backbone, size',
    [
        ('vit', VIT, 64),
        ('swin', SWIN, 64),
        # the maps are no multiple of the window
        ('swin', SWIN, 76),
        ('convnext', CONVNEXT, 70),
    ])
def test_torchvision_file(torchvision_networks: dict[str, nn.Module], name: str, backbone: dict, size: int,
                          tmp_path: Path) -> None:
    head = dict(type='LinearClsHead', num_classes=7, in_channels=64 if name == 'swin' else 12)
    neck = dict(type='GlobalAveragePooling')
    model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, neck=neck, head=head)).eval()
    state = torchvision_networks[name].state_dict()
    for file in (state, dict(sorted(state.items()))):
        report = load(model, file, tmp_path)
        assert report.complete and not report.unexpected
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(model(x), torchvision_networks[name](x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name, backbone, options', [
    ('vit_base_patch16_224', VIT, dict(img_size=32, embed_dim=12, depth=2, num_heads=2, mlp_ratio=2)),
    ('swin_tiny_patch4_window7_224', SWIN,
     dict(img_size=64, embed_dim=8, depths=(2, 1, 1, 2), num_heads=(1, 1, 2, 2), window_size=2)),
    ('convnext_tiny', CONVNEXT, dict(depths=(1, 1, 1, 1), dims=(4, 8, 8, 12))),
])
def test_timm_file_with_sorted_names(name: str, backbone: dict, options: dict, tmp_path: Path) -> None:
    """As in `.safetensors` files."""
    theirs = timm.create_model(name, **options).state_dict()
    report = load(MODELS.build(backbone), {key: theirs[key] for key in sorted(theirs)}, tmp_path)
    assert report.complete and not report.unexpected
    assert bool(report.resized) == (backbone is VIT)


def test_microsoft_and_old_timm_names(tmp_path: Path) -> None:
    """There the reduction is at the end of the stage before, and masks are in the file."""
    theirs = randomized(SWIN)
    state = {}
    for name, tensor in theirs.model.state_dict().items():
        old = re.sub(r'layers\.(\d)\.downsample', lambda found: f'layers.{int(found[1]) - 1}.downsample', name)
        state[old.replace('norm3.', 'norm.')] = tensor
    order = sorted(state, key=lambda n: ('pln'.index(n[0]), n[:8] * n.startswith('layers'), 'downsample' in n))
    state = {'layers.0.blocks.1.attn_mask': torch.zeros(4, 4, 4)} | {name: state[name] for name in order}
    ours = MODELS.build(SWIN)
    report = load(ours, state, tmp_path)
    assert not report.missing and not report.unexpected
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values()))


def test_openmmlab_names(tmp_path: Path) -> None:
    """The names and shapes of its files, stored by `benchmarks/peer_networks.py --peers PYTHON --keys FILE`."""
    stored = json.loads((ROOT / 'tests' / 'models' / 'peer_keys.json').read_text())
    for family in ('vision_transformer', 'convnext_v2', 'swin_transformer'):
        model = MODELS.build(peers().CASES[family].model())
        theirs = {name: torch.rand(shape) for name, shape in stored[family].items()}
        report = load(model, dict(state_dict=theirs), tmp_path)
        assert not report.missing and not report.unexpected and report.complete
    # of the last, the Swin Transformer
    ours = model.state_dict()
    name = 'backbone.stages.1.blocks.0.ffn.layers.0.0.weight'
    assert report.renamed[name] == 'backbone.model.layers.1.blocks.0.mlp.fc1.weight'
    assert torch.equal(ours[report.renamed[name]], theirs[name])
    # OpenMMLab: channel, row, column; timm: column, row, channel
    wide = theirs['backbone.stages.0.downsample.norm.weight'].view(96, 2, 2)
    assert torch.equal(ours['backbone.model.layers.1.downsample.norm.weight'].view(2, 2, 96)[1, 0], wide[:, 0, 1])


class TestVisionTransformer:

    def test_what_is_returned(self) -> None:
        x = torch.randn(2, 3, 32, 48)
        raw = randomized(VIT, img_size=(32, 48), out_type='raw', out_indices=(0, 1))
        outs = {
            kind: randomized(VIT, img_size=(32, 48), out_type=kind)
            for kind in ('cls_token', 'featmap', 'avg_featmap')
        }
        for model in outs.values():
            model.load_state_dict(raw.state_dict(), strict=False)
        first, tokens = raw(x)
        assert tokens.shape == first.shape == (2, 1 + 2 * 3, 12)
        torch.testing.assert_close(outs['cls_token'](x)[0], tokens[:, 0])
        patches = tokens[:, 1:].view(2, 2, 3, 12)
        torch.testing.assert_close(outs['featmap'](x)[0], patches.permute(0, 3, 1, 2))
        mean = outs['avg_featmap'].model.fc_norm(patches.mean((1, 2)))
        torch.testing.assert_close(outs['avg_featmap'](x)[0], mean)

    @pytest.mark.parametrize('with_cls_token', [True, False])
    def test_file_for_another_size(self, with_cls_token: bool, tmp_path: Path) -> None:
        theirs = randomized(VIT)
        ours = MODELS.build(dict(VIT, img_size=(32, 96), out_type='raw', with_cls_token=with_cls_token))
        report = load(ours, theirs.state_dict(), tmp_path)
        old = theirs.model.pos_embed
        count = 12 + with_cls_token
        assert report.resized == {'model.pos_embed': ((1, 17, 12), (1, count, 12))} and not report.missing
        assert 'interpolated: model.pos_embed from (1, 17, 12)' in report.summary()
        wanted = F.interpolate(old[:, 1:].view(1, 4, 4, 12).permute(0, 3, 1, 2), size=(2, 6), mode='bicubic')
        torch.testing.assert_close(ours.model.pos_embed[:, -12:], wanted.flatten(2).transpose(1, 2))
        if with_cls_token:
            torch.testing.assert_close(ours.model.pos_embed[:, 0], old[:, 0])

    def test_images_of_another_size_are_said_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        model = randomized(VIT)
        for _ in range(2):
            assert model(torch.randn(1, 3, 70, 40))[0].shape == (1, 12)
        said = capsys.readouterr().out
        assert said.count('70x40') == said.count('img_size=(70, 40)') == 1

    def test_average_from_a_file_without_its_norm(self, tmp_path: Path) -> None:
        model = MODELS.build(dict(VIT, img_size=64, out_type='avg_featmap'))
        torch.save(randomized(VIT, img_size=32).state_dict(), tmp_path / 'a.pth')
        report = load_pretrained(model, tmp_path / 'a.pth', min_loaded=0.9)
        assert report.missing == ['model.fc_norm.weight', 'model.fc_norm.bias'] and report.resized

    def test_init_cfg_counts(self) -> None:
        model = MODELS.build(dict(VIT, img_size=32, init_cfg=[dict(type='Constant', layer='Conv2d', val=3.)]))
        model.init_weights()
        assert (model.model.patch_embed.proj.weight == 3).all()


class TestSwinTransformer:

    def test_another_window(self, tmp_path: Path) -> None:
        theirs, ours = randomized(SWIN), MODELS.build(dict(SWIN, img_size=128))
        assert not load(ours, theirs.state_dict(), tmp_path).resized
        ours = MODELS.build(dict(SWIN, stage_cfgs=dict(block_cfgs=dict(window_size=4)), img_size=128))
        report = load(ours, theirs.state_dict(), tmp_path)
        name = 'model.layers.0.blocks.0.attn.relative_position_bias_table'
        assert report.resized[name] == ((9, 1), (49, 1)) and len(report.resized) == 6 and not report.missing

    def test_too_small_images(self) -> None:
        model = MODELS.build(dict(SWIN, img_size=224, window_size=7))
        with pytest.raises(DataError, match=r"at least 193 pixels here, got 64x96.*dict\(type='Resize', scale=224\)"):
            model(torch.zeros(1, 3, 64, 96))
        padded = MODELS.build(dict(SWIN, img_size=224, window_size=7, pad_small_map=True)).eval()
        assert padded(torch.zeros(1, 3, 64, 96))[0].shape == (1, 64, 2, 3)

    @pytest.mark.parametrize('size', [224, 200, 256])
    def test_windows_shift_unless_the_map_is_one(self, size: int) -> None:
        model = MODELS.build(dict(SWIN, arch=dict(SWIN['arch'], depths=[2, 2, 2, 2]), img_size=256,
                                  window_size=7)).eval()
        model(torch.zeros(1, 3, size, size))
        shifts = [[block.shift_size for block in layer.blocks] for layer in model.model.layers]
        assert shifts == [[(0, 0), (3, 3)]] * 3 + [[(0, 0), (3, 3) if size > 224 else (0, 0)]]


def test_convnext_images_too_small() -> None:
    with pytest.raises(DataError, match=r"at least 32 pixels here, got 16x40.*dict\(type='Resize', scale=32\)"):
        MODELS.build(CONVNEXT)(torch.zeros(1, 3, 16, 40))


@pytest.mark.parametrize('cfg, message', [
    (dict(VIT, arch='bse'), "arch='bse'.*'base'"),
    (dict(VIT, arch=dict(embed_dims=12)), 'arch=.*num_layers'),
    (dict(VIT, with_cls_token=False), "with_cls_token=False.*out_type='avg_featmap'"),
    (dict(VIT, patch_cfg=dict(stride=8)), 'patch_cfg=.*stride'),
    (dict(SWIN, use_abs_pos_embed=True), 'use_abs_pos_embed=True.*remove it'),
    (dict(SWIN, out_after_downsample=True), 'out_after_downsample=True'),
    (dict(SWIN, stage_cfgs=dict(block_cfgs=dict(ffn_ratio=2))), 'stage_cfgs.*ffn_ratio'),
    (dict(CONVNEXT, act_cfg=dict(type='ReLU')), "act_cfg=.*'GELU'"),
    (dict(CONVNEXT, norm_cfg=dict(type='BN')), "norm_cfg=.*'LN2d'"),
])
def test_refused_by_name(cfg: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MODELS.build(cfg)


def test_head() -> None:
    head = MODELS.build(dict(type='ViTClsHead', num_classes=5, in_channels=400, hidden_dim=300))
    assert isinstance(head, VisionTransformerClsHead)
    assert [name for name, _ in head.named_parameters()
            ] == [f'layers.{layer}.{kind}' for layer in ('pre_logits', 'head') for kind in ('weight', 'bias')]
    head.init_weights()
    assert float(head.layers.pre_logits.weight.detach().std()) == pytest.approx(400**-0.5, rel=0.05)
    assert not head.fc.weight.any() and not head.layers.pre_logits.bias.any()
    x = torch.randn(2, 400)
    torch.testing.assert_close(head.pre_logits((x, )), torch.tanh(head.layers.pre_logits(x)))
    assert head((x, )).shape == (2, 5)
    assert MODELS.build(dict(type='ViTClsHead', num_classes=5, in_channels=4)).pre_logits((x[:, :4], )).shape == (2, 4)
