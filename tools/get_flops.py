"""Count parameters, FLOPs and activations of a model for one image, and measure its images per second.

A multiply-add is one FLOP, as in mmpretrain. The head and the products of attention are counted here.
"""
import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

from ftcls import apis


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, name of a config, or folder of a run')
    parser.add_argument(
        '--shape', type=int, nargs='+', default=[224, 224], help='height and width, or one for both (default: 224 224)')
    parser.add_argument('--batch-size', type=int, default=1, help='images at once in the measurement (default: 1)')
    parser.add_argument('--device', help='for example cpu or cuda:0; default: the GPU if there is one')
    parser.add_argument('--table', action='store_true', help='also print the numbers of each layer')
    apis.add_config_options(parser)
    args = parser.parse_args()
    if len(args.shape) > 2 or min(*args.shape, args.batch_size) < 1:
        parser.error(f'--shape {args.shape}: must be one or two numbers; all of at least 1, also --batch-size')
    return args


def _attention(inputs: list, outputs: list) -> int:
    """Count the products of queries with keys, and of the weights with values, which MMEngine leaves out."""
    from mmengine.analysis.jit_handles import get_shape
    queries, keys = get_shape(inputs[0]), get_shape(inputs[1])
    return 2 * math.prod(queries) * keys[-2]


def _seconds(model: Callable, images: Any) -> float:
    """Return the median time of a batch, of those of one second."""
    import torch
    times = []
    with torch.no_grad():
        while sum(times) < 1:
            began = time.perf_counter()
            model(images)
            if images.device.type == 'cuda':
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Build the model, count, measure, print."""
    args = parse_args()
    import torch
    from mmengine.analysis import ActivationAnalyzer, FlopAnalyzer, parameter_count
    from mmengine.analysis.print_helper import complexity_stats_table
    cfg, _ = apis.resolve_model(args.config, False, args.cfg_options)
    model = apis.get_model(cfg, False, args.device)
    first = next(layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d))
    device = first.weight.device
    images = torch.rand(args.batch_size, first.in_channels, args.shape[0], args.shape[-1], device=device)
    flops, activations = FlopAnalyzer(model, images[:1]), ActivationAnalyzer(model, images[:1])
    flops.set_op_handle('aten::scaled_dot_product_attention', _attention)
    for one in (flops, activations):
        one.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    if args.table:
        print(complexity_stats_table(flops, activations=activations, show_param_shapes=True))
    rate = args.batch_size / _seconds(model, images)
    print(f'Input shape: {tuple(images.shape[1:])}')
    print(f'Flops:       {flops.total() / 1e9:,.3f} G multiply-adds')
    print(f'Params:      {parameter_count(model)[""] / 1e6:,.3f} M')
    print(f'Activation:  {activations.total() / 1e6:,.3f} M')
    print(f'Speed:       {rate:,.1f} images/s on {device.type}, '
          f'{args.batch_size} at once, {torch.get_num_threads()} threads')


if __name__ == '__main__':
    apis.run_tool(main)
