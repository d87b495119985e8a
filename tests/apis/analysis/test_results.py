"""The figures of a test: what is right and wrong, how it is counted, the features of its images."""
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import dump
from PIL import Image
from sklearn.metrics import confusion_matrix

from ftcls import apis
from ftcls.apis.analysis import results as module
from ftcls.utils import DataError


@pytest.fixture(scope='module')
def reference(small_run: Path) -> list[dict]:
    """What the inferencer predicts for each image, the surest first."""
    files = sorted(small_run.parent.glob('data/*/*.png'))
    results = apis.ImageClassificationInferencer(str(small_run), device='cpu')(list(map(str, files)), batch_size=8)
    rows = [dict(one, path=str(file), truth=file.parent.name) for file, one in zip(files, results)]
    return sorted(rows, key=lambda row: -row['pred_score'])


@pytest.fixture
def cfg_and_checkpoint(small_run: Path) -> tuple:
    return apis.resolve_model(small_run, True)


def test_the_surest_right_and_wrong_images_are_drawn(cfg_and_checkpoint, reference: list[dict], tmp_path: Path) -> None:
    found = apis.draw_results(*cfg_and_checkpoint, tmp_path, topk=3)
    for name, is_right in (('success', True), ('fail', False)):
        rows = [row for row in reference if (row['pred_class'] == row['truth']) == is_right]
        assert len(found[name]) == len(rows) > 0
        drawn = found[name][:3]
        assert [row['img_path'] for row in drawn] == [row['path'] for row in rows[:3]]
        assert [(row['label'], row['predicted']) for row in drawn] == [(r['truth'], r['pred_class']) for r in rows[:3]]
        files = sorted(file.name for file in (tmp_path / name).iterdir())
        assert files == [f'{n:03d}_{Path(row["path"]).name}' for n, row in enumerate(rows[:3], start=1)]
        with Image.open(tmp_path / name / files[0]) as image:
            assert min(image.size) >= 224


def _pkl(rows: list[dict], path: Path) -> Path:
    classes = ['bright', 'dark', 'grey']
    samples = [
        dict(
            sample_idx=index,
            img_path=row['path'],
            gt_label=torch.tensor([classes.index(row['truth'])]),
            pred_label=torch.tensor([row['pred_label']]),
            pred_score=torch.from_numpy(row['pred_scores'])) for index, row in enumerate(rows)
    ]
    dump(samples, str(path))
    return path


def test_a_checkpoint_and_its_pkl_give_the_same_matrix(cfg_and_checkpoint, reference: list[dict],
                                                       tmp_path: Path) -> None:
    cfg, checkpoint = cfg_and_checkpoint
    rows = sorted(reference, key=lambda row: row['path'])
    found = [apis.read_results(cfg, source) for source in (checkpoint, _pkl(rows, tmp_path / 'result.pkl'))]
    assert found[0].classes == found[1].classes == ['bright', 'dark', 'grey']
    matrices = [apis.ConfusionMatrix.calculate(one.predicted, one.labels, 3).tolist() for one in found]
    expected = confusion_matrix([row['truth'] for row in rows], [row['pred_class'] for row in rows],
                                labels=found[0].classes)
    assert matrices == [expected.tolist()] * 2


def test_a_result_of_another_test_set_is_refused(cfg_and_checkpoint, reference: list[dict], tmp_path: Path) -> None:
    path = _pkl(reference[:-1], tmp_path / 'result.pkl')
    with pytest.raises(DataError, match='has 17 images, 3 classes; the test set 18, 3'):
        apis.read_results(cfg_and_checkpoint[0], path)


def test_images_in_memory_are_drawn_too(digits, tmp_path: Path) -> None:
    cfg = digits(**{'test_dataloader.dataset.indices': 12})
    torch.manual_seed(0)
    torch.save(dict(state_dict=apis.get_model(cfg, False, 'cpu').state_dict()), tmp_path / 'a.pth')
    found = apis.draw_results(cfg, tmp_path / 'a.pth', tmp_path / 'out', topk=1)
    assert sum(map(len, found.values())) == 12
    assert list((tmp_path / 'out' / 'fail').glob('001_*.png'))


def test_class_without_images_has_no_features(small_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = apis.FeatureExtractor(str(small_run), device='cpu')
    monkeypatch.setattr(module, 'sample_labels', lambda dataset: [[0]] + [[1]] * (len(dataset) - 1))
    assert list(apis.sample_features(extractor, max_num_samples=1)) == ['bright', 'dark']


def test_features_of_some_images(small_run: Path) -> None:
    extractor = apis.FeatureExtractor(str(small_run), device='cpu')
    groups = apis.sample_features(extractor, class_idx=[2, 0], max_num_samples=2)
    files = [str(small_run.parent / 'data' / name / f'{n}.png') for name in ('grey', 'bright') for n in (0, 1)]
    assert list(groups) == ['grey', 'bright']
    expected = torch.stack([one[0] for one in extractor(files, stage='neck')]).numpy()
    assert np.allclose(np.concatenate(list(groups.values())), expected, atol=1e-6)
    maps = apis.sample_features(extractor, 'backbone', max_num_class=1)
    assert list(maps) == ['bright']
    assert maps['bright'].shape == (6, 64)
    assert np.allclose(maps['bright'][:2], expected[2:], atol=1e-5)  # its neck is the mean
