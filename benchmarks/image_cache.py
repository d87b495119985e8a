"""Images per CPU second from the second epoch on, with the cache of decoded images and without, beside the peers.

python benchmarks/image_cache.py --data /path/to/hymenoptera --peers PYTHON

Random resized crop to 224, flip and pack of the photos of hymenoptera (mostly 500x375), with one thread. 'opencv'
resizes as cv2 does, 'antialiased' as Pillow does. The peers decode each time; their fastest usual loaders are taken.
"""
import argparse
import os
import shutil
import tempfile
import time

import decoding
import side_by_side

NAME = 'hymenoptera'
ALL_FILES = decoding.files
decoding.files = lambda args: {NAME: ALL_FILES(args)[NAME]}


def ours(args: argparse.Namespace, **cache: object) -> side_by_side.Result:
    """Measure a dataset of ftcls, without a cache or with this one."""
    import cv2
    from mmengine.registry import init_default_scope

    from ftcls.datasets import CustomDataset
    cv2.setNumThreads(1)
    init_default_scope('ftcls')
    folder, variants, built = tempfile.mkdtemp(), {}, {}
    if cache.get('type') == 'disk':
        cache['folder'] = folder
    for variant, backend in {'opencv': 'cv2', 'antialiased': 'pillow'}.items():
        pipeline = [
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale=224, backend=backend),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackInputs')
        ]
        dataset = CustomDataset(data_root=args.data, data_prefix='train', pipeline=pipeline, cache=cache or None)
        number = {dataset.get_data_info(index)['img_path']: index for index in range(len(dataset))}
        start = time.process_time()
        dataset.build_cache()
        if cache and not built:
            built = {
                f'{NAME}, to fill it, CPU s': time.process_time() - start,
                f'{NAME}, its size, MiB': dataset.cached.file.data.size / 2**20
            }
        variants[variant] = lambda path, dataset=dataset, number=number: dataset[number[path]]
    result = decoding.measure(args, variants)
    shutil.rmtree(folder)
    return result | built


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', default=f'{os.environ.get("FTCLS_REAL_DATA", "data")}/hymenoptera')
    sides = {
        'ours': lambda args: ours(args, type='disk', short_side=256),
        'ours, ram': lambda args: ours(args, type='ram'),
        'ours, no cache': ours,
        'mmpretrain': decoding.mmpretrain,
        'torchvision': decoding.torchvision,
        'timm': decoding.timm
    }
    side_by_side.main('image_cache', sides, parser)
