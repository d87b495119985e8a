"""Predictions equal those of the validation, from files and arrays, by the API and by the tool."""
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from ftcls.apis.inference.inferencer import ImageClassificationInferencer, inference_model
from ftcls.apis.inference.model_zoo import find_checkpoint, find_config, get_model, list_models
from ftcls.apis.inference.predict import find_images, predict_files, split_checkpoint
from ftcls.registry import DATASETS, TRANSFORMS
from ftcls.structures import DataSample
from ftcls.utils import CheckpointError, ConfigError, DataError, MissingFileError

ROOT = Path(__file__).resolve().parents[3]
CLASSES = ['ant', 'bee', 'wasp']
ARRAYS = [dict(type='Resize', scale=32), dict(type='PackInputs')]
FILES = [dict(type='LoadImageFromFile'), *ARRAYS]


def _config(pipeline: list[dict], dataset: str = 'CustomDataset', to_rgb: bool = True, channels: int = 3) -> Config:
    """A LeNet-5 for three classes; its validation has this pipeline."""
    loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    return Config(
        dict(
            default_scope='ftcls',
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='LeNet5', num_classes=3, in_channels=channels),
                head=dict(type='ClsHead', loss=dict(type='CrossEntropyLoss'))),
            data_preprocessor=dict(
                type='ClsDataPreprocessor',
                mean=[100., 120., 140.][:channels],
                std=[50., 60., 70.][:channels],
                to_rgb=to_rgb),
            test_dataloader=dict(loader, dataset=dict(type=dataset, data_root='nowhere', pipeline=pipeline))))


def _save_checkpoint(cfg: Config, path: Path, classes: list[str] | None = None, seed: int = 0) -> None:
    torch.manual_seed(seed)
    weights = get_model(cfg, pretrained=False, device='cpu').state_dict()
    # Larger than they come, so that the classes' scores differ.
    weights = {name: 3 * value if value.is_floating_point() else value for name, value in weights.items()}
    meta = dict(dataset_meta=dict(classes=classes)) if classes else {}
    torch.save(dict(meta=meta, state_dict=weights), path)


def _work_dir(folder: Path, cfg: Config, **kwargs) -> Path:
    folder.mkdir()
    cfg.dump(folder / 'lenet5.py')
    _save_checkpoint(cfg, folder / 'epoch_2.pth', **kwargs)
    (folder / 'last_checkpoint').write_text('/moved/since/epoch_2.pth')
    return folder


def _pictures(count: int, size: tuple[int, int] = (40, 50), seed: int = 0) -> list[np.ndarray]:
    """Blurred noise, (H, W, 3) RGB uint8."""
    noise = np.random.default_rng(seed)
    return [cv2.blur(noise.integers(0, 256, (*size, 3), dtype=np.uint8), (3, 3)) for _ in range(count)]


def _validated(model: nn.Module, image: np.ndarray, order: str) -> np.ndarray:
    """Scores of one picture the way the validation gets them: the dataset's dict through the pipeline, as a batch."""
    sample = dict(img=image, channel_order=order, img_shape=image.shape[:2], ori_shape=image.shape[:2], gt_label=0)
    for step in ARRAYS:
        sample = TRANSFORMS.build(step)(sample)
    batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
    with torch.no_grad():
        return model.test_step(batch)[0].pred_score.numpy()


@pytest.mark.parametrize('to_rgb', [True, False])
def test_a_dataset_of_rgb_arrays_and_the_same_picture_from_a_file(tmp_path: Path, to_rgb: bool) -> None:
    """CIFAR-10 holds RGB arrays and its pipeline loads no files; a PNG and a BGR array must score the same."""
    folder = _work_dir(tmp_path / 'run', _config(ARRAYS, 'CIFAR10', to_rgb), classes=CLASSES)
    inferencer = ImageClassificationInferencer(folder, device='cpu')
    image = _pictures(1)[0]
    cv2.imwrite(str(tmp_path / 'a.png'), image[..., ::-1])
    expected = _validated(inferencer.model, image, 'rgb')
    assert expected.max() - expected.min() > 0.02
    results = inferencer([str(tmp_path / 'a.png'), tmp_path / 'a.png', np.ascontiguousarray(image[..., ::-1])])
    for result in results:
        assert np.array_equal(result['pred_scores'], expected)
        assert result['pred_label'] == expected.argmax() and result['pred_score'] == pytest.approx(expected.max())
        assert result['pred_class'] == CLASSES[expected.argmax()]
    # The order matters: the test would notice if red and blue were exchanged.
    assert not np.allclose(inferencer(image)[0]['pred_scores'], expected, atol=1e-4)


