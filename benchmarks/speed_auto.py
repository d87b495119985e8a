"""What `speed` chooses for six models, with the timings that it saw, beside float32 in a longer bare training loop.

python benchmarks/speed_auto.py                        # 3 minutes
python benchmarks/speed_auto.py --models ResNet-18     # one of them

A choice is right if `ours` (the chosen form) is no slower than `ours float32`. The images are smooth noise, 224 x 224
or 32 x 32; EfficientNet-lite0 has its real weights if FTCLS_REAL_DATA has them: with random ones bfloat16 is not exact.
"""
import argparse
import os
import time
from pathlib import Path
from typing import Any

from side_by_side import ROOT, main

WEIGHTS = Path(os.environ.get('FTCLS_REAL_DATA',
                              ROOT.parent / 'shared' / 'data')) / ('tf_efficientnet_lite0-57934424.safetensors')
_POOLED = dict(neck=dict(type='GlobalAveragePooling'))
# model without its head, channels of the head, side of the images, images per step
MODELS: dict[str, tuple[dict, int, int, int]] = {
    'ResNet-18': (dict(backbone=dict(type='ResNet', depth=18), **_POOLED), 512, 224, 16),
    'EfficientNet-lite0': (dict(backbone=dict(type='TIMMBackbone', model_name='tf_efficientnet_lite0'),
                                **_POOLED), 1280, 224, 16),
    'ViT-tiny': (dict(backbone=dict(type='TIMMBackbone', model_name='vit_tiny_patch16_224'), **_POOLED), 192, 224, 16),
    'CifarResNet-20': (dict(backbone=dict(type='CifarResNet', depth=20), **_POOLED), 64, 32, 128),
    'MobileNetV3-small': (dict(backbone=dict(type='TorchvisionBackbone', model_name='mobilenet_v3_small'),
                               **_POOLED), 576, 224, 16),
    'LeNet5': (dict(backbone=dict(type='LeNet5'), **_POOLED), 120, 32, 16),
}


def build(name: str) -> tuple[Any, list[dict]]:
    """Return a model in training mode, and packed samples for it."""
    import torch
    from mmengine.device import get_device
    from torch.nn.functional import interpolate

    import ftcls.models  # noqa: F401
    from ftcls.registry import MODELS as REGISTRY
    from ftcls.structures import DataSample
    from ftcls.utils.checkpoint.loading import load_pretrained
    parts, channels, side, _ = MODELS[name]
    colors = 1 if name == 'LeNet5' else 3
    torch.manual_seed(0)
    head = dict(type='LinearClsHead', num_classes=10, in_channels=channels)
    preprocessor = dict(mean=[127.5], std=[64.])
    model = REGISTRY.build(dict(type='ImageClassifier', head=head, data_preprocessor=preprocessor, **parts))
    if name == 'EfficientNet-lite0' and WEIGHTS.is_file():
        load_pretrained(model.backbone.timm_model, str(WEIGHTS))
    photos = interpolate(torch.rand(8, colors, 8, 8) * 255, side, mode='bilinear').byte()
    samples = [dict(inputs=photo, data_samples=DataSample().set_gt_label(i)) for i, photo in enumerate(photos)]
    return model.to(get_device()).train(), samples


def train(model: Any, shape: tuple[int, ...], seconds: float) -> float:
    """Return images per second of a bare training loop on a batch (N, C, H, W) in memory."""
    import torch
    from torch.nn.functional import cross_entropy
    device = next(model.parameters()).device
    photos, labels = torch.rand(shape, device=device), torch.arange(shape[0], device=device) % 10
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    done, begin = 0, 0.
    while done < 2 or time.perf_counter() - begin < seconds:
        if done == 1:  # the first step takes longer
            begin = time.perf_counter()
        optimizer.zero_grad()
        loss = cross_entropy(model(photos).float(), labels)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for a GPU
        done += 1
    return (done - 1) * shape[0] / (time.perf_counter() - begin)


def measure(args: argparse.Namespace, choose: bool) -> dict[str, Any]:
    """Return images per second of each model, in the form that is chosen or in float32."""
    import logging

    from mmengine.dataset import pseudo_collate
    logging.disable(logging.WARNING)
    from ftcls.engine.hooks.speed import Layout, Trial
    layouts = [Layout(), Layout(channels_last=True), Layout(amp=True), Layout(channels_last=True, amp=True)]
    found: dict[str, Any] = {}
    for name in ['LeNet5'] if args.quick else args.models:
        images = MODELS[name][-1]
        model, samples = build(name)
        layout = Layout()
        if choose:
            trial = Trial(model, samples, pseudo_collate)
            layout, seen = trial.compare(layouts, left=10**9, batch_size=images)
            layout.apply(model)
        found[f'{name}, images/s'] = train(model, (images, *samples[0]['inputs'].shape), 0. if args.quick else 2.)
        if choose:
            found[f'{name}, chosen'] = f'{layout}; {seen}'
    return found


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """Decide, then train so."""
    return measure(args, choose=True)


def plain(args: argparse.Namespace) -> dict[str, Any]:
    """Train in float32."""
    return measure(args, choose=False)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--models', nargs='+', choices=list(MODELS), default=list(MODELS))
    main('speed', {'ours': ours, 'ours float32': plain}, parser)
