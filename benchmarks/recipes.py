"""The recipe that `new_config` writes against other recipes: the same network, weights, images and seconds.

    python benchmarks/recipes.py --fastai PYTHON --peers PYTHON --calibrate
    python benchmarks/recipes.py --fastai PYTHON --peers PYTHON --data trashnet --images 240 --budget 90

The network is timm's `tf_efficientnet_lite0` with ImageNet's weights. The arms are

- ours: the config of `tools/new_config.py --time BUDGET`; recipe: without `--time`, cut to the epochs that fit;
- plain: base-config values, SGD with 0.1, momentum 0.9, weight decay 1e-4, divided by 10 at 1/2 and 3/4 of the epochs;
- mmpretrain: its tutorial's schedule (docs/en/notes/finetune_custom_dataset.md): SGD with 0.01, divided by 10 once;
- fastai: `vision_learner(...).fine_tune(n)` with fastai's own head, optimizer, schedule and transforms.

The test part is a quarter of each class of trashnet (drawn by `split_seed=14` as by `CustomDataset`), and the folder
`val` of hymenoptera. The training images are drawn per class by the run's seed from the others, and laid out as links,
which all arms read. No arm validates: what is measured is the model after the last epoch. Each arm's number of epochs
is the one with which its training, from the start of the command, comes nearest to the budget; `--calibrate` measures
the seconds per image for that, once per size. All run in one thread and one process. Runs are kept in `--out`, a file
per set and size, and not repeated. The seconds are those of the training command, without the evaluation.
"""
import argparse
import itertools
import json
import math
import os
import pprint
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from side_by_side import ROOT, machine, versions

DATA = Path(os.environ.get('FTCLS_REAL_DATA', ROOT.parent / 'shared' / 'data'))
WEIGHTS = DATA / 'tf_efficientnet_lite0-57934424.safetensors'
ENDINGS = ('.jpg', '.jpeg', '.png')
SPLIT_SEED = 14
NO_REPORT = ['--cfg-options', 'report=False']
KEEP_LAST = [
    'default_hooks.checkpoint.save_best=None', 'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False'
]
Run = dict[str, Any]