def test_a_dataset_of_files(tmp_path: Path) -> None:
    folder = _work_dir(tmp_path / 'run', _config(FILES), classes=CLASSES)
    inferencer = ImageClassificationInferencer(folder, device='cpu')
    image = _pictures(1)[0]
    cv2.imwrite(str(tmp_path / 'a.png'), image[..., ::-1])
    # Stored in RGB, but loaded, as the validation does, in BGR.
    expected = _validated(inferencer.model, np.ascontiguousarray(image[..., ::-1]), 'bgr')
    for picture in (tmp_path / 'a.png', np.ascontiguousarray(image[..., ::-1])):
        assert np.array_equal(inferencer(picture)[0]['pred_scores'], expected)


def test_grey_models_take_colour_pictures_and_the_reverse(tmp_path: Path) -> None:
    folder = _work_dir(tmp_path / 'grey', _config(ARRAYS, 'MNIST', to_rgb=False, channels=1), classes=CLASSES)
    inferencer = ImageClassificationInferencer(folder, device='cpu')
    grey = cv2.cvtColor(_pictures(1)[0], cv2.COLOR_RGB2GRAY)
    cv2.imwrite(str(tmp_path / 'grey.png'), grey)
    expected = _validated(inferencer.model, grey, 'bgr')
    colour = np.repeat(grey[..., None], 3, axis=2)
    for picture in (tmp_path / 'grey.png', grey, colour):
        assert np.allclose(inferencer(picture)[0]['pred_scores'], expected, atol=1e-6)
    folder = _work_dir(tmp_path / 'colour', _config(FILES), classes=CLASSES)
    inferencer = ImageClassificationInferencer(folder, device='cpu')
    assert np.array_equal(inferencer(grey)[0]['pred_scores'], inferencer(colour)[0]['pred_scores'])


def test_the_batch_size_does_not_matter_though_sizes_differ(tmp_path: Path) -> None:
    """Without Resize in the pipeline pictures differ in size; padding them into one batch would change their scores."""
    cfg = _config(FILES[:1] + FILES[2:])
    cfg.model.backbone = dict(type='CifarResNet', depth=20)
    cfg.model.neck = dict(type='GlobalAveragePooling')
    cfg.model.head = dict(type='LinearClsHead', num_classes=3, in_channels=64)
    inferencer = ImageClassificationInferencer(get_model(cfg, False, 'cpu'), classes=CLASSES)
    pictures = _pictures(3) + _pictures(2, (16, 24)) + _pictures(2, seed=1)
    alone = inferencer(pictures)
    for batch_size in (3, 7):
        for one, other in zip(alone, inferencer(pictures, batch_size=batch_size), strict=True):
            assert np.allclose(one['pred_scores'], other['pred_scores'], atol=1e-5)
    samples = inferencer(pictures, return_datasamples=True, batch_size=4)
    assert all(isinstance(sample, DataSample) for sample in samples)
    assert [int(sample.pred_label) for sample in samples] == [result['pred_label'] for result in alone]


def test_topk_and_drawings(tmp_path: Path) -> None:
    inferencer = ImageClassificationInferencer(
        _work_dir(tmp_path / 'run', _config(FILES), classes=CLASSES), device='cpu')
    for folder in ('x', 'y'):
        (tmp_path / folder).mkdir()
        # Of one color: matplotlib before 3.11 moves pixels by up to one place.
        cv2.imwrite(str(tmp_path / folder / 'a.png'), np.full((250, 300, 3), (200, 100, 50), np.uint8))
    results = inferencer(
        [tmp_path / 'x/a.png', tmp_path / 'y/a.png', _pictures(1)[0]], show_dir=tmp_path / 'show', topk=3)
    assert sorted(file.name for file in (tmp_path / 'show').iterdir()) == ['2.png', 'a.png', 'a_2.png']
    assert cv2.imread(str(tmp_path / 'show' / 'a.png')).shape == (250, 300, 3)
    assert np.array_equal(cv2.imread(str(tmp_path / 'show/a.png'))[150:], cv2.imread(str(tmp_path / 'x/a.png'))[150:])
    hits = results[0]['topk']
    assert [hit['score'] for hit in hits] == sorted(results[0]['pred_scores'].tolist(), reverse=True)
    assert [CLASSES[hit['label']] for hit in hits] == [hit['class'] for hit in hits]
    for wrong in (0, 4):
        with pytest.raises(ConfigError, match='topk must be from 1 to 3'):
            inferencer(_pictures(1), topk=wrong)


