"""Several labels a picture, from the list to the prediction: training, testing, browsing, predicting, and what stops it."""
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from ftcls.apis import TrainOptions, browse_dataset, predict_files
from ftcls.apis import test as run_test
from ftcls.apis import train
from ftcls.datasets import DigitPairs
from ftcls.utils import UserError

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = [dict(type='Resize', scale=(64, 32)), dict(type='PackInputs')]
LOSSES = {
    'cross entropy': dict(type='CrossEntropyLoss', use_sigmoid=True),
    'asymmetric': dict(type='AsymmetricLoss'),
}


def config(work_dir: Path, pictures: Path | None = None, **overrides: object) -> Config:
    """LeNet-5 from scratch on 300 pairs of digits; with ``pictures``, as PNG files listed in CSV files there."""
    cfg = Config.fromfile(ROOT / 'configs' / 'tutorial' / 'lenet5_finetune_digit_pairs.py', lazy_import=False)
    cfg.work_dir = str(work_dir)
    cfg.model.backbone.init_cfg = None
    cfg.train_dataloader.dataset.pairs, cfg.train_dataloader.batch_size = 300, 16
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'].dataset.update(pairs=60, split='val')
    cfg.train_cfg.update(max_epochs=3, val_interval=1)
    cfg.optim_wrapper.optimizer.lr = 0.004
    if pictures is not None:
        for split in ('train', 'val', 'test'):
            cfg[f'{split}_dataloader'].dataset = dict(
                type='MultiLabelDataset',
                data_root=str(pictures),
                ann_file=f'{"train" if split == "train" else "val"}.csv',
                pipeline=[dict(type='LoadImageFromFile', color_type='grayscale'), *PIPELINE])
    cfg.merge_from_dict(overrides)
    return cfg


def write_pictures(folder: Path) -> Path:
    """Write pairs of digits as PNG files, and the lists of their labels, words."""
    folder.mkdir(parents=True, exist_ok=True)
    words = 'zero one two three four five six seven eight nine'.split()
    for split, count in (('train', 120), ('val', 40)):
        pairs = DigitPairs(subset='target', split=split, shots_per_class=10, pairs=count)
        lines = ['path,labels']
        for number in range(count):
            info = pairs.get_data_info(number)
            cv2.imwrite(str(folder / f'{split}_{number}.png'), info['img'])
            lines.append(f'{split}_{number}.png,{";".join(words[i] for i in info["gt_label"])}')
        (folder / f'{split}.csv').write_text('\n'.join(lines) + '\n')
    return folder


def validations(work_dir: Path) -> list[dict]:
    records = [json.loads(line) for line in (work_dir / 'metrics.jsonl').read_text().splitlines()]
    return [record for record in records if record['kind'] == 'val']


@pytest.mark.parametrize('loss', LOSSES)
def test_the_map_rises_on_real_digits(tmp_path: Path, loss: str) -> None:
    train(config(tmp_path, **{'train_cfg.max_epochs': 12, 'model.head.loss': dict(LOSSES[loss], _delete_=True)}))
    scores = [record['multi-label/mAP'] for record in validations(tmp_path)]
    assert scores[-1] > scores[0] + 10 and scores[-1] > 45, scores
    assert validations(tmp_path)[-1]['loss'] < validations(tmp_path)[0]['loss']
    preflight = (tmp_path / 'preflight.txt').read_text()
    assert re.search(r'train: 300 samples \(0 \d+, .*1\.\d\d labels per image, \d+ without any', preflight)
    assert list(tmp_path.glob('best_multi-label_mAP_epoch_*.pth'))


