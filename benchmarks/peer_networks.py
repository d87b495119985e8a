"""Each family's network of MMPretrain, torchvision and timm with random weights: it loads whole and computes the same.

python benchmarks/peer_networks.py --peers PYTHON --families vgg swin

The peer's Python builds its network, gives every weight and statistic a random value, saves a checkpoint as MMPretrain
does, and its features and logits for images of two sizes. Ours loads the file and computes the same. A file of
torchvision or timm is made here, by their own constructors; there the logits are compared. `loaded` counts the tensors
of our network, `left over` those of the file without a place (but numbers of batches and indices that we compute). The
differences are the largest ones, as a part of the largest value. Without `--peers`, the peer's rows are left out.
`--keys FILE` puts the names and shapes of the peer's tensors into a JSON file, for tests without the peer.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 7
LIMIT = 1e-5
GAP = dict(type='GlobalAveragePooling')


@dataclass
class Case:
    """A family's smallest network: the arguments of its backbone, and the same network's names elsewhere."""
    backbone: dict[str, Any]
    channels: int
    sizes: tuple[int, ...] = (64, 96)
    neck: dict[str, Any] | None = field(default_factory=lambda: dict(GAP))
    head: dict[str, Any] | None = None
    # library -> name, arguments, size of the images
    elsewhere: dict[str, tuple[str, dict[str, Any], int]] = field(default_factory=dict)

    def model(self) -> dict[str, Any]:
        """Return the config of the classifier."""
        head = self.head or dict(type='LinearClsHead', num_classes=CLASSES, in_channels=self.channels)
        return deepcopy(dict(type='ImageClassifier', backbone=self.backbone, neck=self.neck, head=head))


def _head(kind: str, channels: int, **options: Any) -> dict[str, Any]:
    return dict(type=kind, num_classes=CLASSES, in_channels=channels, **options)


CASES = {
    'resnet':
    Case(
        dict(type='ResNet', depth=18), 512, elsewhere=dict(torchvision=('resnet18', {}, 64),
                                                           timm=('resnet18', {}, 64))),
    'seresnet':
    Case(dict(type='SEResNet', depth=50), 2048, elsewhere=dict(timm=('seresnet50', {}, 64))),
    'seresnext':
    Case(
        dict(type='SEResNeXt', depth=50, groups=32, width_per_group=4),
        2048,
        elsewhere=dict(timm=('seresnext50_32x4d', {}, 64))),
    'vgg':
    Case(dict(type='VGG', depth=11, norm_cfg=dict(type='BN')), 512),
    'vgg_classes':
    Case(
        dict(type='VGG', depth=11, num_classes=CLASSES),
        CLASSES, (224, ),
        neck=None,
        head=dict(type='ClsHead'),
        elsewhere=dict(torchvision=('vgg11', {}, 224))),
    'mobilenet_v2':
    Case(
        dict(type='MobileNetV2'),
        1280,
        elsewhere=dict(torchvision=('mobilenet_v2', {}, 64), timm=('mobilenetv2_100', {}, 64))),
    'mobilenet_v3':
    Case(
        dict(type='MobileNetV3', arch='small'),
        576,
        head=_head('StackedLinearClsHead', 576, mid_channels=[1024], act_cfg=dict(type='HSwish')),
        elsewhere=dict(torchvision=('mobilenet_v3_small', {}, 64))),
    'efficientnet':
    Case(dict(type='EfficientNet', arch='b0'), 1280, elsewhere=dict(timm=('tf_efficientnet_b0', {}, 64))),
    # without TensorFlow's padding and eps
    'efficientnet_plain':
    Case(
        dict(type='EfficientNet', arch='b0', conv_cfg=None, norm_cfg=dict(type='BN')),
        1280,
        elsewhere=dict(torchvision=('efficientnet_b0', {}, 64), timm=('efficientnet_b0', {}, 64))),
    'efficientnet_v2':
    Case(dict(type='EfficientNetV2', arch='b0'), 1280, elsewhere=dict(timm=('tf_efficientnetv2_b0', {}, 64))),
    'densenet':
    Case(
        dict(type='DenseNet', arch='121'),
        1024,
        elsewhere=dict(torchvision=('densenet121', {}, 64), timm=('densenet121', {}, 64))),
    'regnet':
    Case(dict(type='RegNet', arch='regnetx_400mf'), 384, elsewhere=dict(timm=('regnetx_004', {}, 64))),
    'convnext':
    Case(
        dict(type='ConvNeXt', arch='tiny'),
        768,
        neck=None,
        elsewhere=dict(torchvision=('convnext_tiny', {}, 64), timm=('convnext_tiny', {}, 64))),
    'convnext_v2':
    Case(
        dict(type='ConvNeXt', arch='atto', use_grn=True, layer_scale_init_value=0.),
        320,
        neck=None,
        elsewhere=dict(timm=('convnextv2_atto', {}, 64))),
    'vision_transformer':
    Case(
        dict(type='VisionTransformer', arch='deit-tiny', img_size=64),
        192, (64, 80),
        neck=None,
        head=_head('VisionTransformerClsHead', 192),
        elsewhere=dict(timm=('deit_tiny_patch16_224', dict(img_size=64), 64))),
    'vit_base':
    Case(
        dict(type='VisionTransformer', arch='base', patch_size=32, img_size=64),
        768, (64, 96),
        neck=None,
        head=_head('VisionTransformerClsHead', 768),
        elsewhere=dict(
            torchvision=('vit_b_32', dict(image_size=64), 64), timm=('vit_base_patch32_224', dict(img_size=64), 64))),
    'vit_average':
    Case(
        dict(
            type='VisionTransformer',
            arch='deit-tiny',
            img_size=64,
            out_type='avg_featmap',
            final_norm=False,
            with_cls_token=False,
            layer_scale_init_value=1.),
        192, (64, 80),
        neck=None,
        elsewhere=dict(
            timm=('vit_tiny_patch16_224', dict(img_size=64, global_pool='avg', class_token=False, init_values=1.),
                  64))),
    'swin_transformer':
    Case(
        dict(type='SwinTransformer', arch='tiny'),
        768, (224, 256),
        elsewhere=dict(torchvision=('swin_t', {}, 224), timm=('swin_tiny_patch4_window7_224', {}, 224))),
}


def randomize(model: nn.Module) -> nn.Module:
    """Give every parameter and statistic a random value, so that nothing hides behind a zero or a one; return it."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        leaf = name.rpartition('.')[2]
        if isinstance(tensor, nn.Parameter) and (leaf.endswith('bias') or tensor.ndim == 0):
            value = 0.1 * torch.randn(tensor.shape, generator=generator)
        elif leaf == 'running_mean':
            value = 0.1 * torch.randn(tensor.shape, generator=generator)
        elif leaf == 'running_var' or tensor.ndim == 1 and isinstance(tensor, nn.Parameter):
            value = 0.5 + torch.rand(tensor.shape, generator=generator)
        elif isinstance(tensor, nn.Parameter):
            fan_in = tensor[0].numel() if leaf.endswith('weight') else 4
            value = torch.randn(tensor.shape, generator=generator) / fan_in**0.5
        else:
            continue
        tensor.data.copy_(value)
    return model.eval()