def test_class_names_come_from_the_checkpoint_then_the_config_then_nowhere(tmp_path: Path) -> None:
    cfg = _config(FILES)
    _save_checkpoint(cfg, tmp_path / 'named.pth', CLASSES)
    _save_checkpoint(cfg, tmp_path / 'nameless.pth')
    cfg.test_dataloader.dataset.classes = ['x', 'y', 'z']
    assert ImageClassificationInferencer(cfg, tmp_path / 'named.pth', 'cpu').classes == CLASSES
    assert ImageClassificationInferencer(cfg, tmp_path / 'nameless.pth', 'cpu').classes == ['x', 'y', 'z']
    (tmp_path / 'classes.txt').write_text('p\nq\nr\n')
    cfg.test_dataloader.dataset.classes = str(tmp_path / 'classes.txt')
    assert ImageClassificationInferencer(cfg, tmp_path / 'nameless.pth', 'cpu').classes == ['p', 'q', 'r']
    del cfg.test_dataloader.dataset['classes']
    inferencer = ImageClassificationInferencer(cfg, tmp_path / 'nameless.pth', 'cpu')
    assert inferencer.classes is None and 'pred_class' not in inferencer(_pictures(1))[0]
    cifar = _config(ARRAYS, 'CIFAR10')
    with pytest.raises(ConfigError, match='10 class names .* the model scores 3 classes'):
        ImageClassificationInferencer(cifar, tmp_path / 'nameless.pth', 'cpu')(_pictures(1))


def test_the_best_checkpoint_else_the_last(tmp_path: Path) -> None:
    folder = _work_dir(tmp_path / 'run', _config(FILES))
    assert find_config(folder).name == 'lenet5.py'
    assert find_checkpoint(folder).name == 'epoch_2.pth'
    (folder / 'last_checkpoint').unlink()
    (folder / 'epoch_10.pth').write_bytes(b'')
    assert find_checkpoint(folder).name == 'epoch_10.pth'
    (folder / 'best_accuracy_top1_epoch_1.pth').write_bytes(b'')
    assert find_checkpoint(folder).name == 'best_accuracy_top1_epoch_1.pth'


def test_missing_things_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = _work_dir(tmp_path / 'run', _config(FILES))
    for file in ('epoch_2.pth', 'last_checkpoint'):
        (run / file).unlink()
    with pytest.raises(MissingFileError, match='holds no checkpoint .* it holds lenet5.py; finish the training'):
        ImageClassificationInferencer(run)
    with pytest.raises(MissingFileError, match='no checkpoint is given for .*lenet5.py'):
        ImageClassificationInferencer(run / 'lenet5.py')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(MissingFileError, match='holds no config .* it holds nothing'):
        get_model(tmp_path / 'empty')
    with pytest.raises(MissingFileError, match='no config, work dir or name'):
        get_model('no_such_model')
    with pytest.raises(ConfigError, match='weights.pth is a checkpoint; give its config'):
        get_model('weights.pth')
    with pytest.raises(MissingFileError):
        get_model(run, 'weights.pth')
    with pytest.raises(ConfigError, match='neither test_dataloader nor val_dataloader'):
        ImageClassificationInferencer(get_model(Config(dict(model=_config(FILES).model)), False, 'cpu'))
    with pytest.raises(ConfigError, match='does not carry the config'):
        ImageClassificationInferencer(nn.Linear(1, 1))


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    cfg = _config(FILES)
    _save_checkpoint(cfg, tmp_path / 'three.pth', CLASSES)
    cfg.model.backbone.num_classes = 5
    with pytest.raises(CheckpointError, match='classifier'):
        get_model(cfg, tmp_path / 'three.pth', 'cpu')


def test_weights_are_the_checkpoints_and_nothing_is_fetched(tmp_path: Path) -> None:
    cfg = _config(FILES)
    _save_checkpoint(cfg, tmp_path / 'a.pth')
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='https://127.0.0.1:9/never.pth')
    model = get_model(cfg, tmp_path / 'a.pth', 'cpu')
    saved = torch.load(tmp_path / 'a.pth', weights_only=True)['state_dict']
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert cfg.model.backbone.init_cfg.type == 'Pretrained', 'the caller\'s config was edited'
    assert get_model(cfg, False, 'cpu', backbone=dict(num_classes=9)).backbone.num_classes == 9


