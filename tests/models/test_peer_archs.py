"""Every size of every convolutional family against mmpretrain itself: arguments, names and shapes of all tensors."""
import inspect
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

import ftcls.models  # noqa: F401
from ftcls.registry import MODELS
from ftcls.utils.checkpoint.loading import match_state_dict

SIZES = {
    'EfficientNet': [dict(arch=a) for a in 'b0 b1 b2 b3 b4 b5 b6 b7 b8 l2 es em'.split()],
    'EfficientNetV2': [dict(arch=a) for a in 's m l xl b0 b1 b2 b3'.split()],
    'MobileNetV2': [dict(widen_factor=f) for f in (0.35, 1.0, 1.4)],
    'MobileNetV3': [dict(arch=a) for a in 'small large small_050 small_075'.split()],
    'DenseNet': [dict(arch=a) for a in '121 161 169 201'.split()],
    'RegNet': [dict(arch=f'regnetx_{a}') for a in '400mf 800mf 1.6gf 3.2gf 4.0gf 6.4gf 8.0gf 12gf'.split()],
    'SEResNet': [dict(depth=d) for d in (50, 101, 152)] + [dict(depth=50, se_ratio=12, deep_stem=True)],
    'SEResNeXt': [dict(depth=d) for d in (50, 101, 152)],
    'VGG': [dict(depth=d, norm_cfg=n, num_classes=c) for d in (11, 13, 16, 19) for n, c in ((None, 5), ({'type': 'BN'}, -1))],
}  # yapf: disable
# What differs on purpose, see docs/migrating.md.
OTHER_DEFAULTS = {'frozen_stages', 'norm_cfg', 'act_cfg', 'init_cfg', 'conv_cfg'}
PEER = '''
import functools, inspect, json, sys, torch
from mmpretrain.registry import MODELS
import mmpretrain.models.backbones as backbones
torch.linspace = functools.partial(torch.linspace, device='cpu')
out = {}
for name, sizes in json.load(open(sys.argv[1])).items():
    arguments = inspect.signature(getattr(backbones, name).__init__).parameters
    networks = []
    for size in sizes:
        with torch.device('meta'):
            state = MODELS.build(dict(type=name, **size)).state_dict()
        networks.append([(k, list(v.shape), v.is_floating_point()) for k, v in state.items()])
    out[name] = [[(k, repr(p.default)) for k, p in arguments.items() if k not in ('self', 'kwargs')], networks]
json.dump(out, open(sys.argv[1], 'w'))
'''


@pytest.fixture(scope='module')
def peer(tmp_path_factory: pytest.TempPathFactory) -> dict:
    python = os.environ.get('FTCLS_PEERS')
    if not python:
        pytest.skip('FTCLS_PEERS does not name the Python of an environment with mmpretrain')
    pytest.importorskip('timm')
    file: Path = tmp_path_factory.mktemp('peer') / 'sizes.json'
    file.write_text(json.dumps(SIZES))
    subprocess.run([python, '-W', 'ignore', '-c', PEER, str(file)], check=True, capture_output=True)
    return json.loads(file.read_text())


@pytest.mark.slow
@pytest.mark.parametrize('name', SIZES)
def test_all_sizes_load_the_peers_tensors(peer: dict, name: str) -> None:
    arguments, networks = peer[name]
    ours = inspect.signature(MODELS.get(name).__init__).parameters
    assert [k for k in ours if k not in ('self', 'kwargs')][:len(arguments)] == [k for k, _ in arguments]
    for key, default in arguments:
        assert repr(ours[key].default) == default or key in OTHER_DEFAULTS, key
    for size, tensors in zip(SIZES[name], networks, strict=True):
        kinds = {True: torch.float32, False: torch.int64}
        file = {
            f'backbone.{k}': torch.empty(shape, dtype=kinds[floating], device='meta')
            for k, shape, floating in tensors
        }
        with torch.device('meta'):
            backbone = MODELS.build(dict(type=name, **size))
        matched, report = match_state_dict(file, backbone)
        assert not (report.absent or report.unexpected or report.expected), size
        assert len(matched) == len(file)
