"""The networks by MMClassification's names: weights of three libraries, stages, outputs, and what is refused."""
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import ftcls.models  # noqa: F401
from ftcls.models.backbones import VGG, DenseNet, MobileNetV2, RegNet, SEResNet
from ftcls.registry import MODELS
from ftcls.utils import CheckpointError, ConfigError
from ftcls.utils.checkpoint.aligning import TensorOrder
from ftcls.utils.checkpoint.loading import load_pretrained, match_state_dict

# [config, [[module, 0: weight only, 1: with bias, 2: BatchNorm; shape of the weight], ...]] of mmpretrain 1.2.0's
# networks, in the order of their files.
PEER = json.loads((Path(__file__).parent / 'peer_tensors.json').read_text())
LEAVES = (['weight'], ['weight', 'bias'], ['weight', 'bias', 'running_mean', 'running_var'])
TIMM = ('EfficientNet', 'EfficientNetV2', 'MobileNetV3')
IDS = [f'{cfg["type"]}-{cfg.get("arch", "")}'.split('{')[0].rstrip('-') for cfg, _ in PEER]
# For each network of PEER: one of the file's names and where its tensor must go.
PLACES = [
    ('features.4.bn.bias', 'model.features.9.bias'),
    ('layers.4.3.linear_conv.conv.weight', 'model.blocks.4.0.conv_pwl.weight'),
    ('layers.1.0.conv1.conv.weight', 'model.blocks.0.0.conv_exp.weight'),
    ('layers.5.2.se.conv2.conv.bias', 'model.blocks.4.2.se.conv_expand.bias'),
    ('layer2.1.conv.2.bn.running_var', 'model.features.3.conv.3.running_var'),
    ('layer11.depthwise_conv.conv.weight', 'model.blocks.4.2.conv_dw.weight'),
    ('transitions.1.conv.weight', 'model.features.transition2.conv.weight'),
    ('layer2.0.downsample.0.weight', 'layer2.0.downsample.0.weight'),
    ('layer1.0.se_layer.conv2.conv.weight', 'layer1.0.se.fc2.weight'),
    ('layer1.0.downsample.0.weight', 'layer1.0.downsample.0.weight'),
]


def build(cfg: dict) -> nn.Module:
    if cfg['type'] in TIMM:
        pytest.importorskip('timm')
    torch.manual_seed(0)
    return MODELS.build(dict(cfg))


def peer_file(rows: list, prefix: str = '') -> dict[str, torch.Tensor]:
    """Return a file of the peer: each tensor holds its own number."""
    file: dict[str, torch.Tensor] = {}
    for module, kind, *shape in rows:
        for leaf in LEAVES[kind]:
            size = shape if leaf == 'weight' else shape[:1]
            file[f'{prefix}{module}.{leaf}'] = torch.full(size, float(len(file)))
        if kind == 2:
            file[f'{prefix}{module}.num_batches_tracked'] = torch.tensor(len(file))
    return file


@pytest.mark.parametrize('case', range(len(PEER)), ids=IDS)
def test_openmmlab_file_loads_whole(case: int) -> None:
    cfg, rows = PEER[case]
    with torch.device('meta'):
        backbone = build(cfg)
    check_loaded(backbone, case, 'backbone.', 'backbone')
    if case in (5, 6):
        check_loaded(backbone, case, '', None)
        check_loaded(backbone, case, 'module.backbone.', None)


def check_loaded(backbone: nn.Module, case: int, prefix: str, asked: str | None) -> None:
    """Match the peer's file, whose names begin with ``prefix``: each tensor is where it belongs."""
    cfg, rows = PEER[case]
    file = peer_file(rows, prefix)
    matched, report = match_state_dict(file, backbone, prefix=asked)
    assert not (report.absent or report.unexpected or report.expected)
    assert sorted(int(t.flatten()[0]) for t in matched.values()) == list(range(len(file)))
    name, place = PLACES[case]
    assert matched[place].flatten()[0] == file[prefix + name].flatten()[0]
    assert bool(report.renamed) == (cfg['type'] != 'RegNet')
    if report.renamed:
        assert report.renamed[prefix + name] == prefix + place
        assert f"{len(report.renamed)} names are another library's" in report.summary()
        assert f'{prefix + name} -> {prefix + place}' in report.details()