def images(size: int) -> torch.Tensor:
    """Return the same two images for every side, (2, 3, size, size) float32."""
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))


@torch.no_grad()
def outputs(model: nn.Module, sizes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Return the backbone's features and the logits of a classifier, by name and size."""
    results = {}
    for size in sizes:
        feats = model.backbone(images(size))
        for i, feat in enumerate(feats):
            results[f'feature {i}, {size}'] = feat
        logits = model(images(size), mode='tensor')
        results[f'logits, {size}'] = logits[0] if isinstance(logits, (tuple, list)) else logits
    return results


def write_peer(families: list[str], folder: Path) -> None:
    """In the peer's environment: write each family's checkpoint and outputs, or the reason why there are none."""
    from mmpretrain.registry import MODELS
    from mmpretrain.utils import register_all_modules
    register_all_modules()
    for name in families:
        case = CASES[name]
        model = randomize(MODELS.build(case.model()))
        checkpoint = dict(meta=dict(epoch=1), state_dict=model.state_dict())
        torch.save(checkpoint, folder / f'{name}.pth')
        torch.save(outputs(model, case.sizes), folder / f'{name}.outputs')


def elsewhere(library: str, name: str, options: dict[str, Any]) -> nn.Module:
    """Return a library's own classifier, of its own constructor, with random values."""
    if library == 'timm':
        import timm
        return randomize(timm.create_model(name, num_classes=CLASSES, **options))
    from torchvision import models
    return randomize(models.get_model(name, weights=None, num_classes=CLASSES, **options))


def compare(name: str, source: str, file: Path, theirs: dict[str, torch.Tensor], sizes: tuple[int, ...]) -> list[str]:
    """Load a file into our network and return the row of the table."""
    from ftcls.registry import MODELS
    from ftcls.utils.checkpoint.loading import load_pretrained
    model = MODELS.build(CASES[name].model())
    # What is not in the file would else be right by chance.
    for param in model.parameters():
        param.data.fill_(float('nan'))
    report = load_pretrained(model, file, allow_partial=True)
    ours = outputs(model.eval(), sizes)
    worst = {size: 0. for size in sizes}
    for key, value in theirs.items():
        size = int(key.split()[-1])
        difference = (ours[key] - value).abs().max() / value.abs().max()
        worst[size] = max(worst[size], float(difference.nan_to_num(torch.inf)))
    missing = len(report.missing) + len(report.mismatched)
    numbers = [f'{worst[size]:.1e} ({size})' for size in sizes]
    counts = [str(n) for n in (len(report.loaded), missing, len(report.unexpected))]
    verdict = 'yes' if not missing and not report.unexpected and max(worst.values()) <= LIMIT else '**no**'
    return [name, source, *counts, ', '.join(numbers), verdict]


def rows(families: list[str], peers: str | None, folder: Path) -> Iterator[list[str]]:
    """Yield the rows of the table: each family from the peer, torchvision and timm."""
    if peers:
        command = [peers, __file__, '--write', str(folder), '--families', *families]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    for name in families:
        case = CASES[name]
        if peers:
            theirs = torch.load(folder / f'{name}.outputs', weights_only=True)
            yield compare(name, 'mmpretrain', folder / f'{name}.pth', theirs, case.sizes)
        for library, (model_name, options, size) in case.elsewhere.items():
            model = elsewhere(library, model_name, options)
            file = folder / f'{name}.{library}.pth'
            torch.save(model.state_dict(), file)
            with torch.no_grad():
                theirs = {f'logits, {size}': model(images(size))}
            yield compare(name, f'{library} {model_name}', file, theirs, (size, ))


def write_keys(families: list[str], folder: Path, file: Path) -> None:
    """Put the names and shapes of the peer's tensors into a JSON file; other families that it has stay."""
    keys = json.loads(file.read_text()) if file.exists() else {}
    for name in families:
        state = torch.load(folder / f'{name}.pth', weights_only=True)['state_dict']
        keys[name] = {key: list(tensor.shape) for key, tensor in state.items()}
    # one line per family
    lines = [f'{json.dumps(name)}: {json.dumps(keys[name], separators=(",", ":"))}' for name in sorted(keys)]
    file.write_text('{\n' + ',\n'.join(lines) + '\n}\n')


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--peers', metavar='PYTHON', help="the Python of the peer's environment")
    parser.add_argument('--families', nargs='+', choices=list(CASES), default=list(CASES))
    parser.add_argument('--quick', action='store_true', help='the smallest network only')
    parser.add_argument('--keys', type=Path, metavar='FILE', help="add the peer's names and shapes to this file")
    parser.add_argument('--write', type=Path, metavar='FOLDER', help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.write:
        write_peer(args.families, args.write)
        return
    families = ['mobilenet_v2'] if args.quick else args.families
    heads = ['family', 'file of', 'loaded', 'missing', 'left over', 'largest difference (side of images)', 'same']
    print('| ' + ' | '.join(heads) + ' |\n' + '| --- ' * len(heads) + '|', flush=True)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(families, args.peers, Path(folder)):
            print('| ' + ' | '.join(row) + ' |', flush=True)
            failed = failed or row[-1] != 'yes'
        if args.keys and args.peers:
            write_keys(families, Path(folder), args.keys)
    sys.exit(int(failed))


if __name__ == '__main__':
    main()