def test_a_list_of_files_from_training_to_prediction(tmp_path: Path) -> None:
    pictures, run = write_pictures(tmp_path / 'data'), tmp_path / 'run'
    cfg = config(run, pictures, **{'default_hooks.checkpoint.interval': 3})
    train(cfg)
    checkpoint = str(run / 'epoch_3.pth')
    results = []
    for size in (1, 7, 40):
        cfg.test_dataloader.batch_size = size
        results.append(run_test(cfg, checkpoint, str(tmp_path / 'scores.json')))
    for name in ('multi-label/mAP', 'multi-label/f1-score_micro', 'loss'):
        assert results[0][name] == pytest.approx(results[1][name]) == pytest.approx(results[2][name])
    assert set(json.loads((tmp_path / 'scores.json').read_text())) >= {'multi-label/mAP', 'loss'}
    assert 'multi-label/mAP' in run_test(cfg, checkpoint, tta=True, work_dir=str(tmp_path / 'tta'))
    path, said = browse_dataset(cfg, 'train', 6, tmp_path / 'browse.png')
    assert path.is_file() and any('labels per image' in line for line in said)

    cv2.imwrite(str(tmp_path / 'empty.png'), np.zeros((8, 16), np.uint8))
    files = [pictures / 'val_0.png', pictures / 'val_1.png', tmp_path / 'empty.png', 'missing.png']
    arguments = dict(checkpoint=checkpoint, device='cpu')
    report = predict_files(run, files, **arguments, out=tmp_path / 'out.csv', show_dir=tmp_path / 'show')
    names = sorted('zero one two three four five six seven eight nine'.split())
    for row in report.rows[:3]:
        assert [names[label] for label in row['pred_label']] == row['pred_class']
        assert all(score >= 0.5 for score in row['pred_score'])
        assert row['pred_score'] == sorted(row['pred_score'], reverse=True)
    assert 'error' in report.rows[3] and (tmp_path / 'show' / 'empty.png').is_file()
    best = predict_files(run, files, **arguments, topk=2, out=tmp_path / 'out.json')
    assert [len(row['topk']) for row in best.rows[:3]] == [2, 2, 2]
    json.loads((tmp_path / 'out.json').read_text())

    strict = Config.fromfile(run / cfg_name(run), lazy_import=False)
    strict.model.head.thr = 1.
    strict.dump(str(run / cfg_name(run)))
    none = predict_files(run, files[:1], **arguments, out=tmp_path / 'none.csv')
    assert re.search(r'val_0\.png +no label', none.table())
    assert (tmp_path / 'none.csv').read_text().splitlines()[1] == f'{files[0]},,,,,'


def cfg_name(run: Path) -> str:
    return next(path.name for path in run.glob('*.py'))


@pytest.mark.parametrize(('overrides', 'said'), [
    ({'model.head': dict(_delete_=True, type='LinearClsHead', num_classes=10, in_channels=120)},
     r"model\.head\.type: LinearClsHead predicts one class.*MultiLabelLinearClsHead"),
    ({'val_evaluator': [dict(type='AveragePrecision'), dict(type='Accuracy')]},
     r"val_evaluator\.1\.type: Accuracy judges one label.*set val_evaluator=\[dict\(type='AveragePrecision'\)"),
    ({'test_evaluator': dict(_delete_=True, type='SingleLabelMetric')}, r'test_evaluator\.type: SingleLabelMetric judges'),
    ({'val_evaluator': [dict(type='MultiLabelMetric', topk=11)]}, r'val_evaluator\.0\.topk=11: the data has only 10'),
    ({'model.head.num_classes': 9}, r'set model\.head\.num_classes=10'),
    ({'model.head.loss': dict(_delete_=True, type='CrossEntropyLoss')}, r'loss\.use_sigmoid=True'),
    ({'train_dataloader.dataset.classes': ['one', 'two']},
     r"train\.csv, line \d+: '\w+' is not among the 2 classes.*other_labels='ignore'"),
    ({'val_dataloader.dataset.ann_file': 'seven_gone.csv'},
     r'no sample of seven(?s:.*)allow_missing_classes=True'),
])  # yapf: disable
def test_what_stops_before_the_first_step(tmp_path: Path, overrides: dict, said: str) -> None:
    pictures = write_pictures(tmp_path / 'data')
    kept = (pictures / 'val.csv').read_text().replace('seven;', '').replace(';seven', '').replace(',seven', ',')
    (pictures / 'seven_gone.csv').write_text(kept)
    with pytest.raises(UserError, match=said):
        train(config(tmp_path / 'run', pictures, **overrides), TrainOptions())
    assert not list(tmp_path.rglob('*.pth'))


def test_a_class_without_a_validation_picture_may_be_allowed(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / 'data')
    kept = (pictures / 'val.csv').read_text().replace('seven;', '').replace(';seven', '').replace(',seven', ',')
    (pictures / 'val.csv').write_text(kept)
    overrides = {'train_cfg.max_epochs': 1, 'allow_missing_classes': True}
    train(config(tmp_path / 'run', pictures, **overrides))
    assert 0 <= validations(tmp_path / 'run')[0]['multi-label/mAP'] <= 100
    log = next((tmp_path / 'run').rglob('*.log')).read_text()
    assert log.count('no image has the label seven: left out of the mean') == 1