@pytest.mark.parametrize('type_, arch', [('MobileNetV3', 'small_075'), ('EfficientNet', 'b1'), ('DenseNet', '121'),
                                         ('RegNet', 'regnetx_400mf')])
def test_another_network_is_not_paired(type_: str, arch: str) -> None:
    with torch.device('meta'):
        backbone = build(dict(type=type_, arch=arch))
    rows = next(rows for cfg, rows in PEER if cfg['type'] == type_)
    _, report = match_state_dict(peer_file(rows), backbone)
    assert not report.renamed and report.fraction < 0.95


def test_network_with_more_layers_is_not_paired() -> None:
    """A file that holds all tensors of the network in order, and one more layer in the same container."""
    rows = next(rows for cfg, rows in PEER if cfg['type'] == 'MobileNetV3')
    with torch.device('meta'):
        backbone = build(dict(type='MobileNetV3', arch='small_050'))
    more = peer_file([[name.replace('layer', 'blocks.'), *row]
                      for name, *row in rows] + [['blocks.13.conv', 0, 8, 8, 1, 1]])
    assert not match_state_dict(more, backbone)[1].renamed


def test_tensor_order() -> None:
    order = TensorOrder(regroup=((r'transitions\.(\d)', r'stages.\1.end'), ), last=('proj', ))
    names = ['stem', 'stages.0.proj.w', 'stages.0.a.w', 'stages.1.a.w', 'transitions.0.w', 'transitions.1.w', 'fc']
    assert order.arrange(names) == [
        'stem', 'stages.0.a.w', 'transitions.0.w', 'stages.0.proj.w', 'stages.1.a.w', 'transitions.1.w', 'fc'
    ]


@torch.no_grad()
def randomize(network: nn.Module) -> nn.Module:
    """Give a network of the meta device weights and BatchNorm statistics that matter."""
    network = network.to_empty(device='cpu').eval()
    torch.manual_seed(1)
    for name, tensor in network.state_dict().items():
        if name.endswith('num_batches_tracked'):
            tensor.zero_()
        elif name.endswith('running_var') or (tensor.ndim == 1 and name.endswith('weight')):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 1:
            tensor.normal_(0, 0.1)
        else:
            nn.init.kaiming_normal_(tensor)
    return network


REGNET = dict(w0=24, wa=36.44, wm=2.49, group_w=8, depth=13, bot_mul=1.0)  # regnetx_200mf
TORCHVISION = [
    ('mobilenet_v2', dict(type='MobileNetV2')),
    ('mobilenet_v3_small', dict(type='MobileNetV3', arch='small')),
    ('efficientnet_b0', dict(type='EfficientNet', conv_cfg=None, norm_cfg=dict(type='BN'))),
    ('densenet121', dict(type='DenseNet')),
    ('vgg11_bn', dict(type='VGG', depth=11, norm_cfg=dict(type='BN'))),
    ('regnet_x_800mf', dict(type='RegNet', arch='regnetx_800mf')),
]
TIMM_MODELS = [
    ('mobilenetv2_100', dict(type='MobileNetV2')),
    ('mobilenetv3_small_050', dict(type='MobileNetV3', arch='small_050', norm_cfg=dict(type='BN'))),
    ('tf_efficientnet_es', dict(type='EfficientNet', arch='es', act_cfg=dict(type='ReLU'))),
    ('tf_efficientnetv2_b0', dict(type='EfficientNetV2', arch='b0')),
    ('regnetx_002', dict(type='RegNet', arch=REGNET)),
    ('seresnet50', dict(type='SEResNet', depth=50)),
]


