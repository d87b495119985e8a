"""Write the weights of a run, its config and a model card into a folder to share.

The folder loads as it is: `python tools/predict.py FOLDER IMAGES`, and it can be uploaded to the Hugging Face Hub:
`hf upload USER/NAME FOLDER`. The weights are those that were validated (the moving average, if there is one); an
adapter is merged into them; the optimizer and the rest of the training are left out. The name of the file has the
beginning of its SHA-256, which torch.hub checks.
"""
import argparse

from ftcls import apis


def main() -> None:
    """Publish, and print the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', metavar='WORK_DIR|CHECKPOINT', help='the run (its best checkpoint), or a checkpoint')
    parser.add_argument('--out', metavar='DIR', help='the folder, new or empty; default: WORK_DIR/published')
    parser.add_argument(
        '--format',
        nargs='+',
        default=['ftcls'],
        choices=('ftcls', 'mmpretrain', 'torchvision', 'timm'),
        help='who must be able to load the weights besides ftcls: mmpretrain, if it has the same names of tensors; '
        'torchvision and timm get a further file, for a network of theirs that gives the same logits for validation '
        'images')
    parser.add_argument(
        '--arch', metavar='NAME', help='the name of the network in torchvision or timm; default: it is looked for')
    apis.add_config_options(parser, overrides=False)
    args = parser.parse_args()
    apis.check_writable(out=args.out)
    print(apis.publish(args.source, args.out, args.format, args.arch))


if __name__ == '__main__':
    apis.run_tool(main)
