"""Draw which parts of an image speak for a class, beside the image as the network gets it (Grad-CAM and others).

It works for convolutional networks, ViT and Swin without further options.
"""
import argparse
from pathlib import Path

from ftcls import apis


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('img', help='image file')
    parser.add_argument('config', help='config file, name of a config, or folder of a run')
    parser.add_argument(
        'checkpoint', nargs='?', help='file or URL; default: the best checkpoint of the run, else its last')
    parser.add_argument(
        '--target-layers',
        nargs='+',
        default=[],
        metavar='NAME',
        help='layers whose maps are averaged; default: the last block or norm that still depends on the position')
    parser.add_argument('--preview-model', action='store_true', help='print the layers, and draw nothing')
    parser.add_argument(
        '--method', default='GradCAM', help='of grad-cam, such as GradCAM++, EigenCAM, ScoreCAM (default: GradCAM)')
    parser.add_argument(
        '--target-category',
        nargs='+',
        type=int,
        default=[],
        metavar='INDEX',
        help='classes, each in a panel of its own; default: the predicted one')
    parser.add_argument(
        '--eigen-smooth',
        action='append_const',
        dest='smooth',
        const='eigen',
        default=[],
        help='take the first principal component of the maps: less noise')
    parser.add_argument(
        '--aug-smooth',
        action='append_const',
        dest='smooth',
        const='aug',
        help='average over mirror image and contrasts: smoother, six times as slow')
    parser.add_argument('--save-path', default='cam.png', help='default: cam.png; no window is opened')
    parser.add_argument('--device', default='cpu', help='for example cuda:0 (default: cpu)')
    parser.add_argument('--vit-like', action='store_true', help='not needed: tokens are recognised')
    parser.add_argument('--num-extra-tokens', type=int, help='not needed: they are what does not fill the grid')
    apis.add_config_options(parser)
    args = parser.parse_args()
    if not args.save_path.endswith(('.png', '.jpg', '.svg', '.pdf')):
        parser.error(f'--save-path {args.save_path}: must end in .png, .jpg, .svg or .pdf')
    return args


def main() -> None:
    """Load the model, compute, draw."""
    args = parse_args()
    apis.check_writable(save_path=args.save_path)
    cfg, checkpoint = apis.resolve_model(args.config, args.checkpoint or True, args.cfg_options)
    inferencer = apis.ImageClassificationInferencer(cfg, checkpoint, args.device)
    if args.preview_model:
        print(inferencer.model)
        return
    import numpy as np
    from pytorch_grad_cam.utils.image import show_cam_on_image
    packed = inferencer.pipeline(args.img)
    prepare, targets = inferencer.model.data_preprocessor, args.target_category
    batch = prepare({key: [one] * max(len(targets), 1) for key, one in packed.items()}, False)
    heats = apis.class_activation(inferencer.model, batch['inputs'], targets or None, args.target_layers, args.method,
                                  args.smooth)
    scores, names = inferencer(args.img)[0]['pred_scores'], inferencer.classes
    image = apis.denormalised(batch['inputs'][0], batch['data_samples'][0], prepare)
    image = np.broadcast_to(image[..., :3], (*image.shape[:2], 3))  # also of grey
    overlays = [show_cam_on_image(image / 255, heat, use_rgb=True) for heat in heats]
    titles = [f'{names[one] if names else one} {scores[one]:.2f}' for one in targets or [scores.argmax()]]
    print(f'wrote {apis.plot_images([image, *overlays], [Path(args.img).name, *titles], args.save_path)}')


if __name__ == '__main__':
    apis.run_tool(main)
