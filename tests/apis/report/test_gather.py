"""What a report says of a run: scores, mistakes, labels that look wrong, duplicates, and what is left out."""
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from scipy import stats

from ftcls import apis
from ftcls.apis.report import images
from ftcls.apis.report.contents import RunContents
from ftcls.apis.report.gather import gather_run
from ftcls.apis.report.judging import mean_interval
from ftcls.apis.report.verdict import verdict_of
from ftcls.evaluation.predictions import Predictions
from ftcls.utils import DataError, MissingFileError


def write_images(root: Path, split: str, counts: dict[str, int], seed: int) -> None:
    """Write bright cats and dark dogs, (32, 32) RGB."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (root / split / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 80, (32, 32, 3)) + (150 if name == 'cat' else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f'{i}.png')


def config(root: Path, **overrides: object) -> Config:
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

    def loader(split: str, shuffle: bool) -> dict:
        dataset = dict(type='CustomDataset', data_root=str(root), data_prefix=split, pipeline=pipeline)
        return dict(
            batch_size=8,
            num_workers=0,
            dataset=dataset,
            sampler=dict(type='DefaultSampler', shuffle=shuffle),
            collate_fn=dict(type='default_collate'))

    return Config(
        dict(
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='LeNet5', num_classes=-1, in_channels=3),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=2, in_channels=120)),
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
            train_dataloader=loader('train', True),
            val_dataloader=loader('val', False),
            test_dataloader=loader('test', False),
            train_cfg=dict(by_epoch=True, max_epochs=3),
            val_cfg=dict(),
            test_cfg=dict(),
            val_evaluator=dict(type='Accuracy'),
            test_evaluator=dict(type='Accuracy'),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.003)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', save_best='auto')),
            randomness=dict(seed=0),
            **overrides))


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that are easily told apart; a dog among the cats and a training image in the validation set."""
    root = tmp_path_factory.mktemp('data')
    for seed, (split, counts) in enumerate(dict(train=dict(cat=16, dog=16), val=dict(cat=12, dog=8),
                                                test=dict(cat=4, dog=4)).items()):  # yapf: disable
        write_images(root, split, counts, seed)
    (root / 'val' / 'dog' / '7.png').rename(root / 'val' / 'cat' / 'wrong.png')
    shutil.copy(root / 'train' / 'cat' / '3.png', root / 'val' / 'cat' / 'again.png')
    return root


