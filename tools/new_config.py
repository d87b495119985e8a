"""Report on a folder of images, and write a config that fine-tunes a network on them, each value with its reason."""
import argparse
import re

from ftcls import apis


def main() -> None:
    """Write the config, and print what was found and chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--data',
        required=True,
        help='folder that holds class folders, or train and perhaps val and test, '
        'or images and masks')
    parser.add_argument('--out', help='the config to write; default: <name of the folder>.py')
    parser.add_argument(
        '--backbone',
        help='resnet18 … resnet152, resnet18_cifar, cifar_resnet20 … 110, torchvision:<name>, timm:<name>, '
        'or the name alone; default: resnet50 on a GPU, resnet18 on a CPU, cifar_resnet20 for tiny images')
    parser.add_argument(
        '--weights', help='a checkpoint instead of the published one, for example on a machine without network')
    parser.add_argument('--seed', type=int, default=0, help='seed of the run, and of the drawn split if there is one')
    parser.add_argument(
        '--device', choices=('cpu', 'cuda'), help='device of the training; default: that of this machine')
    parser.add_argument(
        '--check',
        type=int,
        default=20_000,
        help='images per split that are decoded, besides the headers (default: 20000)')
    parser.add_argument(
        '--masks',
        nargs='+',
        default=(),
        metavar='NAME=VALUE',
        help='what masks mean, for example foreground=1 or threshold=127')
    parser.add_argument(
        '--time', help='how long the training may take on this machine, for example 5min; a few steps are timed')
    parser._negative_number_matcher = re.compile(r'-\d')  # -5min is no option; its refusal says what is allowed
    args = parser.parse_args()
    done = apis.new_config(
        args.data,
        args.out,
        args.backbone,
        weights=args.weights,
        seed=args.seed,
        device=args.device,
        check=args.check,
        masks=args.masks,
        time=args.time)
    print('\n'.join(done.describe()))


if __name__ == '__main__':
    apis.run_tool(main)
