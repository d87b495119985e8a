"""WiSE-FT: what is averaged, and what is taken from the fine-tuned model."""
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ftcls.apis import interpolate_weights, load_config
from ftcls.apis import test as run_test
from ftcls.apis import wise_ft
from ftcls.registry import MODELS
from ftcls.utils import CheckpointError, ConfigError

ROOT = Path(__file__).resolve().parents[3]


def classifier(seed: int, classes: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    model = MODELS.build(dict(type='ImageClassifier', backbone=dict(type='CifarResNet', depth=20),
                              head=dict(type='LinearClsHead', num_classes=classes, in_channels=64)))  # yapf: disable
    state = model.state_dict()
    for name, value in state.items():
        if 'running' in name:
            state[name] = torch.rand_like(value)
        elif 'num_batches' in name:
            state[name] = torch.tensor(seed)
    return state


def save(path: Path, state: dict, classes: list[str] | None = None) -> str:
    meta = dict(epoch=3) if classes is None else dict(epoch=3, dataset_meta=dict(classes=classes))
    torch.save(dict(meta=meta, state_dict=state, optimizer=dict(state={}, param_groups=[])), path)
    return str(path)


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize('alpha', [0., 0.25, 0.5, 1.])
def test_the_classifier_of_another_shape_is_the_fine_tuned_one(tmp_path: Path, alpha: float) -> None:
    start, end = classifier(1, 10), classifier(2, 3)
    # as a training code of CIFAR's would have saved it
    bare = {'module.' + k.removeprefix('backbone.').replace('head.fc', 'linear'): v for k, v in start.items()}
    torch.save(dict(state_dict=bare), tmp_path / 'a.th')
    b = save(tmp_path / 'b.pth', end, list('xyz'))
    text = wise_ft(str(tmp_path / 'a.th'), b, [alpha], tmp_path / 'new' / 'c.pth')
    assert 'taken from there: head.fc.* (2)' in text
    result = load(tmp_path / 'new' / 'c.pth')
    assert result['meta']['dataset_meta']['classes'] == list('xyz') and result['meta']['wise_ft']['alpha'] == alpha
    assert 'optimizer' not in result
    assert list(result['state_dict']) == list(end)
    for name, value in result['state_dict'].items():
        if name.startswith('head') or 'num_batches' in name:
            wanted = end[name]
        else:
            mixed = (1 - alpha) * start[name].numpy().astype(np.float64) + alpha * end[name].numpy().astype(np.float64)
            wanted = torch.from_numpy(mixed).float()
        torch.testing.assert_close(value, wanted, rtol=1e-6, atol=1e-7)
        if alpha in (0, 1) and name.startswith('backbone') and 'num_batches' not in name:
            assert torch.equal(value, (start, end)[int(alpha)][name])


@pytest.mark.parametrize('classes, same, averaged', [((list('ab'), list('ab')), False, True),
                                                     ((list('ab'), list('ba')), False, False),
                                                     ((None, list('ab')), False, False), ((None, None), True, True)])
def test_classifiers_of_one_shape_are_averaged_where_they_mean_the_same(tmp_path: Path, classes: tuple, same: bool,
                                                                        averaged: bool) -> None:
    start, end = classifier(1, 2), classifier(2, 2)
    a, b = save(tmp_path / 'a.pth', start, classes[0]), save(tmp_path / 'b.pth', end, classes[1])
    text = wise_ft(a, b, [0.5], tmp_path / 'c.pth', same_classes=same)
    weight = load(tmp_path / 'c.pth')['state_dict']['head.fc.weight']
    wanted = (start['head.fc.weight'] + end['head.fc.weight']) / 2 if averaged else end['head.fc.weight']
    torch.testing.assert_close(weight, wanted)
    assert ('--same-classes' in text) == (not averaged)


def test_half_precision_is_averaged_in_float32() -> None:
    start, end = torch.tensor([1.0]), torch.tensor([1.0 + 2**-7]).bfloat16()
    mixed = interpolate_weights({'w': start}, {'w': end}, 0.9)['w']
    assert mixed.dtype == torch.bfloat16 and torch.equal(mixed, end)


def test_what_cannot_be_averaged_is_refused(tmp_path: Path) -> None:
    a = save(tmp_path / 'a.pth', classifier(1, 2))
    torch.save(torch.nn.Linear(3, 3).state_dict(), tmp_path / 'b.pth')
    with pytest.raises(ConfigError, match='--alpha 1.5'):
        wise_ft(a, a, [1.5], tmp_path / 'c.pth')
    with pytest.raises(CheckpointError, match='no tensor of one name and shape'):
        wise_ft(str(tmp_path / 'b.pth'), a, [0.5], tmp_path / 'c.pth')


def test_each_alpha_is_measured(tmp_path: Path) -> None:
    cfg = load_config(ROOT / 'configs/tutorial/lenet5_pretrain_digits.py', {'val_dataloader.dataset.indices': 60})
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        states.append(MODELS.build(dict(cfg.model)).state_dict())
    digits = list('0123456789')
    a, b = (save(tmp_path / f'{i}.pth', state, digits) for i, state in enumerate(states))
    text = wise_ft(a, b, [0, 0.5, 1], tmp_path / 'mixed.pth', cfg=cfg)
    rows = [line.split() for line in text.splitlines()[-3:]]
    assert 'measured on val_dataloader' in text and [row[0] for row in rows] == ['0', '0.5', '1']
    assert {p.name for p in tmp_path.glob('mixed*')} == {f'mixed_alpha{alpha}.pth' for alpha in ('0', '0.5', '1')}
    cfg.test_dataloader, cfg.test_cfg, cfg.test_evaluator = cfg.val_dataloader, cfg.val_cfg, cfg.val_evaluator
    for path, row in ((a, rows[0]), (b, rows[2])):
        cfg.experiment_name = Path(path).stem
        assert float(row[2]) == pytest.approx(
            run_test(cfg, path, work_dir=str(tmp_path / 'work'))['accuracy/top1'], abs=0.01)


def foreign(state: dict, path: Path) -> str:
    """Save weights as a training code of CIFAR's would have."""
    bare = {'module.' + k.removeprefix('backbone.').replace('head.fc', 'linear'): v for k, v in state.items()}
    torch.save(dict(state_dict={k: v for k, v in bare.items() if 'num_batches' not in k}), path)
    return str(path)


def test_files_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    a, b = foreign(classifier(1, 10), tmp_path / 'a.th'), save(tmp_path / 'b.pth', classifier(2, 3), list('xyz'))
    with pytest.raises(CheckpointError, match='a.th looks pretrained.*swap them'):
        wise_ft(b, a, [0.5], tmp_path / 'c.pth')
    run = dict(meta=dict(cfg=f"model = dict(init_cfg=dict(checkpoint='{b}', type='Pretrained'))"))
    torch.save(dict(run, state_dict=classifier(3, 3)), tmp_path / 'run.pth')
    with pytest.raises(CheckpointError, match='run.pth started from .*b.pth.*comes first'):
        wise_ft(str(tmp_path / 'run.pth'), b, [0.5], tmp_path / 'c.pth')
    assert not (tmp_path / 'c.pth').exists()
    wise_ft(b, str(tmp_path / 'run.pth'), [0.5], tmp_path / 'c.pth')


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path: Path) -> None:
    cfg = load_config(ROOT / 'configs/tutorial/lenet5_pretrain_digits.py', {'model.head.num_classes': 4})
    torch.manual_seed(0)
    good = MODELS.build(dict(cfg.model)).state_dict()
    a = save(tmp_path / 'a.pth', good)
    cfg.model.head.num_classes = 10
    with pytest.raises(CheckpointError, match=r'a.pth does not fit.* no head.* of that shape'):
        wise_ft(a, a, [0.5], tmp_path / 'c.pth', cfg=cfg)
    assert not (tmp_path / 'c.pth').exists()


def test_every_tensor_is_accounted_for(tmp_path: Path) -> None:
    a, b = foreign(classifier(1, 10), tmp_path / 'a.th'), save(tmp_path / 'b.pth', classifier(2, 3), list('xyz'))
    text = wise_ft(a, b, [0.5], tmp_path / 'c.pth')
    averaged, whole, apart = (
        int(re.search(form, text)[1])
        for form in (r'averaged: (\d+) of', r'whole numbers \(num_batches_tracked\), .*: (\d+)',
                     r'head.fc.\* \((\d+)\)'))
    assert averaged + whole + apart == len(classifier(2, 3)) and apart == 2 and whole > 10
