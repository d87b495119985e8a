"""Masks are predicted as in validation, at the size of the picture; datasets are drawn as the network gets them."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from ftcls.apis import ImageSegmentationInferencer, browse_dataset, get_model, predict_files
from ftcls.apis import test as measure
from ftcls.apis import train
from ftcls.apis.analysis.browse import _preprocessed, denormalised
from ftcls.apis.training.loaders import build_datasets
from ftcls.models.data_preprocessor import ClsDataPreprocessor
from ftcls.registry import DATASETS
from ftcls.utils import ConfigError, DataError, MissingFileError
from ftcls.visualization import overlay_mask

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='Resize', scale=(32, 24)),
            dict(type='PackSegInputs')]  # yapf: disable


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (tmp_path / folder).mkdir()
    for i in range(6):
        mask = np.zeros((48, 64), np.uint8)
        mask[10:30, 5 + i:40] = 255
        img = np.clip(rng.normal(60, 20, (48, 64, 3)) + 0.5 * mask[..., None], 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / 'images' / f'{i}.png'), img)
        cv2.imwrite(str(tmp_path / 'masks' / f'{i}_mask.png'), mask)

    def loader(split: str) -> dict:
        dataset = dict(
            type='BinarySegDataset', data_root=str(tmp_path), split=split, val_fraction=0.5, pipeline=PIPELINE)
        return dict(
            batch_size=2,
            num_workers=0,
            collate_fn=dict(type='default_collate'),
            dataset=dataset,
            sampler=dict(type='DefaultSampler', shuffle=split == 'train'))

    evaluator = [dict(type='DiceMetric'), dict(type='IoUMetric')]
    return Config(
        dict(
            default_scope='ftcls',
            work_dir=str(tmp_path / 'run'),
            model=dict(type='ImageSegmentor', backbone=dict(type='UNet', base_channels=2), head=dict(type='PixelHead')),
            data_preprocessor=dict(mean=[100., 90., 80.], std=[50., 60., 70.], to_rgb=True),
            train_dataloader=loader('train'),
            val_dataloader=loader('val'),
            test_dataloader=loader('val'),
            val_evaluator=evaluator,
            test_evaluator=evaluator,
            train_cfg=dict(by_epoch=True, max_epochs=2),
            val_cfg=dict(),
            test_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.01)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto')),
            randomness=dict(seed=0)))


def test_train_test_predict(cfg: Config, tmp_path: Path, drawn_curves: None) -> None:
    train(cfg)
    run = tmp_path / 'run'
    best = next(run.glob('best_dice_*.pth'))
    preflight = (run / 'preflight.txt').read_text()
    assert 'train: 3 samples; ' in preflight and 'masks     train: 0 (79' in preflight
    assert '255 (20.8 %); foreground 20.8 %, ignored 0 %' in preflight
    assert (run / 'curves.png').stat().st_size > 10_000
    metrics = measure(cfg, str(best))
    assert {'dice', 'dice_set', 'iou', 'iou_set', 'loss'} <= set(metrics)
    cfg.dump(run / 'seg.py')
    shown = tmp_path / 'shown'
    report = predict_files(run, [tmp_path / 'images', tmp_path / 'none.png'], out=tmp_path / 'p.csv', show_dir=shown)
    assert len(report.rows) == 7 and len(report.broken) == 1 and report.exit_code == 1
    assert 'foreground' in report.table() and len((tmp_path / 'p.csv').read_text().splitlines()) == 8
    for i, row in enumerate(report.rows[:6]):
        mask = cv2.imread(str(shown / f'{i}_mask.png'), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (48, 64) and set(np.unique(mask)) <= {0, 255}
        assert row['foreground'] == pytest.approx((mask > 0).mean())
        assert cv2.imread(str(shown / f'{i}_overlay.png')).shape == (48, 64, 3)


def test_predicts_as_validation(cfg: Config, tmp_path: Path) -> None:
    model = get_model(cfg, pretrained=False, device='cpu')
    cfg.test_dataloader.dataset.pipeline = [PIPELINE[0], PIPELINE[1], PIPELINE[3]]  # at the size of the picture
    model._config = cfg
    result = ImageSegmentationInferencer(model)(str(tmp_path / 'images' / '0.png'))[0]
    info = DATASETS.build(dict(cfg.test_dataloader.dataset, split=None))[0]
    with torch.no_grad():
        sample = model.test_step(dict(inputs=[info['inputs']], data_samples=[info['data_samples']]))[0]
    assert np.array_equal(result['pred_prob'], sample.pred_prob.numpy())
    assert np.array_equal(result['pred_mask'], sample.pred_mask.numpy())
    assert result['foreground'] == pytest.approx(sample.pred_mask.float().mean().item())


def test_refuses_what_cannot_be_laid_over(cfg: Config) -> None:
    model = get_model(cfg, pretrained=False, device='cpu')
    model._config.test_dataloader.dataset.pipeline.insert(2, dict(type='CenterCrop', crop_size=32))
    with pytest.raises(ConfigError, match='CenterCrop'):
        ImageSegmentationInferencer(model)


@pytest.mark.parametrize('color_type, size', [('color', (64, 48)), ('color_ignore_orientation', (48, 64))])
def test_masks_of_turned_photos_lie_as_in_training(cfg: Config, tmp_path: Path, color_type: str, size: tuple) -> None:
    """A photo and its mask, both stored turned: prediction and drawing have the size that training sees."""
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.pipeline = [dict(type='LoadImageFromFile', color_type=color_type), PIPELINE[1], PIPELINE[3]]
        loader.dataset.mask_name = '{stem}_mask.png'
    exif = Image.Exif()
    exif[0x112] = 6
    for path in sorted((tmp_path / 'images').iterdir()):
        Image.open(path).save(path, exif=exif)
    dataset = build_datasets(cfg, ['train'])[0]['train']
    dataset.check_masks()
    assert dataset[0]['data_samples'].gt_mask.shape == dataset[0]['inputs'].shape[1:] == size
    inferencer = ImageSegmentationInferencer(get_model(cfg, pretrained=False, device='cpu'))
    result = inferencer(dataset.get_data_info(0)['img_path'], show_dir=tmp_path / 'shown')[0]
    assert result['pred_mask'].shape == size
    for drawn in (tmp_path / 'shown').iterdir():
        assert cv2.imread(str(drawn)).shape[:2] == size


@pytest.mark.parametrize('setting, other, split', [
    (dict(foreground=0), {}, 'val'), (dict(threshold=127), {}, 'test'), (dict(foreground=255), dict(foreground=0), 'test'),
    (dict(ignore_value=7), {}, 'val'),
])  # yapf: disable
def test_masks_mean_the_same_in_each_split(cfg: Config, setting: dict, other: dict, split: str) -> None:
    for name in ('train', 'val', 'test'):
        cfg[f'{name}_dataloader'].dataset.update(other if name == split else setting)
    name, = setting
    with pytest.raises(
            ConfigError, match=f'{split}_dataloader.dataset.{name}: .* but train_.*{name} is {setting[name]}'):
        train(cfg)


def test_masks_that_do_not_fit_are_refused_before_an_evaluation(cfg: Config, tmp_path: Path) -> None:
    torch.save(dict(state_dict=get_model(cfg, pretrained=False, device='cpu').state_dict()), tmp_path / 'w.pth')
    for path in (tmp_path / 'masks').iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path), 0) // 255 + 1)
    with pytest.raises(
            DataError, match="test_dataloader.dataset: .*masks: foreground='nonzero' takes 100 %.*foreground=2"):
        measure(cfg, str(tmp_path / 'w.pth'))


def test_two_sizes_of_batches_measure_the_same(cfg: Config, tmp_path: Path) -> None:
    torch.save(dict(state_dict=get_model(cfg, pretrained=False, device='cpu').state_dict()), tmp_path / 'w.pth')
    results = []
    for size in (1, 3):
        cfg.test_dataloader.batch_size = size
        results.append(measure(cfg, str(tmp_path / 'w.pth')))
    for name in ('dice', 'dice_set', 'iou', 'iou_set'):
        assert results[0][name] == pytest.approx(results[1][name], abs=0.2)  # a pixel may lie on the threshold


def test_browse(cfg: Config, tmp_path: Path) -> None:
    path, lines = browse_dataset(cfg, 'train', 5, tmp_path / 'deep' / 'grid.png')
    drawn = cv2.imread(str(path))
    # the pictures are there, with their masks: vermilion, which is nothing else's colour
    assert (drawn < 200).any(axis=2).mean() > 0.3 and (drawn == (0, 94, 213)).all(axis=2).any()
    assert '3 samples as the network gets them (32x24)' in lines[-1]
    for arguments, text in ((('train', 0), 'number'), (('train', 1, 'grid.jpg'), 'png')):
        with pytest.raises(ConfigError, match=text):
            browse_dataset(cfg, *arguments)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    with pytest.raises(ConfigError, match='val_dataloader'):
        browse_dataset(cfg, 'val')


@pytest.mark.parametrize('to_rgb', [True, False])
def test_browse_shows_the_true_colours(cfg: Config, tmp_path: Path, to_rgb: bool) -> None:
    cfg.train_dataloader.dataset.pipeline = [PIPELINE[0], PIPELINE[1], PIPELINE[3]]
    dataset = build_datasets(cfg, ['train'])[0]['train']
    path = dataset.get_data_info(0)['img_path']
    preprocessor = ClsDataPreprocessor([100., 90., 80.], [50., 60., 70.], to_rgb=to_rgb)
    images, _ = _preprocessed([dataset[0]], preprocessor, True)
    assert np.array_equal(images[0], cv2.imread(path)[..., ::-1])


def test_denormalises_what_the_pipeline_has_normalised(cfg: Config, tmp_path: Path) -> None:
    step = dict(type='Normalize', mean=[100., 90., 80.], std=[50., 60., 70.], to_rgb=True)
    cfg.train_dataloader.dataset.pipeline = [PIPELINE[0], PIPELINE[1], step, PIPELINE[3]]
    dataset = build_datasets(cfg, ['train'])[0]['train']
    packed = dataset[0]
    image = denormalised(packed['inputs'], packed['data_samples'], ClsDataPreprocessor())
    assert np.array_equal(image, cv2.imread(dataset.get_data_info(0)['img_path'])[..., ::-1])


def test_overlay() -> None:
    image, mask = np.full((20, 30, 3), 100, np.uint8), np.zeros((20, 30), np.uint8)
    mask[5:15, 5:25], mask[0] = 1, 255
    out = overlay_mask(image, mask)
    assert (out[16:] == 100).all() and (out[10, 10] == np.rint([156.5, 97, 50])).all()
    assert (out[5, 5] == [213, 94, 0]).all() and out[0, 0, 2] > out[0, 0, 0]  # the line around it; what is unknown
    assert np.array_equal(overlay_mask(image[..., 0], mask), out) and (image == 100).all()


@pytest.mark.parametrize('split', ['val', 'test'])
def test_a_metric_of_classes_is_refused_before_the_first_step(cfg: Config, tmp_path: Path, split: str) -> None:
    cfg[f'{split}_evaluator'] = [dict(type='DiceMetric'), dict(type='Accuracy')]
    with pytest.raises(ConfigError, match=f'{split}_evaluator: Accuracy cannot judge.*DiceMetric.*IoUMetric'):
        train(cfg)
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_a_loss_of_classes_is_refused(cfg: Config) -> None:
    cfg.model.head.loss = dict(type='CrossEntropyLoss')
    with pytest.raises(ConfigError, match='PixelHead: loss=CrossEntropyLoss.*BCEWithLogitsLoss.*DiceLoss'):
        train(cfg)


def test_what_is_said_of_an_empty_folder(cfg: Config, tmp_path: Path) -> None:
    cfg.dump(tmp_path / 'seg.py')
    torch.save(dict(state_dict=get_model(cfg, False, 'cpu').state_dict(), meta={}), tmp_path / 'm.pth')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'bad.png').write_bytes(b'x')
    inputs = [tmp_path / 'empty', tmp_path / 'bad.png']
    report = predict_files(tmp_path / 'seg.py', inputs, tmp_path / 'm.pth', show_dir=tmp_path / 'shown')
    assert f'{tmp_path}/empty is a folder without images' in report.table()
    assert 'drawn in' not in report.table() and len(report.broken) == 2
    with pytest.raises(MissingFileError, match='empty is a folder without images$'):
        predict_files(tmp_path / 'seg.py', [tmp_path / 'empty'], tmp_path / 'm.pth')
    one = tmp_path / 'images' / '0.png'
    report = predict_files(
        tmp_path / 'seg.py', [one], tmp_path / 'm.pth', out=tmp_path / 'p.csv', show_dir=tmp_path / 's')
    assert 'drawn in' in report.table()
    head, row = (tmp_path / 'p.csv').read_text().splitlines()
    assert head == 'img_path,foreground,error,mask,overlay' and row.endswith('0_overlay.png')
    assert float(row.split(',')[1]) == pytest.approx(report.rows[0]['foreground'])
