"""Predict the classes of images, or their masks, with a trained model.

INPUT is any number of files, folders (with their subfolders) and quoted patterns; - reads names from the standard
input, one per line, or separated by NUL (find ... -print0). The first INPUT is a checkpoint if it ends in .pth, .pt,
.th, .ckpt, .bin or .safetensors, or starts with torchvision://. Without one, the best checkpoint of the run is used,
else its last.

Many images are read by worker processes while the model computes. The exit code is 1 if an image could not be
predicted; the other images are still predicted. If the command is stopped, --out has what was predicted until then.
"""
import argparse

from ftcls import apis


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'model',
        metavar='CONFIG_OR_WORK_DIR',
        help='config file, name of a config, folder of a run, or model.onnx, .pt2 or .pt of tools/export.py; a Python '
        'config is run, also that of the folder')
    parser.add_argument(
        'inputs', metavar='INPUT', nargs='+', help='[CHECKPOINT] IMAGES: files, folders, quoted patterns, -')
    parser.add_argument(
        '--topk',
        type=int,
        metavar='K',
        help='classes to list per image (default: 1; with several labels per image: those predicted)')
    parser.add_argument('--out', metavar='FILE', help='also write the predictions to this .json or .csv file')
    parser.add_argument('--device', help='for example cpu or cuda:0; default: the GPU if there is one')
    parser.add_argument(
        '--batch-size',
        type=int,
        default=4,
        metavar='N',
        help='images at once (default: 4); it does not change the predictions')
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='write the images with their predictions to this folder, for a segmentor also the masks')
    apis.add_config_options(parser, overrides=False)
    return parser.parse_args()


def main() -> int:
    """Predict and print a table; return the exit code."""
    args = parse_args()
    apis.check_writable(out=args.out, show_dir=args.show_dir)
    checkpoint, images = apis.split_checkpoint(args.inputs)
    report = apis.predict_files(
        args.model,
        images,
        checkpoint,
        topk=args.topk,
        out=args.out,
        device=args.device,
        batch_size=args.batch_size,
        show_dir=args.show_dir)
    print(report.table())
    return report.exit_code


if __name__ == '__main__':
    apis.run_tool(main)
