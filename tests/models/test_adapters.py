"""Adapters of peft in backbones: which layers, what learns, names in state dicts, merging, what is refused."""
import copy
import pickle
import sys

import pytest
import torch
from torch import nn

import ftcls.models  # noqa: F401
from ftcls.models.adapters import adapted_layers, describe_adapter
from ftcls.models.freezing import frozen_by
from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.adapter_files import frozen_base, is_adapter
from ftcls.utils.checkpoint.loading import load_pretrained

pytest.importorskip('peft')
VIT = dict(type='TIMMBackbone', model_name='vit_tiny_patch16_224', img_size=32, depth=2, embed_dim=48, num_heads=3)
RESNET = dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8)
MOBILE = dict(type='TIMMBackbone', model_name='tf_efficientnet_lite0')
LORA = dict(type='LoRA', r=4, alpha=8)


def build(backbone: dict = VIT, adapter: dict | None = LORA, channels: int = 48, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    head = dict(type='LinearClsHead', num_classes=3, in_channels=channels)
    model = dict(backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head, adapter=adapter)
    return MODELS.build(dict(type='ImageClassifier', **model, **settings))


def step(model: nn.Module) -> set[str]:
    """Make one step; return the names in the state dict of what moved."""
    before = {name: value.clone() for name, value in model.train().state_dict().items()}
    params = [param for param in model.parameters() if param.requires_grad]
    samples = [DataSample().set_gt_label(i % 3) for i in range(4)]
    for _ in range(2):  # lora_A moves once lora_B is not zero
        model.zero_grad()
        model(torch.randn(4, 3, 32, 32), samples, mode='loss')['loss'].backward()
        assert all(param.grad is not None for param in params), 'DistributedDataParallel would wait for these'
        torch.optim.SGD(params, lr=0.5).step()
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_lora_on_a_vit_trains_what_its_arithmetic_says():
    model = build()
    names = [
        f'backbone.timm_model.blocks.{i}.{k}' for i in (0, 1) for k in ('attn.qkv', 'attn.proj', 'mlp.fc1', 'mlp.fc2')
    ]
    assert [name for name, _ in adapted_layers(model)] == names
    trained = sum(param.numel() for param in model.parameters() if param.requires_grad)
    # r (in + out) of qkv, proj, fc1, fc2 in two blocks, and the head
    assert trained == 2 * 4 * ((48 + 144) + (48 + 48) + (48 + 192) + (192 + 48)) + 3 * 48 + 3
    assert describe_adapter(model)[0].startswith('8 layers: backbone.timm_model.blocks.*.attn.qkv (2), ')
    moved = step(model)
    assert moved == {name for name in model.state_dict() if is_adapter(name)} | {'head.fc.weight', 'head.fc.bias'}
    assert frozen_by(model, ['backbone.timm_model.norm.weight']) == 'model.adapter'


def test_convolutions_of_a_cnn_without_those_in_groups_or_with_padding_of_their_own():
    model = build(MOBILE, channels=1280)
    layers = dict(adapted_layers(model))
    assert all(type(layer.base_layer) is nn.Conv2d and layer.base_layer.groups == 1 for layer in layers.values())
    assert 'backbone.timm_model.blocks.1.0.conv_pw' in layers and 'backbone.timm_model.conv_stem' not in layers
    norms = [layer for layer in model.train().modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms and not any(layer.training for layer in norms)
    assert not [name for name in step(model) if 'running' in name]


@pytest.mark.parametrize('target, count', [(['qkv'], 2), ('attn', 4), (r'blocks\.1\..*fc\d', 2),
                                           (['auto', 'patch_embed'], 9)])
def test_chosen_layers(target: object, count: int):
    assert len(list(adapted_layers(build(adapter=dict(LORA, target_modules=target))))) == count


@pytest.mark.parametrize('settings', [
    LORA,
    dict(LORA, use_dora=True),
    dict(LORA, use_rslora=True, dropout=0.1),
    dict(type='loha', r=2, alpha=2),
    dict(type='LoKr', r=2),
    dict(type='IA3', feedforward_modules='.*fc2'),
    dict(type='OFT', oft_block_size=8),
    dict(type='HRA', r=2),
    dict(type='MiSS', r=4),
    dict(type='DeLoRA', r=2),
    dict(type='RandLoRA', r=4, alpha=8),
], ids=str)  # yapf: disable
def test_each_tuner_starts_as_the_plain_network_and_merges_into_it(settings: dict, tmp_path):
    """Plain weights load after the adapter is built; DoRA and DeLoRA take their norms."""
    plain = build(adapter=None)
    with torch.no_grad():
        for param in plain.parameters():
            param += 0.05 * torch.randn_like(param)
    torch.save(plain.backbone.state_dict(), tmp_path / 'plain.pth')
    model = build(dict(VIT, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'plain.pth'))), settings)
    model.init_weights()
    assert model.backbone.load_report.loaded == list(plain.backbone.state_dict())
    assert not model.backbone.load_report.missing
    plain.head.load_state_dict(model.head.state_dict())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.eval()(images), plain.eval()(images), rtol=0, atol=1e-5)
    step(model)
    wanted = model.eval()(images)
    assert (wanted - plain(images)).abs().max() > 1e-3
    for _, layer in adapted_layers(model):
        layer.merge(safe_merge=True)
    merged = {name: value for name, value in model.state_dict().items() if not is_adapter(name)}
    plain.load_state_dict(merged)
    torch.testing.assert_close(plain(images), wanted, rtol=1e-5, atol=1e-5)