def compare_with(theirs: nn.Module, cfg: dict, tmp_path: Path) -> None:
    """Load their file, which sorts the names: all of it but the classifier; the features are the same."""
    randomize(theirs)
    save_file(theirs.state_dict(), tmp_path / 'theirs.safetensors')
    ours = build(cfg).eval()
    random_state = torch.get_rng_state()
    report = load_pretrained(ours, tmp_path / 'theirs.safetensors')
    assert not (report.absent or report.left_over)
    assert torch.equal(torch.get_rng_state(), random_state)
    in_order, _ = match_state_dict(theirs.state_dict(), ours)  # as in a file of `torch.save`
    assert all(torch.equal(tensor, in_order[name]) for name, tensor in ours.state_dict().items())
    assert set(report.unexpected) <= {'conv_head.weight', 'conv_head.bias'}  # of MobileNetV3's classifier
    x = torch.randn(1, 3, 67, 67)
    with torch.no_grad():
        for module in ours.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.eps == next(m for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)).eps
        if hasattr(theirs, 'forward_features'):
            features = theirs.forward_features(x)
        elif hasattr(theirs, 'trunk_output'):
            features = theirs.trunk_output(theirs.stem(x))
        else:
            features = theirs.features(x)
        if cfg['type'] == 'DenseNet':
            features = features.relu()
        torch.testing.assert_close(ours(x)[-1], features, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('name, cfg', TORCHVISION, ids=[name for name, _ in TORCHVISION])
def test_torchvision_file(name: str, cfg: dict, tmp_path: Path) -> None:
    from torchvision.models import get_model
    with torch.device('cpu' if 'regnet' in name else 'meta'):
        theirs = get_model(name, weights=None)
    if name.startswith('vgg'):
        theirs.classifier = nn.Sequential(nn.Linear(512, 5, device='meta'))
    compare_with(theirs, cfg, tmp_path)


@pytest.mark.parametrize('name, cfg', TIMM_MODELS, ids=[name for name, _ in TIMM_MODELS])
def test_timm_file(name: str, cfg: dict, tmp_path: Path) -> None:
    timm = pytest.importorskip('timm')
    with torch.device('meta'):
        theirs = timm.create_model(name)
    compare_with(theirs, cfg, tmp_path)


@pytest.mark.parametrize('letter', ['c', 'd'])
def test_timm_file_of_a_deep_stem(letter: str) -> None:
    timm = pytest.importorskip('timm')
    with torch.device('meta'):
        ours = build(dict(type=f'ResNetV1{letter}', depth=50))
        theirs = timm.create_model(f'resnet50{letter}').state_dict()
    for file in (theirs, dict(sorted(theirs.items()))):
        _, report = match_state_dict(file, ours)
        assert not report.absent and report.renamed['conv1.3.weight'] == 'stem.1.conv.weight'


def test_classifier_of_each_library() -> None:
    """In a classifier with as many classes, the file's last layer is paired too, whatever its name."""
    from torchvision.models import mobilenet_v2
    head = dict(type='LinearClsHead', num_classes=1000, in_channels=1280)
    with torch.device('meta'):
        model = MODELS.build(dict(type='ImageClassifier', backbone=dict(type='MobileNetV2'), head=head))
        theirs = mobilenet_v2().state_dict()
    rows = next(rows for cfg, rows in PEER if cfg['type'] == 'MobileNetV2')
    peer = peer_file([*rows, ['fc', 1, 1000, 1280]], 'backbone.')
    peer = {name.replace('backbone.fc', 'head.fc'): tensor.to('meta') for name, tensor in peer.items()}
    for file in (theirs, peer, {f'module.{k}': v for k, v in peer.items()}):
        matched, report = match_state_dict(file, model)
        assert report.complete and not report.unexpected and len(matched) == len(file)
        assert 'head.fc.weight' in matched


def test_classifier_of_several_layers() -> None:
    """torchvision's `classifier.0` and `.3` are the two layers of a stacked head; VGG's three are in the backbone."""
    from torchvision.models import mobilenet_v3_small
    pytest.importorskip('timm')
    head = dict(type='StackedLinearClsHead', num_classes=1000, in_channels=576, mid_channels=[1024])
    with torch.device('meta'):
        model = MODELS.build(dict(type='ImageClassifier', backbone=dict(type='MobileNetV3'), head=head))
        vgg = VGG(11, num_classes=7)
        file = {k.replace('model.', 'backbone.'): v for k, v in vgg.state_dict().items()}
        theirs = mobilenet_v3_small().state_dict()
    for module, weights in ((model, theirs), (vgg, file)):
        matched, report = match_state_dict(weights, module)
        assert report.complete and len(matched) == len(weights)
    peer = {re.sub(r'(features.*)\.', r'\1.conv.', name): tensor for name, tensor in file.items()}  # OpenMMLab's names
    matched, report = match_state_dict(peer, vgg)
    assert report.complete and report.renamed and len(matched) == len(peer)


def test_pretrained_init_and_grey_images(tmp_path: Path) -> None:
    rows = next(rows for cfg, rows in PEER if cfg['type'] == 'DenseNet')
    file = peer_file(rows, 'backbone.')
    torch.save(dict(state_dict=file), tmp_path / 'peer.pth')
    arch = dict(growth_rate=8, depths=(2, 3, 2), init_channels=16)
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'peer.pth'), prefix='backbone')
    backbone = DenseNet(arch, init_cfg=init_cfg)
    backbone.init_weights()
    assert torch.equal(backbone.model.features.denseblock2.denselayer3.conv2.weight,
                       file['backbone.stages.1.block.2.conv2.weight'])
    grey = DenseNet(arch, in_channels=1, init_cfg=init_cfg)
    with pytest.raises(CheckpointError, match='trained on images of 3 channels, the model takes 1: set adapt_input'):
        grey.init_weights()
    grey = DenseNet(arch, in_channels=1, init_cfg=dict(init_cfg, adapt_input='sum'))
    grey.init_weights()
    assert torch.equal(grey.model.features.conv0.weight, file['backbone.stem.0.weight'].sum(1, keepdim=True))


