"""Run the commands of a document in a copy of the tree, reduced: fewer epochs, random data, two processes for eight."""
import os
import pickle
import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from preloaded_python import preloaded_python

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'SECURITY.md', *sorted((ROOT / 'docs').glob('*.md'))]
CHINESE = [ROOT / 'README_zh-CN.md', *sorted((ROOT / 'docs' / 'zh').glob('*.md'))]

# Appended to `--cfg-options` of a config, so that its command takes seconds.
_CIFAR = [
    f'{split}_dataloader.dataset.{option}' for split in ('train', 'val', 'test')
    for option in ('verify=False', 'download=False')
]
_SMALL_CIFAR = _CIFAR + [
    'train_dataloader.dataset.pipeline.2.scale=32', 'val_dataloader.dataset.pipeline.0.scale=32',
    'test_dataloader.dataset.pipeline.0.scale=32', 'train_cfg.max_epochs=1', 'param_scheduler.end=1',
    'batch_policy=none', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0',
    'test_dataloader.num_workers=0'
]
_SMALL_PHOTOS = [
    'model.backbone.init_cfg.checkpoint=resnet20.th', 'train_cfg.max_epochs=1', 'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0', 'test_dataloader.num_workers=0'
]
_SMALL_MASKS = ['train_dataloader.dataset.pipeline.2.crop_size=64', 'train_cfg.max_epochs=1']
_SMALL_WASTE = ['train_cfg.max_epochs=2', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0']
SMALLER = {
    'resnet50_finetune_cifar.py':
    _SMALL_CIFAR + ['model.backbone.init_cfg.checkpoint=openmmlab.pth'],
    'resnet50_finetune_cifar_torchvision.py':
    _SMALL_CIFAR + ['model.backbone.init_cfg.checkpoint=torchvision.pth'],
    **{
        # two epochs, since LP-FT has two parts
        path.name: [*_SMALL_PHOTOS, 'train_cfg.max_epochs=2']
        for path in (ROOT / 'configs' / 'strategies').glob('*.py')
    },
    'cifar_resnet20_finetune_hymenoptera.py':
    _SMALL_PHOTOS,
    'hymenoptera.py': [*_SMALL_PHOTOS, 'train_cfg.max_epochs=2'],  # configs/augmentation
    **dict.fromkeys(('trashnet_128px.py', 'hymenoptera_128px.py', 'trashnet_finetune.py'), _SMALL_WASTE),
    'cifar10_longtail.py': [*_CIFAR, 'train_cfg.max_epochs=1', 'train_dataloader.dataset.shots_per_class=2'],
    'unet_membrane.py':
    _SMALL_MASKS,
    'unet_lite0_membrane.py':
    _SMALL_MASKS,
    'lenet5_finetune_digits.py': [],
    'lenet5_finetune_digit_pairs.py': ['train_cfg.max_epochs=1'],
    'lenet5_pretrain_digits.py': [],
}
# Parts of documented commands, and their replacements in the small runs.
INSTEAD = [(r'epoch_200\.pth', 'epoch_1.pth'), (r'(dist_train\.sh \S+) 8', r'\1 2'), (r'--seeds [35]', '--seeds 1'),
           (r'--folds \d+', '--folds 2'), (r'--budget \d+', '--budget 2'), (r'--shots [\d,]+', '--shots 1,2'),
           (r'--trials \d+', '--trials 2'), (r'epoch_20\.pth', 'epoch_1.pth'), (r'epoch_6\.pth', 'epoch_2.pth'),
           (r'--rates 0\.001 .* --seeds 100 101 102', '--rates 0.001 --seeds 100'),
           (r'https://\S+/resnet20-12fca82f\.th', 'resnet20.th'),
           (r'tools/demo\.py.*', 'tools/demo.py --seeds 1 --epochs 5'),
           (r'^(ftcls new --data \S+)$', r'\1 --backbone CifarResNet'),
           (r'(benchmarks/gpu_training\.py.*)', r'\1 --quick')]
# Lines about the installation or the whole suite. Of `make`, only the existence of the target is checked (`make -n`).
NOT_RUN = re.compile(r'^(python -m venv|pip install|python -m pytest|pre-commit|make )')


def documented_commands(path: Path) -> list[str]:
    """Return the lines of a document's bash blocks, without comments."""
    blocks = re.findall(r'```bash\n(.*?)```', path.read_text(encoding='utf-8'), flags=re.S)
    lines = [line.split('  #')[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith('#')]


def small(command: str) -> list[str]:
    """Turn a documented command into one that takes seconds."""
    for pattern, replacement in INSTEAD:
        command = re.sub(pattern, replacement, command)
    words = shlex.split(command)
    extra = next((SMALLER[Path(w).name] for w in words if Path(w).name in SMALLER), None)
    if extra and 'predict.py' not in command and 'benchmarks' not in command:
        if {'tools/train.py', 'tools/test.py'} & set(words):
            extra = [*extra, 'report=False']
        words += extra if '--cfg-options' in words else ['--cfg-options', *extra]
    if words[0] == 'ftcls':
        words[:1] = ['python', '-m', 'ftcls']
    return [preloaded_python() if w == 'python' else w for w in words]


def run_document(path: Path, place: Path) -> list[str]:
    """Run every command of a document in ``place``, in order; return the failed ones, with the end of their output.

    A command of an example in ``configs/`` that another document has run there is not run again.
    """
    failures = []
    already = place / 'already_run.txt'
    done_before = already.read_text().splitlines() if already.is_file() else []
    environment = dict(
        os.environ,
        PYTHON=preloaded_python(),
        PORT=str(_free_port()),
        OMP_NUM_THREADS='1',
        PYTHONPATH=str(ROOT),
        http_proxy='http://127.0.0.1:9',
        https_proxy='http://127.0.0.1:9')
    for command in documented_commands(path):
        if command.startswith('make '):
            done = subprocess.run(['make', '-n', *command.split()[1:]],
                                  cwd=ROOT,
                                  capture_output=True,
                                  text=True,
                                  check=False)
        elif NOT_RUN.match(command) or command in done_before:
            continue
        else:
            done = subprocess.run(
                small(command), cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False)
        if not done.returncode and ' configs/' in command:
            with already.open('a') as file:
                print(command, file=file)
        if done.returncode:
            failures.append(f'{command}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}')
    return failures


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def make_place(place: Path) -> Path:
    """Copy what the commands need and make the data and checkpoints that the configs name."""
    for folder in ('configs', 'tools', 'benchmarks'):
        shutil.copytree(ROOT / folder, place / folder)
    rng = np.random.default_rng(0)
    _make_cifar(place / 'data' / 'cifar10' / 'cifar-10-batches-py', rng)
    for split in ('train', 'val'):
        for name in ('ants', 'bees'):
            folder = place / 'data' / 'hymenoptera' / split / name
            folder.mkdir(parents=True)
            for i in range(4):
                Image.fromarray(rng.integers(0, 256, (80, 96, 3), dtype=np.uint8)).save(folder / f'{i}.jpg')
    for name in ('cardboard', 'glass', 'metal', 'paper', 'plastic', 'trash'):
        folder = place / 'data' / 'trashnet' / name
        folder.mkdir(parents=True)
        for i in range(8):
            Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(folder / f'{i}.jpg')
    Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(place / 'my_picture.jpg')
    _make_checkpoints(place)
    return place


def _make_cifar(folder: Path, rng: np.random.Generator) -> None:
    """Write CIFAR-10's own file format: pickled dicts of (N, 3072) uint8 rows."""
    folder.mkdir(parents=True)
    names = 'airplane automobile bird cat deer dog frog horse ship truck'.split()
    for file in [f'data_batch_{i}' for i in range(1, 6)] + ['test_batch']:
        rows = dict(data=rng.integers(0, 256, (10, 3072), dtype=np.uint8), labels=list(range(10)))
        (folder / file).write_bytes(pickle.dumps(rows))
    (folder / 'batches.meta').write_bytes(pickle.dumps(dict(label_names=names)))


def _make_checkpoints(place: Path) -> None:
    """Save random weights in the layouts of OpenMMLab, torchvision and a DataParallel CIFAR ResNet."""
    import timm
    from safetensors.torch import save_file
    from torchvision.models import resnet50

    from ftcls.models.backbones import CifarResNet
    mobile = timm.create_model('tf_efficientnet_lite0').state_dict()
    save_file(mobile, place / 'data' / 'tf_efficientnet_lite0-57934424.safetensors')
    weights = resnet50(weights=None).state_dict()
    torch.save(weights, place / 'torchvision.pth')
    renamed = {('head.' if k.startswith('fc.') else 'backbone.') + k: v for k, v in weights.items()}
    torch.save(dict(meta={}, state_dict=renamed), place / 'openmmlab.pth')
    net = CifarResNet(20)
    net.init_weights()
    small_weights = {f'module.{k}': v for k, v in net.state_dict().items()}
    small_weights.update({'module.linear.weight': torch.zeros(10, 64), 'module.linear.bias': torch.zeros(10)})
    torch.save(dict(state_dict=small_weights, best_prec1=0.), place / 'resnet20.th')