def test_a_convolution_is_merged_and_kaiming_leaves_the_adapter_at_its_start():
    model, plain = build(RESNET, channels=64), build(RESNET, None, channels=64)
    for one in (model, plain):
        torch.manual_seed(1)
        one.init_weights()
    assert not any(value.any() for name, value in model.state_dict().items() if 'lora_B' in name)
    step(model)
    wanted = model.eval()(images := torch.randn(2, 3, 32, 32))
    for _, layer in adapted_layers(model):
        layer.merge()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if not is_adapter(name)})
    torch.testing.assert_close(plain.eval()(images), wanted, rtol=1e-5, atol=1e-5)


def test_state_dicts_have_plain_names_and_a_model_can_be_copied_and_pickled():
    model, plain = build(), build(adapter=None)
    state = model.state_dict()
    assert [name for name in state if not is_adapter(name)] == list(plain.state_dict())
    assert frozen_base(model).keys() == {name for name in plain.state_dict() if name.startswith('backbone.')}
    assert frozen_base(plain) == {}
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        step(twin)
        twin.load_state_dict(state)
        assert all(torch.equal(value, state[name]) for name, value in twin.state_dict().items())


def test_a_plain_file_is_reported_whole_and_the_adapter_as_new(tmp_path):
    torch.save(build(adapter=None).state_dict(), tmp_path / 'plain.pth')
    report = load_pretrained(build(), tmp_path / 'plain.pth')
    assert (report.missing, report.unexpected, report.fraction) == ([], [], 1.)
    assert 'backbone.timm_model.* (16) not loaded (a new adapter)' in report.summary()
    assert not report.complete


def test_files_of_other_libraries_load_beneath_an_adapter(tmp_path):
    from torchvision.models import mobilenet_v2
    network = mobilenet_v2(width_mult=0.25)
    torch.save(network.state_dict(), tmp_path / 'torchvision.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'torchvision.pth'))
    model = build(dict(type='MobileNetV2', widen_factor=0.25, init_cfg=init_cfg), channels=1280)
    model.init_weights()
    assert not model.backbone.load_report.missing
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(model.eval().backbone(images)[0], network.eval().features(images))


def test_frozen_layers_get_no_adapter():
    model = build(dict(VIT, frozen_stages=1))
    assert {name.split('.')[3] for name, _ in adapted_layers(model)} == {'1'}
    with pytest.raises(
            ConfigError, match='model.adapter: target_modules=.auto. matches no .* freeze and frozen_stages'):
        build(freeze='^backbone')


def test_layers_whose_weights_are_read_by_others_get_none():
    beit = build(dict(type='TIMMBackbone', model_name='beit_base_patch16_224', img_size=32, depth=2, embed_dim=48,
                      num_heads=3))  # yapf: disable
    assert {name.rpartition('.')[2] for name, _ in adapted_layers(beit)} == {'proj', 'fc1', 'fc2'}
    step(beit)


@pytest.mark.parametrize('settings, said', [
    (dict(type='LoRRA'), r"model.adapter.type='LoRRA'; did you mean 'LORA'"),
    (dict(r=8), 'model.adapter.type=None; allowed: .*LORA'),
    (dict(type='AdaLoRA'), "model.adapter.type='AdaLoRA'"),
    (dict(type='LoRA', rank=8), "model.adapter.rank: LoraConfig takes no argument 'rank'"),
    (dict(type='LoRA', r=0), 'model.adapter.r=0: must be at least 1'),
    (dict(type='LoRA', dropout=2), 'model.adapter.lora_dropout=2: must be from 0 to 1'),
    (dict(type='LoRA', target_modules=['qkv', 'qkw']), "target_modules='qkw' .*did you mean 'qkv'"),
    (dict(type='LoRA', target_modules='('), 'not a valid regular expression'),
    (dict(type='LoRA', init_lora_weights='pissa'), "init_lora_weights='pissa': must be one of"),
    (dict(type='LoRA', modules_to_save=['head']), 'model.adapter.modules_to_save'),
    (dict(type='LoRA', bias='all'), "model.adapter.bias='all': must be one of 'none'"),
    (dict(type='IA3'), 'model.adapter: .*feedforward_modules'),
    (dict(type='LoRA', inference_mode=True), 'model.adapter.inference_mode=True'),
    (dict(type='OFT', r=8, oft_block_size=8), 'model.adapter: .*oft_block_size'),
], ids=str)  # yapf: disable
def test_wrong_settings(settings: dict, said: str):
    with pytest.raises(ConfigError, match=said):
        build(adapter=settings)


def test_without_peft(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, 'peft', None)
    with pytest.raises(ConfigError, match='pip install peft'):
        build()


def test_the_name_of_mmpretrain():
    """The end of names or a regular expression for the whole, with a rank and a scale of their own."""
    targets = [dict(type='qkv'), dict(type=r'.*\.0\..*proj', rank=2, alpha=1)]
    model = build(dict(type='LoRAModel', module=VIT, alpha=4, rank=8, drop_rate=0.1, targets=targets), None)
    layers = {name.removeprefix('backbone.timm_model.'): layer for name, layer in adapted_layers(model)}
    scales = {name: (layer.r['default'], layer.scaling['default']) for name, layer in layers.items()}
    assert scales == {'blocks.0.attn.qkv': (8, 0.5), 'blocks.0.attn.proj': (2, 0.5), 'blocks.1.attn.qkv': (8, 0.5)}
    assert step(model) == {name for name in model.state_dict() if is_adapter(name)} | {'head.fc.weight', 'head.fc.bias'}
    with pytest.raises(ConfigError, match='targets: each takes type, rank and alpha, not drop_rate'):
        build(dict(type='LoRAModel', module=VIT, rank=4, targets=[dict(type='qkv', drop_rate=0.1)]), None)
    with pytest.raises(ConfigError, match='model.adapter.r=0'):
        build(dict(type='LoRAModel', module=VIT, targets=targets), None)
