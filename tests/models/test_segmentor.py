"""ImageSegmentor, UNet, UNetDecoder, PixelHead: sizes, modes, public files, any encoder, freezing, half precision."""
import copy
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from torchvision.models import resnet18

import ftcls.models  # noqa: F401
from ftcls.apis import list_parameters
from ftcls.engine.optimizers import AmpOptimWrapper
from ftcls.models import ImageSegmentor, UNet
from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError
from ftcls.utils.checkpoint.loading import load_pretrained

CONFIG = dict(type='ImageSegmentor', backbone=dict(type='UNet', base_channels=4), head=dict(type='PixelHead'))
LOSSES = [dict(type='BCEWithLogitsLoss'), dict(type='DiceLoss', loss_weight=2.0)]


def build(**changes: object) -> ImageSegmentor:
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy(dict(CONFIG, **changes)))


def labelled(*shapes: tuple[int, int]) -> list[DataSample]:
    """Return samples whose left half is foreground."""
    samples = []
    for height, width in shapes:
        mask = torch.zeros(height, width, dtype=torch.uint8)
        mask[:, :width // 2] = 1
        sample = DataSample(metainfo=dict(img_shape=(height, width)))
        sample.set_field(mask, 'gt_mask')
        samples.append(sample)
    return samples


def public_names(bilinear: bool) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a public Carvana file with ``base_channels=4``, written out by hand."""
    found: dict[str, tuple[int, ...]] = OrderedDict()

    def double_conv(prefix: str, before: int, middle: int, after: int) -> None:
        for index, (cin, cout) in zip((0, 3), ((before, middle), (middle, after))):
            found[f'{prefix}.double_conv.{index}.weight'] = (cout, cin, 3, 3)
            for name in ('weight', 'bias', 'running_mean', 'running_var'):
                found[f'{prefix}.double_conv.{index + 1}.{name}'] = (cout, )
            found[f'{prefix}.double_conv.{index + 1}.num_batches_tracked'] = ()

    half = 2 if bilinear else 1
    double_conv('inc', 3, 4, 4)
    for k, (before, after) in enumerate(((4, 8), (8, 16), (16, 32), (32, 64 // half)), start=1):
        double_conv(f'down{k}.maxpool_conv.1', before, after, after)
    for k, (before, after) in enumerate(((64, 32 // half), (32, 16 // half), (16, 8 // half), (8, 4)), start=1):
        if not bilinear:
            found[f'up{k}.up.weight'], found[f'up{k}.up.bias'] = (before, before // 2, 2, 2), (before // 2, )
        double_conv(f'up{k}.conv', before, before // 2 if bilinear else after, after)
    return found


def public_file(path: Path, bilinear: bool = False, classes: int = 1) -> dict[str, torch.Tensor]:
    gen = torch.Generator().manual_seed(3)
    shapes = {**public_names(bilinear), 'outc.conv.weight': (classes, 4, 1, 1), 'outc.conv.bias': (classes, )}
    state = {name: torch.rand(shape, generator=gen) if shape else torch.tensor(7) for name, shape in shapes.items()}
    # what newer files hold beside the tensors
    torch.save({**state, 'mask_values': [0, 255]}, path)
    return state


@pytest.mark.parametrize('bilinear', [False, True])
def test_public_file_loads_whole(tmp_path: Path, bilinear: bool) -> None:
    state = public_file(tmp_path / 'unet.pth', bilinear)
    backbone = dict(type='UNet', base_channels=4, bilinear=bilinear)
    own = MODELS.build(backbone).state_dict()
    assert {k: tuple(v.shape) for k, v in own.items()} == public_names(bilinear)

    model = build(backbone=backbone, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'unet.pth')))
    model.init_weights()
    report = model.load_report
    assert report.complete and not report.missing and not report.unexpected and len(report.loaded) == len(state)
    for name, tensor in state.items():
        key = f'head.{name}' if name.startswith('outc') else f'backbone.{name}'
        assert torch.equal(model.state_dict()[key], tensor)
    # the backbone alone
    report = load_pretrained(MODELS.build(backbone), tmp_path / 'unet.pth')
    assert report.complete and not report.unexpected and set(report.expected) == {'outc.conv.weight', 'outc.conv.bias'}


def test_file_of_two_classes(tmp_path: Path) -> None:
    """The softmax over two channels is the sigmoid of their difference; a head of one channel starts anew."""
    state = public_file(tmp_path / 'unet.pth', classes=2)
    model = build(head=dict(type='PixelHead', out_channels=2)).eval()
    assert load_pretrained(model, tmp_path / 'unet.pth').complete
    x = torch.rand(1, 3, 32, 32)
    feats = model.backbone(x)[0]
    wanted = F.conv2d(feats, state['outc.conv.weight'], state['outc.conv.bias']).softmax(1)[:, 1]
    torch.testing.assert_close(model(x, mode='predict')[0].pred_prob[None], wanted)
    report = load_pretrained(build(), tmp_path / 'unet.pth')
    assert not report.complete and 'a classifier of another size' in report.expected['head.outc.conv.weight']


def test_older_file_with_biases() -> None:
    names = UNet(base_channels=4, conv_bias=True).state_dict()
    assert 'inc.double_conv.0.bias' in names and 'up4.conv.double_conv.3.bias' in names


@pytest.mark.parametrize('size', [(32, 48), (50, 70), (5, 3)])
def test_any_size(size: tuple[int, int]) -> None:
    model = build().eval()
    x = torch.rand(2, 3, *size)
    logits = model(x)
    assert logits.shape == (2, 1, *size)
    below, right = -size[0] % 16, -size[1] % 16
    padded = F.pad(x, (0, right, 0, below), mode='replicate')
    assert torch.equal(logits, model(padded)[..., :size[0], :size[1]])
    with pytest.raises(DataError, match='multiples of 16, got 50x70: use 64x80'):
        model.backbone(torch.rand(1, 3, 50, 70))


def test_modes() -> None:
    model = build(head=dict(type='PixelHead', loss=LOSSES, threshold=0.4)).eval()
    x, samples = torch.rand(2, 3, 32, 32), labelled((32, 32), (32, 32))
    logits = model(x)
    losses = model(x, samples, mode='loss')
    truth = torch.stack([s.gt_mask for s in samples])[:, None].float()
    prob = logits.sigmoid()
    torch.testing.assert_close(losses['loss_bce'], F.binary_cross_entropy_with_logits(logits, truth))
    dice = 1 - (2 * (prob * truth).sum() + 1) / (prob.sum() + truth.sum() + 1)
    torch.testing.assert_close(losses['loss_dice'], 2 * dice)
    assert list(losses) == ['loss_bce', 'loss_dice']

    out = model(x, samples, mode='predict')
    assert all(a is b for a, b in zip(out, samples))
    for sample, image in zip(out, prob[:, 0]):
        torch.testing.assert_close(sample.pred_prob, image)
        assert sample.pred_mask.dtype == torch.uint8 and torch.equal(sample.pred_mask, (image > 0.4).byte())
    # each sample's own loss, however they are batched
    alone = [model(x[i:i + 1], samples[i:i + 1], mode='loss') for i in range(2)]
    torch.testing.assert_close(
        torch.stack([s.loss for s in out]), torch.stack([a['loss_bce'] + a['loss_dice'] for a in alone]))
    assert 'loss' not in model(x, mode='predict')[0]
    assert model.extract_feat(x)[0].shape == (2, 4, 32, 32)
    with pytest.raises(ConfigError, match="stage='neck'"):
        model.extract_feat(x, stage='neck')
    with pytest.raises(ConfigError, match="no head: add head=dict\\(type='PixelHead'"):
        build(head=None)(x, samples, mode='loss')


def test_images_of_several_sizes() -> None:
    """What the preprocessor pads counts neither in the loss nor in the prediction."""
    model = build(data_preprocessor=dict(pad_size_divisor=64, mean=[127.] * 3, std=[50.] * 3)).eval()
    shapes = [(20, 40), (33, 30)]
    images = [torch.randint(0, 256, (3, *shape), dtype=torch.uint8) for shape in shapes]
    data = model.data_preprocessor(dict(inputs=images, data_samples=labelled(*shapes)))
    assert data['inputs'].shape == (2, 3, 64, 64)
    out = model(**data, mode='predict')
    assert [tuple(s.pred_mask.shape) for s in out] == shapes == [tuple(s.pred_prob.shape) for s in out]
    logits = model(data['inputs'])
    for i, (sample, (height, width)) in enumerate(zip(out, shapes)):
        wanted = F.binary_cross_entropy_with_logits(logits[i, 0, :height, :width], sample.gt_mask.float())
        torch.testing.assert_close(sample.loss, wanted)


ENCODERS = {
    'resnet': dict(type='ResNet', depth=18, base_channels=4, stem_channels=8, out_indices=(0, 1, 2, 3)),
    'torchvision': dict(type='TorchvisionBackbone', model_name='resnet18', out_indices=(0, 1, 2, 3)),
    'timm': dict(type='TIMMBackbone', model_name='resnet18', features_only=True),
    'two maps': dict(type='ResNet', depth=18, base_channels=4, stem_channels=8, out_indices=(0, 3)),
}


@pytest.mark.parametrize('name', ENCODERS)
def test_any_encoder(name: str) -> None:
    if name == 'timm':
        pytest.importorskip('timm')
    model = build(
        backbone=ENCODERS[name],
        decoder=dict(type='UNetDecoder', channels=(16, 8, 8) if name == 'two maps' else (16, 8, 8, 8, 4)))
    x = torch.rand(2, 3, 70, 64)
    assert model(x).shape == (2, 1, 70, 64)
    sum(model(x, labelled((70, 64), (70, 64)), mode='loss').values()).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]


def test_pretrained_encoder(tmp_path: Path) -> None:
    torch.save(resnet18(weights=None).state_dict(), tmp_path / 'resnet18.pth')
    encoder = dict(
        type='ResNet',
        depth=18,
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'resnet18.pth')))
    model = build(backbone=encoder, decoder=dict(type='UNetDecoder'))
    model.init_weights()
    report = model.backbone.load_report
    assert report.complete and not report.missing and set(report.expected) == {'fc.weight', 'fc.bias'}
    # the finest map is a quarter, and two steps more lead back to the image
    assert model.decoder(model.backbone(torch.rand(1, 3, 64, 64)))[0].shape == (1, 16, 64, 64)


def steps(model: ImageSegmentor, wrapper: type, count: int = 3, **options: object) -> list[float]:
    torch.manual_seed(1)
    optim = wrapper(optimizer=torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01), **options)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    images[..., :16] //= 4
    model.train()
    return [
        model.train_step(dict(inputs=images, data_samples=labelled(*[(32, 32)] * 4)), optim)['loss'].item()
        for _ in range(count)
    ]


def test_frozen_outc_stays_bitwise() -> None:
    model = build(freeze=['outc'], data_preprocessor=dict(mean=[127.] * 3, std=[60.] * 3))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    steps(model, OptimWrapper)
    unchanged = {n for n, p in model.named_parameters() if torch.equal(p, before[n])}
    assert unchanged == {'head.outc.conv.weight', 'head.outc.conv.bias'}


def test_parameter_list_shows_frozen_outc() -> None:
    cfg = Config(
        dict(
            model=dict(CONFIG, freeze=['outc']),
            train_dataloader=dict(
                batch_size=2,
                dataset=dict(type='CustomDataset', data_root='nowhere', pipeline=[dict(type='PackInputs')])),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.001, weight_decay=1e-8))))
    infos, _ = list_parameters(cfg)
    assert {info.name for info in infos if not info.trained} == {'head.outc.conv.weight', 'head.outc.conv.bias'}
    assert len(infos) > 50 and all(info.lr == 0.001 for info in infos if info.trained)


@pytest.mark.parametrize('loss', [LOSSES, dict(type='FocalLoss'), dict(type='DiceLoss', per_image=True)])
def test_bfloat16_learns_as_float32(loss: object) -> None:
    options = dict(head=dict(type='PixelHead', loss=loss), data_preprocessor=dict(mean=[127.] * 3, std=[60.] * 3))
    full = steps(build(**options), OptimWrapper, 8)
    half = steps(build(**options), AmpOptimWrapper, 8, dtype='bfloat16')
    assert half[-1] < 0.8 * half[0] and np.allclose(full, half, rtol=0.1)


def test_parts_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r'model.head.in_channels=8, but UNet gives 4 channels: set'):
        build(head=dict(type='PixelHead', in_channels=8))
    with pytest.raises(ConfigError, match=r'model.decoder: UNetDecoder: in_channels=\(4,\).*out_indices'):
        build(decoder=dict(type='UNetDecoder'))
    with pytest.raises(ConfigError, match='3 steps join the 4 maps of the backbone'):
        build(backbone=ENCODERS['resnet'], decoder=dict(type='UNetDecoder', channels=(8, 8)))
    with pytest.raises(ConfigError, match='batch augmentations are for classifiers'):
        build(train_cfg=dict(augments=dict(type='Mixup', alpha=1.)))
    with pytest.raises(ConfigError, match=r"model.freeze: 'outk' matches no parameter; did you mean 'outc'"):
        build(freeze=['outk'])
    for wrong, text in ((dict(out_channels=3), 'out_channels=3.*1, 2'), (dict(threshold=1.),
                                                                         r'threshold=1\.0.*below 1'),
                        (dict(loss=[]), 'at least one'), (dict(in_channels=None), 'in_channels is missing')):
        with pytest.raises(ConfigError, match=text):
            MODELS.build({'type': 'PixelHead', 'in_channels': 4, **wrong})
    with pytest.raises(ConfigError, match='num_stages=0'):
        MODELS.build(dict(type='UNet', num_stages=0))
    with pytest.raises(ConfigError, match='returns .* needs feature maps'):
        build(backbone=dict(type='TorchvisionBackbone', model_name='mobilenet_v2'))(torch.rand(2, 3, 32, 32))


def test_wrong_masks() -> None:
    model, x = build(), torch.rand(1, 3, 32, 32)
    with pytest.raises(DataError, match='cat.png has no gt_mask: .*LoadAnnotations'):
        model(x, [DataSample(metainfo=dict(img_path='cat.png'))], mode='loss')
    sample = labelled((16, 32))[0]
    sample.set_metainfo(dict(img_shape=(32, 32), img_path='cat.png'))
    with pytest.raises(DataError, match='mask of cat.png has size 16x32, its image after the pipeline 32x32'):
        model(x, [sample], mode='loss')


def test_no_averaging_of_scores() -> None:
    tta = MODELS.build(dict(type='AverageClsScoreTTA', module=build()))
    with pytest.raises(ConfigError, match='--tta averages the scores of a classifier, and ImageSegmentor gives none'):
        tta.merge_preds([labelled((4, 4))])
