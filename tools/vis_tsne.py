"""Draw the features of images of the test set as points, by t-SNE or principal components."""
import argparse
import time
from pathlib import Path

from ftcls import apis


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, name of a config, or folder of a run')
    parser.add_argument('--checkpoint', help='file or URL; default: the best checkpoint of the run, else its last')
    parser.add_argument(
        '--work-dir', help='folder for tsne_<time>/feat.png and feat.npy; default: that of the config, or of the run')
    parser.add_argument('--test-cfg', help='config whose test_dataloader is used')
    parser.add_argument('--vis-stage', choices=('backbone', 'neck', 'pre_logits'), default='neck', help='default: neck')
    parser.add_argument('--class-idx', nargs='+', type=int, metavar='INDEX', help='classes; default: the first ones')
    parser.add_argument('--max-num-class', type=int, default=20, help='without --class-idx (default: 20)')
    parser.add_argument('--max-num-samples', type=int, default=100, help='images of each class (default: 100)')
    parser.add_argument('--device', help='for example cpu or cuda:0; default: the GPU if there is one')
    parser.add_argument('--legend', action='store_true', help='not needed: there always is one')
    parser.add_argument('--show', action='store_true', help='no window is opened; see the file')
    parser.add_argument('--pca', action='store_true', help='principal components instead of t-SNE')
    tsne = parser.add_argument_group('t-SNE, see scikit-learn')
    tsne.add_argument('--n-components', type=int, default=2)
    tsne.add_argument('--perplexity', type=float, default=30.)
    tsne.add_argument('--early-exaggeration', type=float, default=12.)
    tsne.add_argument('--learning-rate', type=float, default=200.)
    tsne.add_argument('--n-iter', type=int, default=1000)
    tsne.add_argument('--n-iter-without-progress', type=int, default=300)
    tsne.add_argument('--init', default='random')
    tsne.add_argument('--seed', type=int, default=0)
    apis.add_config_options(parser)
    return parser, parser.parse_args()


def main() -> None:
    """Extract features, embed, draw."""
    parser, args = parse_args()
    apis.check_writable(work_dir=args.work_dir)
    import numpy as np
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    cfg, checkpoint = apis.resolve_model(args.config, args.checkpoint or True, args.cfg_options)
    if args.test_cfg:
        cfg.test_dataloader = apis.load_config(args.test_cfg).test_dataloader
    extractor = apis.FeatureExtractor(cfg, checkpoint, args.device)
    number = len(extractor.classes or ())
    if args.class_idx and number and not set(args.class_idx) <= set(range(number)):
        parser.error(f'--class-idx: must be from 0 to {number - 1}')
    groups = apis.sample_features(extractor, args.vis_stage, args.class_idx, args.max_num_class, args.max_num_samples)
    features = np.concatenate(list(groups.values()))
    if args.pca:
        embedder = PCA(args.n_components)
    elif args.perplexity >= len(features):
        parser.error(f'--perplexity {args.perplexity:g}: must be less than the {len(features)} images')
    else:
        embedder = TSNE(
            args.n_components,
            perplexity=args.perplexity,
            early_exaggeration=args.early_exaggeration,
            learning_rate=args.learning_rate,
            max_iter=args.n_iter,
            n_iter_without_progress=args.n_iter_without_progress,
            init=args.init,
            random_state=args.seed)
    points = embedder.fit_transform(features)
    folder = Path(args.work_dir or cfg.get('work_dir') or Path('work_dirs', Path(cfg.filename).stem))
    folder /= time.strftime('tsne_%Y%m%d_%H%M%S')
    ends = np.cumsum([len(group) for group in groups.values()])[:-1]
    path = apis.plot_points(dict(zip(groups, np.split(points, ends))), folder / 'feat.png')
    np.save(folder / 'feat.npy', features)
    print(f'wrote {path}, and the {len(features):,} features of {features.shape[1]} numbers beside it')


if __name__ == '__main__':
    apis.run_tool(main)
