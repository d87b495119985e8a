"""Reports by command and at the end of a run: of several labels, of masks, of experiments; a failure is a warning."""
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from ftcls import apis
from ftcls.apis.report import run as module
from ftcls.apis.report.contents import Calibration, ClassRow, RunContents
from ftcls.apis.report.gather import gather_run
from ftcls.apis.report.verdict import verdict_of
from ftcls.evaluation import DiceMetric, IoUMetric
from ftcls.signals import RunStopped

TUTORIAL = Path(__file__).resolve().parents[3] / 'configs' / 'tutorial'


def train(cfg: Config, folder: Path) -> Path:
    apis.train(cfg, apis.TrainOptions(work_dir=str(folder)))
    return folder


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    short = {'train_cfg.max_epochs': 1, 'param_scheduler.T_max': 1, 'train_dataloader.batch_size': 40}
    return train(apis.load_config(TUTORIAL / 'lenet5_pretrain_digits.py', short), tmp_path_factory.mktemp('digits'))


def test_a_signal_while_it_is_written_says_what_is_missing(work_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def write(*args: object, **kwargs: object) -> None:
        raise RunStopped(2, 'stopped by SIGINT')

    monkeypatch.setattr(module, 'write_report', write)
    with pytest.raises(RunStopped) as stop:
        apis.report_run(apis.load_config(TUTORIAL / 'lenet5_pretrain_digits.py'), str(work_dir))
    remedy = f'ftcls report {work_dir}'
    text = f'stopped by SIGINT while the report was written; the run is whole; write the report: {remedy}'
    assert str(stop.value) == text and stop.value.signum == 2


def test_images_in_memory_have_numbers(work_dir: Path) -> None:
    found = gather_run(work_dir)
    assert found.notes == [] and len(found.mistakes) == 12
    assert found.mistakes[0].path.startswith('val sample ') and found.mistakes[0].image.shape == (32, 32, 3)
    sure = [mistake.score for mistake in found.mistakes]
    assert sure == sorted(sure, reverse=True)
    number = int(found.mistakes[0].path.rpartition(' ')[2])
    np.testing.assert_array_equal(found.mistakes[0].image, found.image_of(number))
    assert found.calibration.before['ece'] > found.calibration.after['ece']


def test_several_labels(tmp_path: Path) -> None:
    cfg = apis.load_config(TUTORIAL / 'lenet5_finetune_digit_pairs.py', {
        'model.backbone.init_cfg': None, 'train_cfg.max_epochs': 1, 'train_dataloader.dataset.pairs': 200,
        'val_dataloader.dataset.pairs': 60, 'train_cfg.val_interval': 1})  # yapf: disable
    found = gather_run(train(cfg, tmp_path / 'pairs'))
    labels, predicted = found.predictions.labels, found.predictions.predicted
    assert labels.shape == (60, 10) and found.metric == 'F1 per image'
    from sklearn.metrics import f1_score
    assert found.score == pytest.approx(100 * f1_score(labels, predicted, average='samples', zero_division=1))
    assert found.interval[0] < found.score < found.interval[1]
    assert {row.name for row in found.class_table} == set(found.predictions.classes)
    assert all(mistake.cam is None and mistake.image is not None for mistake in found.mistakes)
    assert any('temperature scaling needs one label' in note for note in found.notes)


def test_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(4):
        mask = (rng.random((32, 32)) < 0.1 * (i + 1)).astype(np.uint8)
        for folder, pixels in (('images', rng.integers(0, 256, (32, 32), dtype=np.uint8)), ('masks', 255 * mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f'{i}{"_mask" * (folder == "masks")}.png')
    steps = [dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='LoadAnnotations')]
    loader = dict(
        batch_size=2,
        num_workers=0,
        collate_fn=dict(type='default_collate'),
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='BinarySegDataset', data_root=str(tmp_path), pipeline=[*steps,
                                                                                 dict(type='PackSegInputs')]))
    backbone = dict(type='UNet', base_channels=2, in_channels=1)
    cfg = Config(
        dict(
            model=dict(type='ImageSegmentor', backbone=backbone, head=dict(type='PixelHead')),
            data_preprocessor=dict(mean=[120.], std=[60.]),
            train_dataloader=loader,
            val_dataloader=loader,
            val_evaluator=dict(type='DiceMetric'),
            val_cfg=dict(),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.01)),
            allow_shared_images=True,
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', save_best='auto'))))
    found = gather_run(train(cfg, tmp_path / 'run'))
    assert found.metric == 'dice' and len(found.segments) == 4 and not found.class_table and found.notes == []
    scores = [segment.dice for segment in found.segments]
    assert scores == sorted(scores) and found.score == pytest.approx(np.mean(scores))
    for segment in found.segments:
        assert segment.image.shape == (32, 32, 3) and segment.mask.shape == segment.truth.shape == (32, 32)
        pairs = [((segment.mask == a) & (segment.truth == b)).sum() for a, b in ((1, 1), (1, 0), (0, 1))]
        assert segment.dice == pytest.approx(100 * DiceMetric.score(*pairs))
        assert segment.iou == pytest.approx(100 * IoUMetric.score(*pairs))


