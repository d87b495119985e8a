"""Temperature scaling against independent computations."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from ftcls.apis import ImageClassificationInferencer, calibrate, get_model, load_config
from ftcls.evaluation.calibration import fit_temperature, reliability
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError

CONFIGS = Path(__file__).resolve().parents[3] / 'configs' / 'tutorial'


def overconfident(n=400, classes=5, seed=0):
    """Logits (N, C) that are right as often as a tempered softmax of them says, at a temperature of about 2.5."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (n, classes))
    labels = np.array([rng.choice(classes, p=softmax(row / 2.5)) for row in logits])
    return torch.from_numpy(logits).float(), torch.from_numpy(labels)


def ece_by_loop(scores, labels, bins):
    """The definition, prediction by prediction."""
    groups = {}
    for row, label in zip(scores.double().numpy(), labels.numpy()):
        sure = row.max()
        edge = next(k for k in range(bins) if sure <= (k + 1) / bins or k == bins - 1)
        groups.setdefault(edge, []).append((sure, row.argmax() == label))
    return sum(
        abs(np.mean([s for s, _ in one]) - np.mean([r for _, r in one])) * len(one) / len(labels)
        for one in groups.values())


@pytest.mark.parametrize('bins', [1, 10, 15])
def test_ece_is_its_definition(bins):
    logits, labels = overconfident()
    scores = logits.softmax(dim=1)
    bars = reliability(scores, labels, bins)
    assert bars.ece == pytest.approx(ece_by_loop(scores, labels, bins), abs=1e-6)
    assert sum(bars.count) == len(labels)


def test_sure_and_right_is_perfect():
    scores = torch.eye(3)
    assert reliability(scores, torch.arange(3)).ece == 0
    assert reliability(scores, torch.tensor([1, 2, 0])).ece == 1
    with pytest.raises(DataError):
        reliability(torch.empty(0, 3), torch.empty(0, dtype=torch.long))


def test_temperature_is_scipys_optimum():
    logits, labels = overconfident()

    def nll(t):
        return -log_softmax(logits.double().numpy() / t, axis=1)[np.arange(len(labels)), labels.numpy()].mean()

    best = minimize_scalar(nll, bounds=(0.1, 20), method='bounded', options=dict(xatol=1e-8))
    assert fit_temperature(logits, labels) == pytest.approx(best.x, rel=1e-4)
    assert fit_temperature(logits * 3, labels) == pytest.approx(3 * best.x, rel=1e-4)


def test_separable_data_have_no_temperature():
    with pytest.raises(DataError, match='all right'):
        fit_temperature(torch.eye(4) * 5, torch.arange(4))
    with pytest.raises(DataError, match='chance'):
        fit_temperature(torch.eye(4) * 5, torch.tensor([1, 2, 3, 0]))


def trained(cfg, path):
    """Train the config's model a little, as there is no temperature for chance, and save it."""
    torch.manual_seed(0)
    model = get_model(cfg, False, 'cpu')
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    batch = default_collate([dataset[i] for i in range(len(dataset))])
    optimizer = torch.optim.Adam(model.train().parameters(), lr=0.01)
    for _ in range(6):
        optimizer.zero_grad()
        model(**model.data_preprocessor(batch), mode='loss')['loss'].backward()
        optimizer.step()
    torch.save(dict(state_dict=model.state_dict()), path)
    return model


@pytest.mark.parametrize('name', ['lenet5_pretrain_digits.py', 'resnet'])
def test_calibrated_checkpoint_predicts_tempered_scores(name, tmp_path):
    cfg = load_config(CONFIGS / 'lenet5_pretrain_digits.py', {'work_dir': str(tmp_path / 'work')})
    cfg.test_dataloader.dataset = dict(
        type='Digits', subset='all', split='val', pipeline=cfg.val_dataloader.dataset.pipeline)
    if name == 'resnet':  # the logits come out of the head, there out of the backbone
        cfg.model = dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet_CIFAR', depth=18, in_channels=1, stem_channels=8, base_channels=4),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=32))
    model = trained(cfg, tmp_path / 'model.pth')
    result = calibrate(cfg, str(tmp_path / 'model.pth'), tmp_path / 'out', device='cpu')
    assert result.after['nll'] != result.before['nll'] and result.after['accuracy'] == result.before['accuracy']
    assert not result.same_data and json.loads(
        (tmp_path / 'out' / 'calibration.json').read_text())['layer'] == result.layer
    saved = torch.load(tmp_path / 'out' / 'calibrated.pth', weights_only=True)
    assert saved['meta']['temperature'] == result.temperature
    changed = [k for k, v in saved['state_dict'].items() if not torch.equal(v, model.state_dict()[k])]
    assert changed == [f'{result.layer}.weight', f'{result.layer}.bias']
    picture = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    scores = [ImageClassificationInferencer(cfg, str(path), 'cpu')(picture)[0]['pred_scores']
              for path in (tmp_path / 'model.pth', tmp_path / 'out' / 'calibrated.pth')]  # yapf: disable
    np.testing.assert_allclose(scores[1], softmax(np.log(scores[0]) / result.temperature), rtol=1e-3)
    assert (tmp_path / 'out' / 'reliability.png').stat().st_size > 10_000


def test_fitting_on_the_test_set_is_reported(tmp_path):
    cfg = load_config(CONFIGS / 'lenet5_pretrain_digits.py', {'work_dir': str(tmp_path)})
    trained(cfg, tmp_path / 'model.pth')
    cfg.test_dataloader = cfg.val_dataloader
    assert 'fitted on the test set' in calibrate(cfg, str(tmp_path / 'model.pth'), device='cpu').text()
    assert (tmp_path / 'calibration' / 'calibrated.pth').is_file()
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    with pytest.raises(ConfigError, match='test_dataloader: missing'):
        calibrate(cfg, str(tmp_path / 'model.pth'), device='cpu')


@pytest.mark.parametrize('bins', [0, -3])
def test_a_figure_without_bins_is_refused(bins: int) -> None:
    with pytest.raises(ConfigError, match=f'--bins {bins}: must be at least 1'):
        calibrate(Config(), 'none.pth', bins=bins)