def test_broken_pictures_are_named_and_do_not_lose_the_others(tmp_path: Path) -> None:
    inferencer = ImageClassificationInferencer(
        _work_dir(tmp_path / 'run', _config(FILES), classes=CLASSES), device='cpu')
    cv2.imwrite(str(tmp_path / 'good.png'), _pictures(1)[0])
    (tmp_path / 'broken.jpg').write_bytes(b'\xff\xd8 not a picture')
    paths = [tmp_path / 'broken.jpg', tmp_path / 'good.png', tmp_path / 'missing.png']
    with pytest.raises(DataError, match='broken.jpg'):
        inferencer(paths)
    with pytest.raises(MissingFileError, match='missing.png does not exist'):
        inferencer(paths[2])
    for batch_size in (1, 3):
        results = inferencer(paths, batch_size=batch_size, skip_broken=True)
        assert ['error' in result for result in results] == [True, False, True]
        assert 'broken.jpg' in results[0]['error'] and results[1]['pred_class'] in CLASSES
    for wrong in (np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8)):
        with pytest.raises(DataError, match='of uint8, got'):
            inferencer(wrong)


def test_inference_model(tmp_path: Path) -> None:
    folder = _work_dir(tmp_path / 'run', _config(FILES))
    result = inference_model(folder, _pictures(1)[0], device='cpu', classes=CLASSES, topk=1)
    assert set(result) == {'pred_scores', 'pred_label', 'pred_score', 'pred_class', 'topk'}
    model = get_model(folder, device='cpu')
    assert inference_model(model, _pictures(1)[0])['pred_label'] == result['pred_label']
    with pytest.raises(TypeError, match='batch'):
        inference_model(model, _pictures(1)[0], batch=3)


def test_list_models() -> None:
    names = list_models()
    assert names == sorted(names) and 'resnet50_finetune_cifar' in names
    assert not any('default_runtime' in name for name in names)
    assert list_models('resnet50*cifar') and set(list_models('resnet50*cifar')) < set(names)
    assert ImageClassificationInferencer.list_models('no_such') == []


def test_checkpoints_are_told_apart_from_pictures() -> None:
    assert split_checkpoint(['a.pth', 'b.jpg']) == ('a.pth', ['b.jpg'])
    assert split_checkpoint(['https://x.org/a.safetensors?raw=1', 'b'])[0].startswith('https')
    assert split_checkpoint(['torchvision://resnet18', 'b'])[1] == ['b']
    assert split_checkpoint(['b.jpg', 'a.pth']) == (None, ['b.jpg', 'a.pth'])


def test_pictures_are_found_in_folders_and_by_patterns(tmp_path: Path) -> None:
    (tmp_path / 'in').mkdir()
    for name in ('b.JPG', 'in/a.png', 'notes.txt'):
        (tmp_path / name).write_bytes(b'')
    expected = [str(tmp_path / 'b.JPG'), str(tmp_path / 'in/a.png')]
    pictures, notes = find_images([tmp_path, tmp_path / 'b.JPG'])
    assert pictures == expected and notes == [f'{tmp_path}: skipped 1 file without an image in it']
    assert find_images([f'{tmp_path}/**/*.png', 'missing.png'])[0] == [expected[1], 'missing.png']


def test_the_tool(tmp_path: Path) -> None:
    """One picture is broken: the others are predicted, it is named, and the exit code is 1."""
    folder = _work_dir(tmp_path / 'run', _config(FILES), classes=CLASSES)
    (tmp_path / 'pictures').mkdir()
    for index, picture in enumerate(_pictures(3)):
        cv2.imwrite(str(tmp_path / 'pictures' / f'{index}.png'), picture)
    (tmp_path / 'pictures' / 'broken.jpg').write_bytes(b'')
    command = [sys.executable, str(ROOT / 'tools' / 'predict.py'), str(folder), str(folder / 'epoch_2.pth')]
    command += [str(tmp_path / 'pictures'), '--topk', '2', '--device', 'cpu', '--batch-size', '2']
    environment = dict(os.environ, OMP_NUM_THREADS='1')
    run = subprocess.run(
        command + ['--out', str(tmp_path / 'out.json')], capture_output=True, text=True, env=environment, timeout=120)
    assert run.returncode == 1, run.stderr
    assert 'Traceback' not in run.stderr
    assert '1 of 4 images could not be predicted:' in run.stdout and 'broken.jpg' in run.stdout
    rows = json.loads((tmp_path / 'out.json').read_text())
    assert [Path(row['img_path']).name for row in rows] == ['0.png', '1.png', '2.png', 'broken.jpg']
    direct = ImageClassificationInferencer(folder, device='cpu')(rows[0]['img_path'])[0]
    assert rows[0]['pred_class'] == direct['pred_class'] and len(rows[0]['topk']) == 2
    assert rows[0]['pred_score'] == pytest.approx(direct['pred_score'], abs=1e-6)
    assert f'{direct["pred_class"]} ({direct["pred_label"]})' in run.stdout


