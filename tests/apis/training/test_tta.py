"""Test-time augmentation against averaging by hand."""
import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.fileio import load

from ftcls.apis import get_model, load_config
from ftcls.apis import test as run_test
from ftcls.datasets import Digits
from ftcls.datasets.transforms import CenterCrop, CornerCrop, TestTimeAug
from ftcls.registry import TRANSFORMS
from ftcls.utils import ConfigError

CONFIG = Path(__file__).resolve().parents[3] / 'configs' / 'tutorial' / 'lenet5_pretrain_digits.py'
CORNERS = ('top_left', 'top_right', 'bottom_left', 'bottom_right')


@pytest.fixture
def trained(tmp_path):
    """The config of the digits with 50 to test on, and a checkpoint of random weights."""
    cfg = load_config(CONFIG, {'test_dataloader.dataset.indices': 50, 'work_dir': str(tmp_path / 'work')})
    torch.manual_seed(0)
    model = get_model(cfg, False, 'cpu')
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'model.pth')
    return cfg, str(tmp_path / 'model.pth')


def scores_of(cfg, checkpoint, pictures):
    """What the bare network gives: softmax scores (N, 10) for normalised pictures."""
    model = get_model(cfg, checkpoint, 'cpu')
    data = model.data_preprocessor(dict(inputs=pictures), False)
    with torch.no_grad():
        return model(data['inputs']).softmax(dim=1)


def by_hand(cfg, views):
    """Return the inputs of each view, a list of (N, 1, H, W), and the labels."""
    dataset = Digits(**{k: v for k, v in cfg.test_dataloader.dataset.items() if k != 'type'})
    pictures = torch.stack([dataset[i]['inputs'] for i in range(len(dataset))])
    return [view(pictures) for view in views], torch.as_tensor(dataset.get_gt_labels())


def test_flips_are_averaged(trained, tmp_path):
    cfg, checkpoint = trained
    metrics = run_test(cfg, checkpoint, str(tmp_path / 'all.pkl'), tta=True)
    views, labels = by_hand(cfg, [lambda x: x, lambda x: x.flip(-1)])
    mean = sum(scores_of(cfg, checkpoint, view) for view in views) / 2
    dumped = load(str(tmp_path / 'all.pkl'))
    torch.testing.assert_close(torch.stack([one['pred_score'] for one in dumped]), mean)
    assert metrics['accuracy/top1'] == pytest.approx(100 * (mean.argmax(1) == labels).float().mean().item())
    assert not any(name.endswith('loss') for name in metrics)  # a mean of losses is not the loss of the mean


def test_the_config_in_the_work_dir_stays_that_of_the_run(trained, tmp_path):
    cfg, checkpoint = trained
    work = tmp_path / 'work'
    work.mkdir()
    (work / CONFIG.name).write_text('# the run\n')
    run_test(cfg, checkpoint, tta=True)
    assert (work / CONFIG.name).read_text() == '# the run\n'
    own, = work.glob(f'*/{CONFIG.name}')
    assert 'TestTimeAug' in own.read_text()


def test_pipeline_of_the_config_with_five_crops(trained, tmp_path):
    cfg, checkpoint = copy.deepcopy(trained[0]), trained[1]
    *steps, pack = cfg.test_dataloader.dataset.pipeline
    crops = [dict(type='CornerCrop', crop_size=28, corner=corner) for corner in CORNERS]
    crops.append(dict(type='CenterCrop', crop_size=28))
    back = [dict(type='Resize', scale=32)]
    cfg.tta_pipeline = [*steps, dict(type='TestTimeAug', transforms=[crops, back, [pack]])]
    run_test(cfg, checkpoint, str(tmp_path / 'all.pkl'), tta=True)
    import cv2

    def enlarged(x):
        return torch.stack([torch.from_numpy(cv2.resize(one[0].numpy(), (32, 32)))[None] for one in x])

    cuts = [np.s_[..., top:top + 28, left:left + 28] for top, left in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))]
    views, _ = by_hand(cfg, [lambda x, cut=cut: enlarged(x[cut]) for cut in cuts])
    mean = sum(scores_of(cfg, checkpoint, view) for view in views) / 5
    dumped = load(str(tmp_path / 'all.pkl'))
    torch.testing.assert_close(torch.stack([one['pred_score'] for one in dumped]), mean)


def test_corners():
    img = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8, 1)
    for corner, expected in zip(CORNERS, (img[:2, :3], img[:2, -3:], img[-2:, :3], img[-2:, -3:])):
        assert np.array_equal(CornerCrop((3, 2), corner)(dict(img=img))['img'], expected)
    assert CenterCrop((3, 2))(dict(img=img))['img'].shape == (2, 3, 1)
    with pytest.raises(ConfigError, match="did you mean 'top_left'"):
        TRANSFORMS.build(dict(type='CornerCrop', crop_size=2, corner='topleft'))


def test_views_are_all_combinations():
    views = TestTimeAug([[dict(type='RandomFlip', prob=1.), None],
                         [dict(type='CenterCrop', crop_size=s) for s in (2, 4)], [dict(type='PackInputs')]])
    img = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    out = views(dict(img=img, gt_label=1))
    assert [tuple(x.shape) for x in out['inputs']] == [(1, 2, 2), (1, 4, 4)] * 2
    assert torch.equal(out['inputs'][1], torch.from_numpy(img[:, ::-1].copy()).permute(2, 0, 1))
    assert torch.equal(out['inputs'][3], torch.from_numpy(img).permute(2, 0, 1))
    for wrong in ([], [dict(type='PackInputs')], [[]]):
        with pytest.raises(ConfigError, match='list of steps'):
            TestTimeAug(wrong)


def test_pipeline_without_views_is_refused(trained):
    cfg, checkpoint = copy.deepcopy(trained[0]), trained[1]
    cfg.tta_pipeline = list(cfg.test_dataloader.dataset.pipeline)
    with pytest.raises(ConfigError, match='tta_pipeline: must end with'):
        run_test(cfg, checkpoint, tta=True)


@pytest.mark.parametrize('step', [
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomFlip', prob=[0.5, 0.5], direction=['horizontal', 'vertical']),
    dict(type='RandomFlip', prob=1., direction=['horizontal', 'vertical']),
    dict(type='torchvision/RandomHorizontalFlip')
])
def test_a_view_left_to_chance_is_refused(step):
    with pytest.raises(ConfigError, match='TestTimeAug: Random.* is random'):
        TestTimeAug([[step, None], [dict(type='PackInputs')]])
    TestTimeAug([[dict(type='RandomFlip', prob=1., direction='vertical')], [dict(type='PackInputs')]])
