"""The tutorial's configs, with a small CIFAR-10 and ResNet-50 files that are made here."""
import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from mmengine.runner import Runner

from ftcls.apis import TrainOptions, load_config, train

TUTORIAL = Path(__file__).resolve().parents[2] / 'configs' / 'tutorial'
FROZEN, TRAINED = ('conv1', 'bn1', 'layer1', 'layer2'), ('layer3', 'layer4')


@pytest.fixture(scope='module')
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root in CIFAR-10's own format: 5 x 32 pictures of noise to train on, 20 to validate on."""
    root = tmp_path_factory.mktemp('cifar10')
    folder = root / 'cifar-10-batches-py'
    folder.mkdir()
    noise = np.random.default_rng(0)
    for name, count in [(f'data_batch_{i}', 32) for i in range(1, 6)] + [('test_batch', 20)]:
        batch = {'data': noise.integers(0, 256, (count, 3072), np.uint8), 'labels': [i % 10 for i in range(count)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    names = 'airplane automobile bird cat deer dog frog horse ship truck'.split()
    (folder / 'batches.meta').write_bytes(pickle.dumps({'label_names': names}))
    return root


@pytest.fixture(scope='module')
def torchvision_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-50 as torchvision writes it, of random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'resnet50-made-here.pth'
    torch.save(torchvision.models.resnet50().state_dict(), path)
    return path


@pytest.fixture(scope='module')
def openmmlab_file(torchvision_file: Path) -> Path:
    """The same as OpenMMLab writes it."""
    weights = torch.load(torchvision_file, weights_only=True)
    renamed = {('head.' if k.startswith('fc.') else 'backbone.') + k: v for k, v in weights.items()}
    path = torchvision_file.parent / 'resnet50_8xb32_in1k_made_here.pth'
    torch.save(dict(meta=dict(epoch=100), state_dict=renamed), path)
    return path


def dry_run(config: str, checkpoint: Path, cifar10: Path, work_dir: Path) -> Runner:
    """Dry run a tutorial config with local files, on small inputs."""
    sizes = ['train_dataloader.dataset.pipeline.2.scale', 'val_dataloader.dataset.pipeline.0.scale']
    if config.endswith('_fast.py'):
        sizes = ['data_preprocessor.batch_transforms.2.scale']
    overrides = {'model.backbone.init_cfg.checkpoint': str(checkpoint), **dict.fromkeys(sizes, 32)}
    for split in ('train', 'val'):
        overrides.update({
            f'{split}_dataloader.dataset.data_root': str(cifar10),
            f'{split}_dataloader.dataset.verify': False,
            f'{split}_dataloader.num_workers': 0
        })
    return train(load_config(TUTORIAL / config, overrides), TrainOptions(work_dir=str(work_dir), dry_run=True))


@pytest.mark.parametrize('config, file, left', [
    ('resnet50_finetune_cifar.py', 'openmmlab_file', 0),
    ('resnet50_finetune_cifar_torchvision.py', 'torchvision_file', 2),
    ('resnet50_finetune_cifar_fast.py', 'openmmlab_file', 0),
])
def test_dry_run(config: str, file: str, left: int, cifar10: Path, tmp_path: Path, request: pytest.FixtureRequest,
                 capsys: pytest.CaptureFixture) -> None:
    """All of the backbone comes from the file; the stem and two stages are frozen, and a real step leaves them alone."""
    checkpoint = request.getfixturevalue(file)
    runner = dry_run(config, checkpoint, cifar10, tmp_path)
    report = runner.model.backbone.load_report
    assert report.missing == [] and report.unexpected == [] and report.mismatched == {}
    assert len(report.loaded) == report.num_tensors == 318  # 53 convolutions, 53 x 5 of BatchNorm
    assert len(report.expected) == left  # torchvision's classifier; OpenMMLab's is outside of `prefix='backbone'`
    table = (tmp_path / 'preflight.txt').read_text()
    assert '128 images per step = 16 per process x 1 process x 8 accumulated' in table
    name = re.escape(checkpoint.name)
    for part in FROZEN:
        statistics = '-' if part == 'conv1' else 'fixed'
        assert re.search(rf'backbone\.{part} +{name} +FROZEN +- +- +[\d,]+ +{statistics}', table), table
    for part in TRAINED:
        assert re.search(rf'backbone\.{part} +{name} +trained +0\.01 +0\.0001 +[\d,]+ +updated', table), table
    assert re.search(r'head\.fc +initialised +trained +0\.01 +0\.0001 +20,490', table), table
    out = capsys.readouterr().out
    # 24 frozen convolutions (1 + 10 + 13), each with a BatchNorm of 2 parameters and 3 statistics
    assert 'one step on one batch: 89 of 89 trained tensors changed, 0 of 72 frozen ones, 0 of 72 fixed BatchNorm' in out
    # What the frozen layers saw is the file, bit for bit.
    given = torch.load(checkpoint, weights_only=True)
    given = given.get('state_dict', given)
    for key, value in runner.model.backbone.state_dict().items():
        if key.startswith(FROZEN):
            assert torch.equal(value, given.get(f'backbone.{key}', given.get(key))), key


def test_the_plain_command_without_data_and_network(tmp_path: Path, run_tool: Callable) -> None:
    """It stops within seconds, and says both things that it lacks, and where they go."""
    start = time.monotonic()
    nobody_listens = 'http://127.0.0.1:9'
    done = run_tool(
        'train.py',
        TUTORIAL / 'resnet50_finetune_cifar.py',
        http_proxy=nobody_listens,
        https_proxy=nobody_listens,
        TORCH_HOME=str(tmp_path / 'torch'))
    assert done.returncode == 2 and time.monotonic() - start < 60
    assert f'not found in {tmp_path}/data/cifar10' in done.stderr and 'cifar-10-python.tar.gz' in done.stderr
    weights = 'resnet50_8xb32_in1k_20210831-ea4938fc.pth'
    assert f'https://download.openmmlab.com/mmclassification/v0/resnet/{weights}' in done.stderr
    assert f'by hand to {tmp_path}/torch/hub/checkpoints/{weights}' in done.stderr
    assert 'Traceback' not in done.stderr
    assert all(file.suffix == '.lock' for file in tmp_path.rglob('*.pth*'))
