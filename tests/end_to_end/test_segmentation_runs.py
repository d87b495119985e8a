"""Segmentation through the tools: two processes measure what one does; wrong data stops the run before its first step."""
import json
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ftcls.apis import get_model, load_config
from ftcls.apis import test as run_test

CONFIG = '''
model = dict(type='ImageSegmentor', backbone=dict(type='UNet', base_channels=2, in_channels=1), head=dict(type='PixelHead'))
data_preprocessor = dict(mean=[120.], std=[60.])
pipeline = [dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
loader = dict(batch_size=2, num_workers=0, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='BinarySegDataset', data_root='data', pipeline=pipeline), **loader)
test_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='BinarySegDataset', data_root='data', pipeline=pipeline), **loader)
test_evaluator = [dict(type='DiceMetric', threshold=0.3), dict(type='IoUMetric', threshold=0.3)]
test_cfg = dict()
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.01))
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a config, five pictures, which 2 x 2 does not divide, and their masks."""
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
    for i in range(5):
        mask = (rng.random((32, 32)) < 0.1 * (i + 1)).astype(np.uint8)
        Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(tmp_path / 'data' / 'images' / f'{i}.png')
        Image.fromarray(255 * mask).save(tmp_path / 'data' / 'masks' / f'{i}_mask.png')
    (tmp_path / 'config.py').write_text(CONFIG)
    return tmp_path


def test_two_processes_measure_what_one_does(place: Path, run_tool: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    cfg = load_config(place / 'config.py')
    torch.manual_seed(0)
    torch.save(dict(state_dict=get_model(cfg, pretrained=False, device='cpu').state_dict()), place / 'weights.pth')
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        port = str(one.getsockname()[1])
    done = run_tool('dist_test.sh', 'config.py', 'weights.pth', 2, '--out', 'two.json', PORT=port)
    assert done.returncode == 0, done.stdout + done.stderr
    two = json.loads((place / 'two.json').read_text())
    one = run_test(cfg, str(place / 'weights.pth'))
    for name in ('dice', 'dice_set', 'iou', 'iou_set'):
        assert 0 < two[name] < 100 and two[name] == pytest.approx(one[name], abs=1e-9), name
    assert two['loss'] == pytest.approx(one['loss'], rel=1e-6)


@pytest.mark.parametrize('spoil, text', [
    (lambda masks: (masks / '3_mask.png').unlink(), '3.png has no mask'),
    (lambda masks: Image.open(masks / '3_mask.png').point(lambda v: v // 255 + 7).save(masks / '3_mask.png'),
     'masks hold 0'),
], ids=['missing mask', 'four values'])  # yapf: disable
def test_wrong_masks_are_said_in_one_line(place: Path, run_tool: Callable, spoil: Callable, text: str) -> None:
    spoil(place / 'data' / 'masks')
    done = run_tool('train.py', 'config.py')
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert done.returncode and len(said) == 1, said
    assert text in said[0] and 'train_dataloader.dataset' in said[0] and 'Traceback' not in said[0]