# What MMClassification's classes return at all of their stages, and its number of stages to freeze beside the stem.
OUTPUTS = [
    (dict(type='EfficientNet', arch='b0'), (32, 16, 24, 40, 112, 320, 1280), 6),
    (dict(type='EfficientNet', arch='es'), (32, 24, 32, 48, 144, 192, 1280), 6),
    (dict(type='EfficientNetV2', arch='b0'), (32, 16, 32, 48, 96, 112, 192, 1280), 7),
    (dict(type='MobileNetV2'), (16, 24, 32, 64, 96, 160, 320, 1280), 8),
    (dict(type='MobileNetV3', arch='small_050'), (16, 8, 16, 16, 24, 24, 24, 24, 24, 48, 48, 48, 288), 12),
    (dict(type='DenseNet', arch='121'), (128, 256, 512, 1024), 4),
    (dict(type='RegNet', arch='regnetx_400mf'), (32, 64, 160, 384), 4),
    (dict(type='SEResNeXt', depth=50), (256, 512, 1024, 2048), 4),
    (dict(type='VGG', depth=11), (64, 128, 256, 512, 512), 4),
]


@pytest.mark.parametrize(
    'cfg, channels, stages', OUTPUTS, ids=[f'{c["type"]}-{k}' for k, (c, _, _) in enumerate(OUTPUTS)])
def test_outputs_as_in_mmclassification(cfg: dict, channels: tuple, stages: int) -> None:
    with torch.device('meta'):
        backbone = build(dict(cfg, out_indices=tuple(range(len(channels)))))
        assert backbone.out_channels == channels and backbone.num_stages_total == stages
        last = build(cfg)
        assert last.out_channels == channels[-1:]
        with pytest.raises(ConfigError, match=rf'out_indices=\({len(channels)},\): .* has {len(channels)} stages'):
            build(dict(cfg, out_indices=len(channels)))


