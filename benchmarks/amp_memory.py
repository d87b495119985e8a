"""Compare peak memory and images per second of training a U-Net in float32, float16 and bfloat16.

python benchmarks/amp_memory.py                                                    # a GPU, if there is one
python benchmarks/amp_memory.py --batch 4 --size 128 --base-channels 8 --steps 5   # a CPU

Memory on a GPU is the peak of its tensors. On a CPU, which cannot train in float16, it is the growth of the process
during the steps. Each precision has its own process.
"""
import argparse
import multiprocessing
import resource
import time

import torch
from mmengine.optim import OptimWrapper

import ftcls.models  # noqa: F401
from ftcls.engine.optimizers import AmpOptimWrapper
from ftcls.registry import MODELS
from ftcls.structures import DataSample

MIB = 2**20


def _process_memory() -> int:
    """Return the peak memory of this process in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(precision: str, args: argparse.Namespace) -> tuple[float, float]:
    """Return peak memory in MiB and images per second of some training steps."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='ImageSegmentor',
            backbone=dict(type='UNet', base_channels=args.base_channels),
            head=dict(type='PixelHead', loss=dict(type='BCEDiceLoss')),
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3))).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    wrapper = OptimWrapper(optimizer) if precision == 'float32' else AmpOptimWrapper(
        optimizer=optimizer, dtype=precision)
    samples = [DataSample() for _ in range(args.batch)]
    for sample in samples:
        sample.set_field(torch.randint(0, 2, (args.size, args.size), dtype=torch.uint8), 'gt_mask')
    images = torch.randint(0, 256, (args.batch, 3, args.size, args.size), dtype=torch.uint8)
    data = dict(inputs=images, data_samples=samples)

    before = _process_memory()
    model.train_step(data, wrapper)  # warm-up: allocates buffers, selects kernels
    start = _now(device)
    for _ in range(args.steps):
        model.train_step(data, wrapper)
    seconds = _now(device) - start
    peak = torch.cuda.max_memory_allocated() if device == 'cuda' else _process_memory() - before
    return peak / MIB, args.batch * args.steps / seconds


def _now(device: str) -> float:
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--size', type=int, default=256, help='height and width of the images, in pixels')
    parser.add_argument('--base-channels', type=int, default=64)
    parser.add_argument('--steps', type=int, default=20)
    args = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    precisions = ['float32', 'float16', 'bfloat16']
    if not on_gpu:
        precisions.remove('float16')
    elif not torch.cuda.is_bf16_supported(including_emulation=False):
        precisions.remove('bfloat16')
    print(f'U-Net of {args.base_channels} channels, {args.batch} images of {args.size}x{args.size} per step, on '
          f'{torch.cuda.get_device_name() if on_gpu else "the CPU"}, torch {torch.__version__}')
    print(f'{"":10}{"peak MiB":>10}{"ratio":>8}{"images/s":>10}{"ratio":>8}')
    first = None
    for precision in precisions:
        with multiprocessing.get_context('spawn').Pool(1) as pool:
            memory, speed = pool.apply(measure, (precision, args))
        first = first or (memory, speed)
        print(f'{precision:10}{memory:10,.0f}{memory / first[0]:8.2f}{speed:10.2f}{speed / first[1]:8.2f}', flush=True)


if __name__ == '__main__':
    main()