def test_predictions_as_csv_and_what_is_refused(tmp_path: Path) -> None:
    folder = _work_dir(tmp_path / 'run', _config(FILES))
    cv2.imwrite(str(tmp_path / 'a.png'), _pictures(1)[0])
    report = predict_files(
        folder, [tmp_path / 'a.png', 'missing.png'], topk=3, out=tmp_path / 'new' / 'out.csv', device='cpu')
    assert report.exit_code == 1 and 'these are indices' in report.table()
    with (tmp_path / 'new' / 'out.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['rank'] for row in rows] == ['1', '2', '3', '']
    assert float(rows[0]['score']) == pytest.approx(report.rows[0]['pred_score']) and rows[0]['error'] == ''
    assert rows[3]['error'].startswith('missing.png does not exist')
    with pytest.raises(ConfigError, match='must end in .json or .csv'):
        predict_files(folder, ['a.png'], out='out.txt')
    with pytest.raises(DataError, match='no images to predict'):
        predict_files(folder, [])


def test_what_is_wrong_is_said_before_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                          caplog: pytest.LogCaptureFixture) -> None:
    folder = _work_dir(tmp_path / 'run', _config(FILES))
    cv2.imwrite(str(tmp_path / 'a.png'), _pictures(1)[0])

    def loaded(*args: object) -> None:
        raise RuntimeError('the model is loaded')

    monkeypatch.setattr('ftcls.apis.inference.predict.get_model', loaded)
    with pytest.raises(
            MissingFileError, match=r"(?s)aa.png does not exist; did you mean 'a.png'.*b.png does not exist"):
        predict_files(folder, [tmp_path / 'aa.png', tmp_path / 'b.png'])
    for topk in (0, 99):
        with pytest.raises(ConfigError, match=f'topk must be from 1 to .*got {topk}'):
            predict_files(folder, [tmp_path / 'a.png'], topk=topk)
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with pytest.raises(RuntimeError):
        predict_files(folder, [tmp_path / 'a.png', tmp_path / 'aa.png'])
    logger.removeHandler(caplog.handler)
    assert '1 of 2 images cannot be predicted' in caplog.records[-1].getMessage()


def test_real_pictures_score_as_files_what_they_scored_in_the_dataset(tmp_path: Path, real_data: Path) -> None:
    """CIFAR-10's test pictures, which the dataset holds as RGB arrays, and a ResNet-20 that was trained by others."""
    dataset = dict(
        type='CIFAR10', data_root=str(real_data / 'cifar10'), split='test', verify=False, pipeline=ARRAYS[1:])
    cfg = _config(ARRAYS[1:], 'CIFAR10')
    cfg.model.backbone = dict(type='CifarResNet', depth=20)
    cfg.model.neck = dict(type='GlobalAveragePooling')
    cfg.model.head = dict(type='LinearClsHead', num_classes=10, in_channels=64)
    cfg.data_preprocessor.update(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    inferencer = ImageClassificationInferencer(cfg, real_data / 'resnet20-12fca82f.th', 'cpu')
    data = DATASETS.build(dataset)
    samples, files = [data[index] for index in range(24)], []
    for index, sample in enumerate(samples):
        files.append(tmp_path / f'{index}.png')
        cv2.imwrite(str(files[-1]), sample['inputs'].permute(1, 2, 0).numpy()[..., ::-1])
    batch = dict(inputs=[s['inputs'] for s in samples], data_samples=[s['data_samples'] for s in samples])
    with torch.no_grad():
        validated = inferencer.model.test_step(batch)
    predicted = inferencer(files, batch_size=len(files))
    for expected, result in zip(validated, predicted, strict=True):
        assert np.array_equal(expected.pred_score.numpy(), result['pred_scores'])
    truth = [data.metainfo['classes'][int(sample['data_samples'].gt_label)] for sample in samples]
    assert sum(result['pred_class'] == name for result, name in zip(predicted, truth)) >= 20
