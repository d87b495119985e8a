"""Images per CPU second from JPEG files to tensors: read, decode, random resized crop to 224, flip, pack.

python benchmarks/decoding.py --data /path/to/hymenoptera --peers PYTHON

On the photos of hymenoptera (mostly 500x375), and on 2000x1500 photos that are made of some of them. 'opencv' resizes
as cv2 does, 'antialiased' as Pillow does; timm has only the second. Each side uses one thread and its fastest usual
loader: mmpretrain OpenCV, torchvision its own decoder, timm Pillow. 'decoded whole' is OpenCV's decoder alone: what
decodes the whole image by it cannot be faster.
"""
import argparse
import glob
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import side_by_side

SIZE = 224
LARGE = (2000, 1500)


def files(args: argparse.Namespace) -> dict[str, list[str]]:
    """Return the photos of each set; the large ones are made once."""
    small = sorted(glob.glob(f'{args.data}/train/*/*.jpg'))[::2]
    folder = Path(tempfile.gettempdir()) / 'ftcls_photos_2000x1500'
    folder.mkdir(exist_ok=True)
    large = []
    for number, path in enumerate(small[:2 if args.quick else 40]):
        large.append(f'{folder}/{number}.jpg')
        if not os.path.exists(large[-1]):
            from PIL import Image
            Image.open(path).convert('RGB').resize(LARGE, Image.Resampling.BICUBIC).save(large[-1], quality=90)
    return {'hymenoptera': small[:4] if args.quick else small, '2000x1500': large}


def measure(args: argparse.Namespace, variants: dict[str, Callable[[str], object]]) -> side_by_side.Result:
    """Return the images per CPU second of each variant on each set: the median of some passes."""
    import numpy as np
    import torch
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    # ours asks glibc to keep large blocks, see ftcls/datasets/transforms/decoding.py; so that the ratios show the
    # rest, the others get the same
    np.empty(31 << 20, np.uint8)
    result = {}
    for name, paths in files(args).items():
        for variant, load in variants.items():
            load(paths[0])
            rates = []
            for _ in range(1 if args.quick else 5):
                start = time.process_time()
                for path in paths:
                    load(path)
                rates.append(len(paths) / (time.process_time() - start))
            result[f'{name}, {variant}, images/s'] = statistics.median(rates)
    return result


def ours(args: argparse.Namespace) -> side_by_side.Result:
    """Measure the steps of a pipeline of ftcls."""
    import cv2
    import numpy as np

    from ftcls.datasets.transforms import LoadImageFromFile, PackInputs, RandomFlip, RandomResizedCrop
    from ftcls.datasets.transforms.loading import Pipeline
    cv2.setNumThreads(1)
    variants = {'decoded whole': lambda path: cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)}
    for variant, backend in {'opencv': 'cv2', 'antialiased': 'pillow'}.items():
        steps = Pipeline([LoadImageFromFile(), RandomResizedCrop(SIZE, backend=backend), RandomFlip(), PackInputs()])
        variants[variant] = lambda path, steps=steps: steps(dict(img_path=path, gt_label=0))
    return measure(args, variants)


def mmpretrain(args: argparse.Namespace) -> side_by_side.Result:
    """Measure the same steps of mmpretrain."""
    import cv2
    from mmcv.transforms import Compose, LoadImageFromFile, RandomFlip
    from mmpretrain.datasets.transforms import PackInputs, RandomResizedCrop
    cv2.setNumThreads(1)
    variants = {}
    for variant, backend in {'opencv': 'cv2', 'antialiased': 'pillow'}.items():
        steps = Compose([
            LoadImageFromFile(),
            RandomResizedCrop(SIZE, backend=backend),
            RandomFlip(prob=0.5, direction='horizontal'),
            PackInputs()
        ])
        variants[variant] = lambda path, steps=steps: steps(dict(img_path=path, gt_label=0))
    return measure(args, variants)


def torchvision(args: argparse.Namespace) -> side_by_side.Result:
    """Measure torchvision's decoder and its transforms of tensors."""
    from torchvision.io import decode_image
    from torchvision.transforms import v2
    variants = {}
    for variant, antialias in {'opencv': False, 'antialiased': True}.items():
        steps = v2.Compose([v2.RandomResizedCrop(SIZE, antialias=antialias), v2.RandomHorizontalFlip()])
        variants[variant] = lambda path, steps=steps: steps(decode_image(path, mode='RGB')).contiguous()
    return measure(args, variants)


def timm(args: argparse.Namespace) -> side_by_side.Result:
    """Measure timm's transforms, without jitter of colours, as its prefetcher takes them."""
    from PIL import Image
    from timm.data import create_transform
    steps = create_transform(
        SIZE, is_training=True, use_prefetcher=True, color_jitter=None, auto_augment=None, interpolation='bilinear')
    return measure(args, {'antialiased': lambda path: steps(Image.open(path).convert('RGB'))})


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', default=f'{os.environ.get("FTCLS_REAL_DATA", "data")}/hymenoptera')
    side_by_side.main('loading', dict(ours=ours, mmpretrain=mmpretrain, torchvision=torchvision, timm=timm), parser)
