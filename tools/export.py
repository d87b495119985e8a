"""Write a trained model to a file that other programs run: ONNX, torch.export, TorchScript, or safetensors.

Real validation images go through the model and through the file; a file whose scores differ is not kept. Takes
`images` and gives `scores`, probabilities. The metadata in the file says how images are prepared, and the names of the
classes: `python tools/predict.py model.onnx IMAGES` uses it.
"""
import argparse

from ftcls import apis


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'model', metavar='WORK_DIR|CONFIG', help='folder of a run, config file or name of a config; it is run')
    parser.add_argument(
        'checkpoint', nargs='?', metavar='CHECKPOINT', help='default: the best of the run, else its last')
    parser.add_argument(
        '--to',
        required=True,
        metavar='{onnx,torch.export,torchscript,safetensors}',
        help='the format; safetensors has the weights alone')
    parser.add_argument('--dynamic-batch', action='store_true', help='take any number of images at once; default: one')
    parser.add_argument(
        '--with-preprocessing',
        action='store_true',
        help='take uint8 pixels, RGB if data_preprocessor.to_rgb, normalised inside; default: normalised float pixels')
    parser.add_argument('--half', action='store_true', help='store the weights, and compute, in float16')
    parser.add_argument('--out', metavar='FILE', help='default: model.onnx, .pt2, .pt or .safetensors in the work dir')
    parser.add_argument('--images', type=int, metavar='N', help='validation images to compare on (default: all)')
    apis.add_config_options(parser, overrides=False)
    return parser.parse_args()


def main() -> None:
    """Export, and print what was compared."""
    args = parse_args()
    apis.check_writable(out=args.out)
    result = apis.export_model(
        args.model,
        args.checkpoint,
        args.to,
        args.out,
        dynamic_batch=args.dynamic_batch,
        with_preprocessing=args.with_preprocessing,
        half=args.half,
        images=args.images)
    print(f'{result["path"]}: {result["path"].stat().st_size / 2**20:.2f} MiB, from {result["checkpoint"]}')
    print(f'on {result["images"]:,} validation images its scores differ by up to {result["difference"]:.2g}, and '
          f'{result["agreement"]:.2%} of the predictions are the same')


if __name__ == '__main__':
    apis.run_tool(main)