@pytest.fixture(scope='module')
def work_dir(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('runs') / 'animals'
    apis.train(config(data), apis.TrainOptions(work_dir=str(folder)))
    return folder


@pytest.fixture(scope='module')
def contents(work_dir: Path) -> RunContents:
    return gather_run(work_dir)


def test_score_is_that_of_the_best_checkpoint(contents: RunContents, work_dir: Path) -> None:
    assert contents.notes == ['calibration: no temperature fits 11 predictions, which are all right; take more or other '
                              'images']  # yapf: disable
    assert contents.predictions.split == 'val'
    assert contents.metric == 'accuracy/top1' and contents.score == pytest.approx(100 * 20 / 21)
    assert contents.interval == pytest.approx((77.33, 99.15), abs=0.01)  # Wilson's for 20 of 21
    assert contents.verdict[0].startswith('`accuracy/top1` is 95.24 % on the 21 validation images')
    assert 'always saying `cat` would give 66.67 %: the model has learned more'.lower() in contents.verdict[1].lower()
    assert 'The validation images chose the checkpoint, the best of 3' in contents.verdict[2]
    assert 'less than 15.43 points between two such runs' in contents.verdict[-1]  # half of the interval times √2
    assert not any(line.startswith('Most often') for line in contents.verdict)  # it is one image
    cat, dog = contents.class_table
    assert (dog.name, dog.support, dog.recall, dog.precision) == ('dog', 7, 100., 87.5) or cat.name == 'dog'
    assert contents.config['work_dir'] == str(work_dir) and str(work_dir) in contents.command
    assert dict(contents.facts).keys() >= {'time', 'peak memory', 'machine', 'checkpoint'}


def test_mistake_is_shown_with_its_cause(contents: RunContents) -> None:
    mistake, = contents.mistakes
    assert Path(mistake.path).name == 'wrong.png' and (mistake.truth, mistake.prediction) == ('cat', 'dog')
    assert mistake.image.shape == (32, 32, 3) and mistake.image.max() < 80  # as it is in the file
    assert mistake.cam.shape == (32, 32) and mistake.score > 0.5
    np.testing.assert_array_equal(mistake.image, np.asarray(Image.open(mistake.path)))
    assert contents.image_of(0).shape == (32, 32, 3)


def test_wrong_label_and_duplicate_are_found(contents: RunContents) -> None:
    assert [Path(suspect.path).name for suspect in contents.suspects] == ['wrong.png']
    assert contents.suspects[0].prediction == 'dog' and 'val' in contents.suspects_basis
    (kind, one, other), = contents.duplicates
    assert kind == 'shared' and Path(one).name == 'again.png' and Path(other).name == '3.png'
    assert contents.score_without_duplicates == pytest.approx(95)
    assert any('without them the score is 95.00 %' in line for line in contents.verdict)


def test_test_set_comes_first(work_dir: Path, data: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(work_dir, tmp_path / 'animals'))
    checkpoint = str(next(folder.glob('best_*.pth')))
    apis.test(config(data), checkpoint, work_dir=str(folder))
    found = gather_run(folder, checkpoint)
    assert (found.predictions.split, len(found.predictions.paths)) == ('test', 8)
    assert '8 test images' in found.verdict[0] and not found.duplicates
    assert not any('validation image' in line for line in found.verdict) and found.validated == 0


@pytest.mark.parametrize('kind, said', [
    ('same dataset', 'All test images are validation images.'),
    ('same files', 'All test images are validation images.'),
    ('some files', 'Of the 10 test images 2 are validation images.'),
    ('one file', 'Of the 9 test images 1 is a validation image.'),
])  # yapf: disable
def test_test_images_that_chose_the_checkpoint_are_named(kind: str, said: str, work_dir: Path, data: Path,
                                                         contents: RunContents, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(work_dir, tmp_path / 'animals'))
    cfg = Config.fromfile(next(folder.glob('*.py')))
    tested = cfg.test_dataloader.dataset
    if kind == 'same dataset':
        cfg.test_dataloader = cfg.val_dataloader
    else:
        tested.data_root = str(tmp_path)
        shutil.copytree(data / ('val' if kind == 'same files' else 'test'), tmp_path / 'test')
    if kind in ('some files', 'one file'):
        for number in range(2 if kind == 'some files' else 1):
            shutil.copy(data / 'val' / 'cat' / f'{number}.png', tmp_path / 'test' / 'cat' / f'again{number}.png')
    cfg.dump(next(folder.glob('*.py')))
    apis.test(cfg, str(next(folder.glob('best_*.pth'))), work_dir=str(folder))
    found = gather_run(folder)
    assert said in found.verdict and contents.verdict[2] in found.verdict  # what chose the checkpoint
    log = ''.join(log.read_text() for log in folder.glob('*/*.log'))
    assert ('test set: all test images are validation images' in log) == (kind == 'same dataset')
    if 'All' in said:
        assert found.verdict[0] == contents.verdict[0] and found.predictions.split == 'val'
        assert len(found.mistakes) == len(found.suspects) == len(found.duplicates) == 1
        assert found.suspects_basis == 'by the scores on the val set' and found.image_of(0).shape == (32, 32, 3)
    else:
        assert ' test images; 95 % interval' in found.verdict[0] and found.predictions.split == 'test'


def test_without_data_without_checkpoint_without_run(work_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(work_dir, tmp_path / 'animals'))
    data = Path(Config.fromfile(next(folder.glob('*.py'))).val_dataloader.dataset.data_root)
    elsewhere = data.rename(tmp_path / 'elsewhere')
    try:
        found = gather_run(folder)
    finally:
        elsewhere.rename(data)
    assert found.score > 90 and 'started): val_dataloader.dataset' in found.notes[-1]
    assert found.suspects[0].image is None and not found.mistakes and found.image_of(0) is None
    for file in [*folder.glob('*.pth'), folder / 'last_checkpoint']:
        file.unlink()
    found = gather_run(folder)
    assert found.predictions is None and 'no checkpoint' in found.notes[0] and found.records
    assert found.verdict[0].startswith('There is no score: predictions')
    (tmp_path / 'configs').mkdir()
    shutil.copy(next(folder.glob('*.py')), tmp_path / 'configs')
    for place in ('configs', 'nothing'):
        with pytest.raises(MissingFileError, match=place):
            gather_run(tmp_path / place)


def test_comparison_and_folds_are_taken_into_account(work_dir: Path, contents: RunContents, tmp_path: Path) -> None:
    row = dict(runs=2, std=1., mean=50., difference=None, interval=None)
    rows = [dict(row, arm='scratch'), dict(row, arm='finetune', mean=90., difference=40., interval=[35., 45.])]
    (tmp_path / 'results.json').write_text(json.dumps(dict(summary=rows)))
    clean = contents.predictions
    for fold in (0, 1):  # each has half of the images
        part = {name: value[fold::2] for name, value in vars(clean).items() if isinstance(value, np.ndarray)}
        whole = dict(vars(clean), paths=clean.paths[fold::2], split='out_of_fold', **part)
        Predictions(**whole).save(tmp_path / f'fold{fold}' / 'predictions' / 'out_of_fold.npz')
    found = gather_run(work_dir, compared=tmp_path)
    assert any('`finetune` reached 90.00 (2 runs), +40.00 against `scratch` (95 % interval +35.00' in line
               for line in found.verdict)  # yapf: disable
    assert 'out-of-fold' in found.suspects_basis
    assert any('kfold' in line for line in found.verdict)
    run = replace(found, config_text='KFoldDataset')
    assert not any('kfold' in line for line in verdict_of(run, {}))
    assert [Path(suspect.path).name for suspect in found.suspects] == ['wrong.png']
    assert found.suspects[0].image.shape == (32, 32, 3)
    (tmp_path / 'results.json').write_text('{"summ')  # cut off
    found = gather_run(work_dir, compared=tmp_path)
    assert any(f'{tmp_path}/results.json: cannot be read as json' in note for note in found.notes) and found.verdict
    with pytest.raises(DataError, match='results.json: cannot be read as json'):
        apis.write_report([tmp_path])


def test_many_images_are_not_compared(work_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, 'MOST_COMPARED', 10)
    found = gather_run(work_dir)
    assert not found.duplicates and any('duplicates: more than 10 images' in note for note in found.notes)


def test_intervals_of_few_masks() -> None:
    low, high = mean_interval(np.array([60., 70., 80., 74.]))
    expected = stats.ttest_1samp([60., 70., 80., 74.], 0).confidence_interval()
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert mean_interval(np.array([70.])) == (0., 100.)


def test_without_labels(work_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(work_dir, tmp_path / 'animals'))
    file = folder / 'predictions' / 'val.npz'
    kept = Predictions.load(file)
    kept.labels[:] = -1
    kept.save(file)
    found = gather_run(folder)
    assert found.notes == ['scores: no image of the val set has a label'] and found.score is None
    assert not (found.mistakes or found.suspects or found.class_table) and found.image_of(0) is not None
    assert found.verdict[0] == 'There is no score: scores: no image of the val set has a label.'