def test_experiment_is_told_with_its_first_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed of each arm comes before the second seed of any."""
    for arm in ('scratch', 'probe'):
        for seed in range(7):
            (tmp_path / arm / f'seed{seed}').mkdir(parents=True)
            (tmp_path / arm / f'seed{seed}' / 'result.json').write_text('{}')
    rows = [dict(arm='scratch', runs=7, mean=50., std=1., difference=None, interval=None)]
    (tmp_path / 'results.json').write_text(json.dumps(dict(summary=rows)))
    monkeypatch.setattr(module, 'gather_run', lambda folder, *args: RunContents(str(folder)))
    path, (whole, *runs) = apis.write_report([tmp_path])
    assert [run.name for run in runs[:3]] == ['probe/seed0', 'scratch/seed0', 'probe/seed1'] and len(runs) == 12
    assert whole.verdict == ['In the comparison, `scratch` reached 50.00 (7 runs).']
    assert '2 of 14 runs' in whole.notes[0] and 'probe/seed0' in path.read_text(encoding='utf-8')


@pytest.mark.parametrize('results, said', [
    (dict(metric='accuracy/top1', folds=5, scores={'0': 1, '1': 2}, mean=91.234, std=1.5),
     'The mean of `accuracy/top1` over 2 of 5 folds is 91.23 %, its standard deviation 1.50.'),
    (dict(metric='loss', lower=True, trials=[
        dict(number=0, state='finished', score=0.5, values={'lr': 0.1}), dict(number=1, state='failed', score=None),
        dict(number=2, state='finished', score=0.25, values={'lr': 0.2, 'wd': 0})]),
     'Of 3 trials, number 2 has the best `loss`, 0.25, with `lr=0.2`, `wd=0`.'),
])  # yapf: disable
def test_verdict_on_folds_and_trials(results: dict, said: str) -> None:
    assert verdict_of(RunContents('kfold'), results) == [said]


def test_mean_over_folds_is_held_against_the_largest_class() -> None:
    folds = [
        RunContents('fold', class_table=[ClassRow('a', few, 0., 0., 0.),
                                         ClassRow('b', 30, 0., 0., 0.)]) for few in (10, 20)
    ]
    results = dict(metric='accuracy/top1', folds=2, scores=dict.fromkeys('01', 1), mean=70., std=1., members=folds)
    assert verdict_of(
        RunContents('kfold'),
        results)[1] == ('Always saying `b` would give 66.67 %: the models have not certainly learned more than that.')
    assert 'have learned more' in verdict_of(RunContents('kfold'), dict(results, mean=80.))[1]


@pytest.mark.parametrize('losses, trained, said', [
    ((0.5, 0.3, 0.6), 0.1, 'The model may overfit: the validation loss was lowest in epoch 2, 0.3000, and is 0.6000 in epoch 3'),
    ((0.5, 0.4, 0.4), 0.1, 'The model knows its training images better than others: the loss is 0.1000 in training'),
    ((0.5, 0.3, 0.4), 0.25, None),  # within the noise of few images
    ((0.5, 0.4, 0.3), 0.2, None),
])  # yapf: disable
def test_verdict_on_the_course(losses: tuple, trained: float, said: str | None) -> None:
    records = []
    for epoch, (loss, score) in enumerate(zip(losses, (80., 95., 90.)), 1):
        records.append(dict(kind='train', epoch=epoch, step=epoch, loss=trained))
        records.append(dict(kind='val', epoch=epoch, step=epoch, loss=loss, acc=score, higher_is_better=dict(acc=True)))
    sentences = verdict_of(RunContents('run', config=dict(model={}), records=records), {})
    assert sentences[0] == 'There is no score.'
    assert any(said in line for line in sentences) if said else not any('loss' in line for line in sentences)
    assert 'The best epoch is 2, with `acc` 95.00; the last one, 3, has 90.00.' in sentences


def test_report_at_the_end_of_a_run(work_dir: Path, log_records: list, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = apis.load_config(next(work_dir.glob('*.py')))
    cfg.report = False
    apis.report_run(cfg)
    assert not (work_dir / 'report.html').exists()
    cfg.pop('report')
    apis.report_run(cfg)
    assert (work_dir / 'report.html').read_text(encoding='utf-8').startswith('<!doctype html>')
    assert log_records[-2][1] == 'writing the report'
    assert f'report: {work_dir}/report.html\n  `accuracy/top1` is ' in log_records[-1][1]
    monkeypatch.setattr(module, 'write_report', lambda *args, **kwargs: 1 / 0)
    apis.report_run(cfg)
    level, text = log_records[-1]
    assert level == logging.WARNING and 'ZeroDivisionError' in text and f'ftcls report {work_dir}' in text


@pytest.mark.slow
def test_tools_write_the_report_of_what_they_did(run_tool: Callable, tmp_path: Path) -> None:
    config, short = TUTORIAL / 'lenet5_pretrain_digits.py', ('train_cfg.max_epochs=1', 'report=True')
    done = run_tool('train.py', config, '--work-dir', 'run', '--dry-run', '--cfg-options', *short)
    assert done.returncode == 0 and not (tmp_path / 'run' / 'report.html').exists()
    done = run_tool('train.py', config, '--work-dir', 'run', '--cfg-options', *short)
    assert done.returncode == 0 and (tmp_path / 'run' / 'report.html').is_file(), done.stderr
    done = run_tool('report.py', 'run', '--out', 'new/page.html')
    assert 'on the 179 validation images' in done.stdout and (tmp_path / 'new' / 'page.html').is_file()
    done = run_tool('report.py', 'rnu')
    assert done.returncode == 2 and done.stderr.startswith("error: work dir rnu does not exist; did you mean 'run'")


@pytest.mark.parametrize('temperature, said', [
    (1.5, 'The model is over-confident, right less often than its scores say: the calibration error (ECE) is 9.00 %'),
    (0.8, 'The model is under-confident, right more often than its scores say: the calibration error (ECE) is 9.00 %'),
])
def test_verdict_on_confidence(temperature: float, said: str) -> None:
    calibration = Calibration(temperature, dict(ece=0.09), dict(ece=0.02), ())
    assert verdict_of(RunContents('run', calibration=calibration), {})[-1].startswith(said)
