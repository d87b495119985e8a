"""Every command of the page on segmentation runs, and its Python works."""
import re

import numpy as np
import pytest
import torch
from commands import ROOT, make_place, run_document
from PIL import Image

from ftcls.registry import MODELS

PAGE = ROOT / 'docs' / 'segmentation.md'


@pytest.mark.slow
def test_commands_of_the_page(tmp_path):
    place = make_place(tmp_path)
    rng = np.random.default_rng(0)
    for folder, ending in (('images', '.png'), ('masks', '_mask.png')):
        (place / 'data' / 'membrane' / folder).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (144, 144), dtype=np.uint8)
            pixels = pixels if folder == 'images' else np.where(pixels < 60, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / 'data' / 'membrane' / folder / f'{i}{ending}')
    failures = run_document(PAGE, place)
    assert not failures, '\n\n'.join(failures)
    assert (place / 'browse.png').is_file() and len(list((place / 'shown').glob('*_mask.png'))) == 6


def test_quoted_python_works():
    blocks = re.findall(r'```python\n(.*?)```', PAGE.read_text(encoding='utf-8'), flags=re.S)
    models = []
    for block in blocks:
        scope: dict = {}
        exec(compile(block, str(PAGE), 'exec'), scope)
        models += [scope['model']] if 'model' in scope else []
    assert len(models) == 4
    encoder = dict(models[1]['backbone'], init_cfg=None)
    model = MODELS.build(dict(models[1], backbone=encoder, head={**models[1]['head'], **models[2]['head']}))
    assert model.head.loss_names == ['bce', 'dice']
    # the page's own loss, which is now registered
    try:
        loss = MODELS.build(models[3]['head']['loss'])(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2))
    finally:
        MODELS.module_dict.pop('SquaredLoss')
    assert loss.item() == 0.25