def images_of(folder: Path) -> list[str]:
    """Return the images of class folders, relative to the folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob('*/*') if path.suffix.lower() in ENDINGS)


def split(data: str) -> tuple[list[Path], list[Path]]:
    """Return the images for training, and the test part, which nothing is chosen on."""
    folder = DATA / data
    if (folder / 'val').is_dir():
        train, test = ([folder / part / name for name in images_of(folder / part)] for part in ('train', 'val'))
        return train, test
    from ftcls.datasets.drawing import draw_val
    names = images_of(folder)
    drawn = draw_val([(name, name.split('/')[0]) for name in names], 0.25, SPLIT_SEED)
    train, test = ([folder / name for name, is_drawn in zip(names, drawn) if is_drawn == side] for side in (0, 1))
    return train, test


def draw(paths: Iterable[Path], images: int, seed: int) -> list[Path]:
    """Draw so many images, as evenly over the classes as these allow; 0 for all."""
    classes = itertools.groupby(sorted(paths), key=lambda path: path.parent.name)
    order = [random.Random(f'{seed}/{name}').sample(group, len(group)) for name, (*group, ) in classes]
    turns = [group[turn] for turn in range(max(map(len, order))) for group in order if turn < len(group)]
    return turns[:images or None]


def lay_out(folder: Path, data: str, images: int, seed: int, tests: int = 0) -> int:
    """Write `train` and `val` (the test part) with links to the images; return the number of training images."""
    train, test = split(data)
    parts = dict(train=draw(train, images, seed), val=draw(test, tests, seed))
    for part, paths in parts.items():
        for path in paths:
            link = folder / part / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    return len(parts['train'])


def run_command(command: Sequence[str | Path], folder: Path) -> tuple[float, float, str]:
    """Run a command in one thread; return its wall seconds, its CPU seconds and its output."""
    # no features that an earlier run kept, but matplotlib's list of fonts
    caches = dict(XDG_CACHE_HOME=str(folder / 'cache'), MPLCONFIGDIR=f'{tempfile.gettempdir()}/recipes-matplotlib')
    environment = {**os.environ, **caches, 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
    words = list(map(str, command))
    pipes: dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(words, cwd=folder, env=environment, check=False, **pipes)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stdout)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def runner_config(scope: str, folder: Path, epochs: int, rate: float, drops: Sequence[float], seed: int) -> str:
    """Return the config of base-config values, which ftcls and mmpretrain both read.

    Args:
        scope: 'ftcls' or 'mmpretrain', whose default_runtime.py is used.
        folder: The folder with `train` and `val`.
        epochs: Number of epochs.
        rate: Learning rate.
        drops: After which shares of the training the rate is divided by 10.
        seed: Of all random numbers.
    """
    classes = len(list((folder / 'train').iterdir()))
    steps = epochs * math.ceil(len(images_of(folder / 'train')) / 32)
    pipelines = dict(
        train=[dict(type='RandomResizedCrop', scale=224),
               dict(type='RandomFlip', prob=0.5, direction='horizontal')],
        val=[dict(type='ResizeEdge', scale=256, edge='short'),
             dict(type='CenterCrop', crop_size=224)])
    cfg: dict[str, Any] = dict(
        _base_=f'{scope}::_base_/default_runtime.py',
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='TIMMBackbone', model_name='tf_efficientnet_lite0', checkpoint_path=str(WEIGHTS)),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LinearClsHead',
                num_classes=classes,
                in_channels=1280,
                loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
                topk=(1, ))),
        data_preprocessor=dict(num_classes=classes, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=rate, momentum=0.9, weight_decay=0.0001)),
        param_scheduler=dict(
            type='MultiStepLR', by_epoch=False, milestones=[round(share * steps) for share in drops], gamma=0.1),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        val_cfg=dict(),
        test_cfg=dict(),
        val_evaluator=dict(type='Accuracy', topk=(1, )),
        test_evaluator=dict(type='Accuracy', topk=(1, )),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=epochs, save_best=None)),
        randomness=dict(seed=seed))
    for part, pipeline in pipelines.items():
        cfg[f'{part}_dataloader'] = dict(
            batch_size=32,
            num_workers=0,
            dataset=dict(
                type='CustomDataset',
                data_root=str(folder),
                data_prefix=part,
                pipeline=[dict(type='LoadImageFromFile'), *pipeline,
                          dict(type='PackInputs')]),
            sampler=dict(type='DefaultSampler', shuffle=part == 'train'))
    cfg['test_dataloader'] = cfg['val_dataloader']
    return '\n'.join(f'{key} = {pprint.pformat(value)}' for key, value in cfg.items())


def train_and_test(python: Sequence[str], tools: Path, config: Path, train: Sequence[str], test: Sequence[str]) -> Run:
    """Run train.py and test.py of ftcls or mmpretrain with options; return seconds, epochs and accuracy."""
    folder, work = config.parent, config.parent / 'run'
    training = [*python, tools / 'train.py', config, '--work-dir', work, '--no-validate', *train]
    seconds, cpu, _ = run_command(training, folder)
    checkpoint = Path((work / 'last_checkpoint').read_text().strip())
    _, _, text = run_command([*python, tools / 'test.py', config, checkpoint, '--work-dir', work, *test], folder)
    accuracy = float(re.findall(r'accuracy/top1: *([\d.]+)', text)[-1])
    epochs = int(re.findall(r'epoch_(\d+)', checkpoint.name)[-1])
    return dict(accuracy=accuracy, seconds=seconds, cpu=cpu, epochs=epochs)


def plain(args: argparse.Namespace, folder: Path, epochs: int | None, seed: int) -> Run:
    """Train with base-config values in ftcls."""
    config = folder / 'plain_recipe.py'
    config.write_text(runner_config('ftcls', folder, epochs or 1, 0.1, (0.5, 0.75), seed))
    return train_and_test([sys.executable], ROOT / 'tools', config, NO_REPORT, NO_REPORT)


def mmpretrain(args: argparse.Namespace, folder: Path, epochs: int | None, seed: int) -> Run:
    """Train with the schedule of mmpretrain's tutorial in mmpretrain."""
    config = folder / 'mmpretrain_recipe.py'
    config.write_text(runner_config('mmpretrain', folder, epochs or 1, 0.01, (0.75, ), seed))
    _, _, text = run_command([args.peers, '-c', 'import mmpretrain; print(mmpretrain.__path__[0])'], folder)
    tools = Path(text.split()[-1], '.mim', 'tools')
    # MMEngine reads its own checkpoints no other way with torch 2.6 and later
    python = ['env', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1', args.peers]
    return train_and_test(python, tools, config, ['--no-persistent-workers'], [])


def ours(args: argparse.Namespace, folder: Path, epochs: int | None, seed: int) -> Run:
    """Train with the config that new_config writes for the budget."""
    return written_recipe(folder, ['--time', f'{args.budget:g}s'], epochs, seed)


def recipe(args: argparse.Namespace, folder: Path, epochs: int | None, seed: int) -> Run:
    """Train with the config that new_config writes without a budget, cut to the epochs that fit."""
    return written_recipe(folder, [], epochs, seed)


def written_recipe(folder: Path, options: Sequence[str], epochs: int | None, seed: int) -> Run:
    """Write a config with new_config, train with it without validation, and evaluate on the test part.

    new_config sees all training images, and of the test part one image per class: a folder without `val` would have a
    fifth of the training images held out, and with all of `val` seconds would be planned for validations.
    """
    config, shown = folder / 'ours.py', folder / 'shown'
    for path in (*sorted((folder / 'train').iterdir()), *sorted((folder / 'val').iterdir())):
        files = sorted(path.iterdir())
        link = shown / path.relative_to(folder)
        link.mkdir(parents=True)
        for file in files if link.parent.name == 'train' else files[:1]:
            (link / file.name).symlink_to(file.resolve())
    command = [sys.executable, ROOT / 'tools' / 'new_config.py', '--data', shown, '--out', config, '--device', 'cpu']
    command += ['--backbone', 'timm:tf_efficientnet_lite0', '--weights', WEIGHTS, '--seed', str(seed), *options]
    seconds, cpu, text = run_command(command, folder)
    train = [*NO_REPORT, *KEEP_LAST]
    if epochs:
        train += ['--epochs', str(epochs)]
    test = [*NO_REPORT, f'test_dataloader.dataset.data_root={folder}']
    run = train_and_test([sys.executable], ROOT / 'tools', config, train, test)
    return dict(run, writing=seconds, writing_cpu=cpu, said=text.splitlines(), config=config.read_text())


def fastai(args: argparse.Namespace, folder: Path, epochs: int | None, seed: int) -> Run:
    """Train with fastai: this script in fastai's Python, see `fit`."""
    command = [args.fastai, __file__, '--fit', folder, '--epochs', str(epochs or 1), '--seeds', str(seed)]
    seconds, cpu, text = run_command(command, folder)
    found = json.loads(text.strip().splitlines()[-1])
    after = found.pop('after')
    return dict(found, seconds=seconds - after[0], cpu=cpu - after[1])


def fit(folder: Path, epochs: int, seed: int) -> Run:
    """Fine-tune with fastai and evaluate; return the accuracy and the seconds before and after the training."""
    import timm
    from fastai.callback.core import Callback, CancelValidException
    from fastai.vision import all as vision

    class NoValidation(Callback):
        """Leave out the validation after each epoch."""

        def before_validate(self) -> None:
            """Go on with the next epoch."""
            raise CancelValidException

    vision.set_seed(seed, reproducible=True)
    images = len(images_of(folder / 'train'))
    dls = vision.ImageDataLoaders.from_folder(
        folder,
        valid='val',
        # 64 is fastai's default, too many for 60 images: an epoch leaves out a last batch that is not whole
        bs=min(64 if images >= 64 else 16, images),
        num_workers=0,
        item_tfms=vision.Resize(224),
        batch_tfms=[*vision.aug_transforms(),
                    vision.Normalize.from_stats([0.5] * 3, [0.5] * 3)])
    learn = vision.vision_learner(dls, 'tf_efficientnet_lite0', pretrained=False)
    weights = timm.models.load_state_dict(str(WEIGHTS))
    missing = learn.model[0].model.load_state_dict(weights, strict=False).missing_keys
    if missing:
        sys.exit(f'{WEIGHTS}: lacks {missing}')
    start = time.process_time()
    with learn.no_bar():
        learn.fine_tune(epochs, cbs=NoValidation())
    ends = time.perf_counter(), time.process_time()
    with learn.no_bar():
        accuracy = 100 * float(vision.accuracy(*learn.get_preds()))
    after = time.perf_counter() - ends[0], time.process_time() - ends[1]
    return dict(accuracy=accuracy, epochs=epochs, start=start, after=after)


ARMS: dict[str, Callable[[argparse.Namespace, Path, int | None, int], Run]] = dict(
    ours=ours, recipe=recipe, plain=plain, fastai=fastai, mmpretrain=mmpretrain)


def measured(args: argparse.Namespace, arm: str, images: int, epochs: int | None, seed: int) -> Run:
    """Train and evaluate an arm on the images that the seed draws."""
    with tempfile.TemporaryDirectory() as folder:
        count = lay_out(Path(folder), args.data, images, seed, 12 if args.quick else 0)
        return dict(ARMS[arm](args, Path(folder), epochs, seed), seed=seed, images=count)


def calibrate(args: argparse.Namespace) -> None:
    """Measure the CPU seconds of each arm's start, and per image and epoch, from runs of 1 and 3 epochs.

    The seconds per image of a part before the epochs (fastai's frozen epoch) are `frozen`.
    """
    path, images = args.out / 'calibration.json', args.images or 240
    found = json.loads(path.read_text()) if path.exists() else {}
    for arm in args.arms:
        short, long = (measured(args, arm, images, epochs, seed=99) for epochs in (1, 3))
        per_image = (long['cpu'] - short['cpu']) / (2 * images)
        before = short['cpu'] - images * per_image
        start = short.get('start', before)
        cost = dict(start=start, frozen=(before - start) / images, per_image=per_image)
        found.setdefault(arm, {})[str(images)] = cost
        print(arm, json.dumps(cost), flush=True)
        path.write_text(json.dumps(found, indent=1))


def epochs_of(args: argparse.Namespace, arm: str, images: int) -> int | None:
    """Return the number of epochs, at least 1, that comes nearest to the budget; None leaves it to the recipe."""
    if arm == 'ours':
        return None
    if args.epochs:
        return int(args.epochs)
    found = json.loads((args.out / 'calibration.json').read_text()).get(arm)
    costs = found or sys.exit(f'{args.out}: nothing on {arm}; run --calibrate --arms {arm}, or give --epochs')
    cost = costs[max((size for size in costs if int(size) <= images), key=int, default=min(costs, key=int))]
    rest = args.budget - cost['start'] - images * cost['frozen']
    return max(1, round(rest / images / cost['per_image']))


def table(results: dict[str, list[Run]]) -> str:
    """Return a markdown table: per arm its accuracy, what ours is ahead of it by, and what it took."""
    rows = [
        '| arm | epochs | accuracy | over the seeds | ours − arm (95 % interval) | seconds | CPU seconds |',
        '| --- | ---: | ---: | --- | --- | ---: | ---: |'
    ]
    mine = {run['seed']: run['accuracy'] for run in results.get('ours', [])}
    for arm, runs in results.items():
        scores = [run['accuracy'] for run in runs]
        spread = f' ± {statistics.stdev(scores):.1f}' if len(scores) > 1 else ''
        ahead = [mine[run['seed']] - run['accuracy'] for run in runs if run['seed'] in mine and arm != 'ours']
        seconds = [f'{statistics.fmean(run[key] for run in runs):.0f}' for key in ('seconds', 'cpu')]
        cells = [arm, '/'.join(sorted({str(run['epochs']) for run in runs})), f'{statistics.fmean(scores):.1f}{spread}']
        cells += [' '.join(f'{score:.1f}' for score in scores), _interval(ahead), *seconds]
        rows.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(rows)


def _interval(differences: Sequence[float]) -> str:
    """Return the mean of the differences and Student's 95 % interval."""
    if not differences:
        return ''
    mean = statistics.fmean(differences)
    if len(differences) == 1:
        return f'{mean:+.1f}'
    from scipy import stats
    half = stats.t.ppf(0.975, len(differences) - 1) * statistics.stdev(differences) / math.sqrt(len(differences))
    return f'{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})'


def compare(args: argparse.Namespace) -> None:
    """Run what is not in the file yet, seed by seed, and print the table."""
    train = len(split(args.data)[0])
    images = min(args.images or train, train)
    path = args.out / f'{args.data}-{images}.json'
    results: dict[str, list[Run]] = json.loads(path.read_text()) if path.exists() else {}
    for seed in args.seeds:
        for arm in args.arms:
            runs = results.setdefault(arm, [])
            if any(run['seed'] == seed for run in runs):
                continue
            runs.append(dict(measured(args, arm, images, epochs_of(args, arm, images), seed), budget=args.budget))
            shown = {key: value for key, value in runs[-1].items() if key not in ('said', 'config')}
            print(f'{arm}: {json.dumps(shown)}', file=sys.stderr, flush=True)
            path.write_text(json.dumps(results, indent=1))
    results = {arm: results[arm] for arm in ARMS if results.get(arm)}
    print(f'{args.data}, {images} training images, {args.budget} s\n\n{table(results)}\n\n{machine()}.')
    pythons = dict(ours=sys.executable, fastai=args.fastai, mmpretrain=args.peers)
    print('\n'.join(f'{arm}: {versions(python)}.' for arm, python in pythons.items() if python and arm in results))


def main() -> None:
    """Calibrate, or compare the arms on one set of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', choices=('trashnet', 'hymenoptera'), default='trashnet')
    parser.add_argument('--images', type=int, default=0, help='training images; 0 for all')
    parser.add_argument('--budget', type=float, default=180, help='seconds of training, from the start of the command')
    parser.add_argument('--arms', nargs='+', choices=list(ARMS), help='default: all whose Python is given')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--epochs', type=int, help='instead of what the calibration gives')
    parser.add_argument('--fastai', metavar='PYTHON', help='the Python of an environment with fastai and timm')
    parser.add_argument('--peers', metavar='PYTHON', help='the Python of an environment with mmpretrain and timm')
    parser.add_argument('--calibrate', action='store_true', help='measure seconds per image, and stop')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/recipes'), help='where the runs are kept')
    parser.add_argument('--fit', type=Path, help=argparse.SUPPRESS)
    parser.add_argument('--quick', action='store_true', help='one tiny run of ours and plain, to see that all works')
    args = parser.parse_args()
    if args.fit:
        print(json.dumps(fit(args.fit, args.epochs, args.seeds[0])))
        return
    missing = [arm for arm, python in dict(fastai=args.fastai, mmpretrain=args.peers).items() if not python]
    args.arms = [arm for arm in args.arms or ARMS if arm not in missing]
    with tempfile.TemporaryDirectory() as folder:
        if args.quick:
            args.images, args.budget, args.epochs, args.seeds, args.out = 12, 25, 1, [0], Path(folder)
        args.out = args.out.resolve()
        args.out.mkdir(parents=True, exist_ok=True)
        if args.calibrate:
            calibrate(args)
        else:
            compare(args)


if __name__ == '__main__':
    main()
