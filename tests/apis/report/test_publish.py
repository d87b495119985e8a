"""A published folder loads in ftcls, mmpretrain, torchvision and timm, and gives the same scores there."""
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from safetensors.torch import load_file

from ftcls.apis import TrainOptions, get_model, predict_files, publish
from ftcls.apis import test as evaluate
from ftcls.apis import train
from ftcls.apis.report import publish as module
from ftcls.utils import ConfigError
from ftcls.version import __version__, commit_of

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=64), dict(type='PackInputs')]
PEER = '''
import sys, torch
from mmengine.config import Config
from mmpretrain import get_model
from safetensors.torch import load_file
folder, weights, images, scores = sys.argv[1:]
model = get_model(Config.fromfile(folder + '/ftcls_config.json'), device='cpu')
model.load_state_dict(load_file(weights))
with torch.no_grad():
    torch.save(model.eval()(torch.load(images)).softmax(1), scores)
'''


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a ResNet-18, trained for a few steps on two colours."""
    folder = tmp_path_factory.mktemp('publish')
    noise = np.random.default_rng(0)
    for split in ('train', 'val'):
        for channel, name in enumerate(('blue', 'green')):
            (folder / split / name).mkdir(parents=True)
            for index in range(6):
                image = noise.integers(0, 100, (70, 80, 3), dtype=np.uint8)
                image[..., channel] += 60
                cv2.imwrite(str(folder / split / name / f'{index}.png'), image)
    loaders = {
        split:
        dict(
            batch_size=4,
            num_workers=0,
            dataset=dict(type='CustomDataset', data_root=str(folder / split), pipeline=PIPELINE),
            sampler=dict(type='DefaultSampler', shuffle=split == 'train'),
            collate_fn=dict(type='default_collate'))
        for split in ('train', 'val')
    }
    cfg = Config(
        dict(
            default_scope='ftcls',
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='ResNet', depth=18),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=2, in_channels=512),
                freeze=['^backbone.conv1']),
            data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
            train_dataloader=loaders['train'],
            val_dataloader=loaders['val'],
            val_evaluator=dict(type='Accuracy'),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            val_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            custom_hooks=[dict(type='EMAHook')],
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto')),
            randomness=dict(seed=0)))
    cfg.dump(folder / 'ants 2.5.py')
    train(cfg, TrainOptions(work_dir=str(folder / 'ants 2.5')))
    return folder / 'ants 2.5'


@pytest.fixture(scope='module')
def published(run: Path) -> Path:
    pytest.importorskip('timm')
    return publish(run, formats=['ftcls', 'mmpretrain', 'torchvision', 'timm'])


@pytest.fixture(scope='module')
def images() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope='module')
def scores(run: Path, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return get_model(run, device='cpu')(images).softmax(1)


def test_the_folder_holds_weights_config_and_card(run: Path, published: Path) -> None:
    names = sorted(path.name for path in published.iterdir())
    assert published == run / 'published' and len(names) == 6
    assert {'README.md', 'config.json', 'ftcls_config.json', 'model.safetensors'} < set(names)
    own = [name for name in names if name.startswith('ants')]
    assert len(own) == 2
    for name in own:
        digest = re.fullmatch(r'ants-2-5(?:_torchvision)?-([0-9a-f]{8})\.safetensors', name)[1]
        assert hashlib.sha256((published / name).read_bytes()).hexdigest().startswith(digest)
    assert not [path for path in run.iterdir() if path.name.endswith('.part')]
    text = (published / 'ftcls_config.json').read_text()
    model = json.loads(text)['model']
    assert 'freeze' not in model and model['backbone']['depth'] == 18


def test_the_card_says_what_is_known(published: Path) -> None:
    _, front, text = (published / 'README.md').read_text().split('---\n', 2)
    facts = yaml.safe_load(front)
    assert facts['pipeline_tag'] == 'image-classification' and facts['license'] == 'unknown'
    result = facts['model-index'][0]['results'][0]
    assert result['metrics'][0]['name'] == 'accuracy/top1' and 0 <= result['metrics'][0]['value'] <= 100
    for known in ('blue, green', 'train: 12 samples', 'mean [123.675, 116.28, 103.53]', '3 x 64 x 64, RGB',
                  '95 % interval', 'moving average', 'Limits', 'chosen on the validation images',
                  "torchvision.models.get_model('resnet18', num_classes=2)", 'TO FILL IN'):
        assert known in text, known
    assert result['dataset']['name'] == 'val' and 'ftcls predict published IMAGES' in text, 'the data by its folder'
    assert str(Path.home()) not in text and str(published.parent.parent) not in front + text, 'no path of the author'


@pytest.mark.parametrize('images, split, said', [
    ('val', 'val', ['chosen on the validation images', 'No test set was measured']),
    ('mixed', 'test', ['chosen on some of the test images']),
    ('new', 'test', []),
])
def test_the_card_says_whether_the_tested_images_chose_the_checkpoint(images: str, split: str, said: list, run: Path,
                                                                      tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / 'run', ignore=shutil.ignore_patterns('published')))
    cfg = Config.fromfile(next(folder.glob('*.py')))
    cfg.update(test_dataloader=cfg.val_dataloader.copy(), test_evaluator=cfg.val_evaluator, test_cfg={})
    root = Path(shutil.copytree(run.parent / 'val', tmp_path / images))
    cfg.test_dataloader.dataset = {**cfg.val_dataloader.dataset, 'data_root': str(root)}
    for path in sorted(root.glob('*/*.png'))[{'val': 12, 'mixed': 3}.get(images, 0):]:
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    cfg.dump(next(folder.glob('*.py')))
    evaluate(cfg, str(next(folder.glob('best_*.pth'))), work_dir=str(folder))
    _, front, text = (publish(folder) / 'README.md').read_text().split('---\n', 2)
    assert yaml.safe_load(front)['model-index'][0]['results'][0]['dataset']['split'] == split
    assert f'| metric | {split}, 12 images |' in text
    limits = text.split('## Limits')[1]
    claims = ('chosen on the validation images', 'chosen on some of the test images', 'No test set was measured')
    assert [claim for claim in claims if claim in limits] == said


def test_the_commit_is_that_of_the_training(run: Path, published: Path, tmp_path: Path) -> None:
    best = next(run.glob('best_*.pth'))
    info = torch.load(best, weights_only=False)['message_hub']['runtime_info']
    assert info['ftcls_commit'] == commit_of()
    said = f'Trained with ftcls {__version__}' + (f' (commit {commit_of()});' if commit_of() else ';')
    assert said in (published / 'README.md').read_text()
    assert commit_of(tmp_path) == '', 'a folder that is no checkout, for example site-packages'


def test_the_hub_takes_the_card(published: Path) -> None:
    hub = pytest.importorskip('huggingface_hub')
    data = hub.ModelCard.load(published / 'README.md').data
    assert data.library_name == 'timm' and data.eval_results[0].metric_name == 'accuracy/top1'


def test_ftcls_predicts_with_the_folder(run: Path, published: Path) -> None:
    """The names of the classes come from the folder too."""
    files = sorted((run.parent / 'val').rglob('*.png'))
    ours, theirs = (predict_files(folder, files, device='cpu').rows for folder in (run, published))
    assert [row['topk'] for row in ours] == [row['topk']
                                             for row in theirs] and ours[0]['pred_class'] in ('blue', 'green')


def test_torchvision_and_timm_give_the_same_scores(published: Path, images: torch.Tensor, scores: torch.Tensor) -> None:
    import timm
    from torchvision.models import resnet18
    network = resnet18(num_classes=2)
    network.load_state_dict(load_file(next(published.glob('*_torchvision-*'))))
    with torch.no_grad():
        assert torch.allclose(network.eval()(images).softmax(1), scores, atol=1e-6)
        network = timm.create_model(f'local-dir:{published}', pretrained=True).eval()
        assert torch.allclose(network(images).softmax(1), scores, atol=1e-6)
    assert network.pretrained_cfg['label_names'] == ['blue', 'green']
    assert network.pretrained_cfg['mean'] == pytest.approx([0.485, 0.456, 0.406])


@pytest.mark.slow
def test_mmpretrain_gives_the_same_scores(published: Path, images: torch.Tensor, scores: torch.Tensor,
                                          tmp_path: Path) -> None:
    python = os.environ.get('FTCLS_PEERS')
    if not python:
        pytest.skip('FTCLS_PEERS does not name the Python of an environment with mmpretrain')
    torch.save(images, tmp_path / 'images.pt')
    weights = next(path for path in published.glob('ants-2-5-*'))
    arguments = [published, weights, tmp_path / 'images.pt', tmp_path / 'scores.pt']
    subprocess.run([python, '-W', 'ignore', '-c', PEER, *map(str, arguments)], check=True, capture_output=True)
    assert torch.allclose(torch.load(tmp_path / 'scores.pt', weights_only=True), scores, atol=1e-6)


def test_what_is_refused_leaves_nothing(run: Path, published: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='--out .*published: must be new or empty'):
        publish(run)
    with pytest.raises(ConfigError, match='resnet34.*--arch'):
        publish(run, tmp_path / 'out', ['torchvision'], arch='resnet34')
    with pytest.raises(ConfigError, match="--format='onnx'"):
        publish(run, tmp_path / 'out', ['onnx'])
    assert not list(tmp_path.iterdir())


def test_places_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', '/home/me')
    monkeypatch.setattr(os, 'getcwd', lambda: '/home/me/now')
    text = 'https://a.b/c /home/me/now/runs/a.pth /home/me/data/b.png accuracy/top1'
    assert module._without_places(text) == 'https://a.b/c runs/a.pth ~/data/b.png accuracy/top1'
    monkeypatch.setenv('HOME', '/')  # of a container
    monkeypatch.setattr(os, 'getcwd', lambda: '/')
    assert module._without_places(text) == text


def test_an_adapter_is_merged(run: Path, images: torch.Tensor, tmp_path: Path) -> None:
    """The folder needs neither peft nor the config's adapter, and what a run has not kept is left out of the card."""
    pytest.importorskip('peft')
    cfg = Config.fromfile(run.parent / 'ants 2.5.py')
    del cfg.model['freeze']
    cfg.model.adapter = dict(type='LoRA', r=2, target_modules=['layer1.0.conv1'])
    cfg.dump(tmp_path / 'lora.py')
    model = get_model(cfg, False, 'cpu')
    for name, tensor in model.state_dict().items():
        if 'lora_B' in name:
            tensor.normal_()
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=['blue', 'green']))),
               tmp_path / 'epoch_1.pth')  # yapf: disable
    folder = publish(tmp_path, formats=['torchvision'])
    with torch.no_grad():
        assert torch.allclose(get_model(folder, device='cpu')(images), model(images), atol=1e-5)
    card = (folder / 'README.md').read_text()
    assert 'with the adapter merged' in card and 'no `preflight.txt`' in card
    assert 'adapter' not in json.loads((folder / 'ftcls_config.json').read_text())['model']
    assert not [name for name in load_file(next(folder.glob('*_torchvision-*'))) if 'lora' in name]