def test_vgg_with_classifier(tmp_path: Path) -> None:
    """The classifier is the backbone's last output; of another size it starts anew, the other layers are loaded."""
    with torch.device('meta'):
        vgg = VGG(11, num_classes=20, out_indices=(4, ))
        assert [tuple(y.shape) for y in vgg(torch.empty(2, 3, 96, 64))] == [(2, 512, 3, 2), (2, 20)]
        assert VGG(11, num_classes=20).out_channels == (20, )
        theirs = VGG(11, num_classes=1000).state_dict()
        model = MODELS.build(
            dict(
                type='ImageClassifier', backbone=dict(type='VGG', depth=11, num_classes=20), head=dict(type='ClsHead')))
    assert vgg.stages()[5][-1] is vgg.model.classifier
    for module in (vgg, model):
        _, report = match_state_dict(theirs, module)
        assert set(report.absent) == {n for n in module.state_dict() if '.6.' in n and 'classifier' in n}
        assert not (report.missing or report.mismatched or report.unexpected)
    with pytest.raises(ConfigError, match='num_stages=3: VGG takes 5 only'):
        VGG(11, num_classes=20, num_stages=3, dilations=(1, 1, 1))


@pytest.mark.parametrize('cfg, text', [
    (dict(type='MobileNetV2', act_cfg=dict(type='ReLU')), "act_cfg={'type': 'ReLU'}: MobileNetV2 takes None or"),
    (dict(type='MobileNetV2', conv_cfg=dict(type='DCN')), "conv_cfg={'type': 'DCN'}: MobileNetV2 takes None or"),
    (dict(type='MobileNetV2', norm_cfg=dict(type='GN', num_groups=1)), "norm_cfg=.*MobileNetV2 takes type='BN' only"),
    (dict(type='MobileNetV2', norm_cfg=dict(type='BN', epsilon=1)), "norm_cfg=.*epsilon"),
    (dict(type='MobileNetV3', arch='tiny'), "arch='tiny'"),
    (dict(type='EfficientNet', arch='el'), "arch='el'"),
    (dict(type='EfficientNet', act_cfg=dict(type='Swich')), "no layer is called 'Swich'; did you mean 'Swish'"),
    (dict(type='DenseNet', compression_factor=0.6), 'compression_factor=0.6'),
    (dict(type='DenseNet', arch=dict(growth_rate=8)), 'arch=.*must have growth_rate, depths, init_channels'),
    (dict(type='RegNet', arch=dict(w0=8)), 'arch=.*must have w0, wa, wm, group_w, depth, bot_mul'),
    (dict(type='RegNet', arch='regnetx_400mf', num_stages=3), 'num_stages'),
    (dict(type='SEResNet', depth=18), 'depth=18'),
    (dict(type='VGG', depth=11, dilations=(1, 1)), 'dilations=.*one value for each of the 5 stages'),
])  # yapf: disable
def test_what_is_not_there_is_refused_by_name(cfg: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        build(cfg)


def test_options_reach_the_network() -> None:
    timm = pytest.importorskip('timm')
    norm_cfg = dict(type='BN', eps=1e-4, momentum=0.2, requires_grad=False)
    backbone = build(dict(type='EfficientNetV2', arch='b0', in_channels=1, norm_cfg=norm_cfg, drop_path_rate=0.5))
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum, m.weight.requires_grad) for m in norms} == {(1e-4, 0.2, False)}
    assert backbone(torch.rand(1, 1, 64, 64))[0].shape == (1, 1280, 2, 2)
    rates = [m.drop_prob for m in backbone.modules() if isinstance(m, timm.layers.DropPath)]
    assert len(rates) > 9 and rates == sorted(rates) and 0.4 < rates[-1] < 0.5
    assert {m.eps for m in build(dict(type='EfficientNet')).modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    assert isinstance(build(dict(type='EfficientNet', act_cfg=dict(type='ReLU'))).model.bn1.act, nn.ReLU)
    assert RegNet('regnetx_400mf', stem_channels=16, avg_down=True).conv1.out_channels == 16
    assert SEResNet(50, 8).layer1[0].se.fc1.out_channels == 32
    assert MobileNetV2(norm_cfg=dict(type='BN', requires_grad=False)).model.features[0][1].weight.requires_grad is False
