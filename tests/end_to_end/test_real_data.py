"""Real pictures and real weights, where they are (``FTCLS_REAL_DATA``)."""
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config

from ftcls.apis import TrainOptions, load_config, predict_files, train
from ftcls.utils import UserError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'


def test_accuracy_of_the_public_cifar_resnet20(real_data: Path, tmp_path: Path, run_tool: Callable) -> None:
    """91.64 %, 932 of the 1,017 test pictures that are there; the author's page has 91.7 on all 10,000."""
    done = run_tool('test.py', CONFIGS / 'cifar_resnet/cifar_resnet20_cifar10.py', real_data / 'resnet20-12fca82f.th',
                    '--out', 'metrics.json', '--cfg-options', f'test_dataloader.dataset.data_root={real_data}/cifar10',
                    'test_dataloader.dataset.verify=False', 'test_dataloader.num_workers=0')  # yapf: disable
    assert done.returncode == 0, done.stderr
    assert 'accuracy/top1: 91.64' in done.stdout
    accuracy = json.loads((tmp_path / 'metrics.json').read_text())['accuracy/top1']
    assert accuracy * 1017 / 100 == pytest.approx(932, abs=1e-3)


def hymenoptera(real_data: Path, **overrides: object) -> Config:
    return load_config(
        CONFIGS / 'tutorial/cifar_resnet20_finetune_hymenoptera.py', {
            'model.backbone.init_cfg.checkpoint': str(real_data / 'resnet20-12fca82f.th'),
            'train_dataloader.dataset.data_root': str(real_data / 'hymenoptera'),
            'val_dataloader.dataset.data_root': str(real_data / 'hymenoptera'),
            'test_dataloader.dataset.data_root': str(real_data / 'hymenoptera'),
            'train_dataloader.num_workers': 0,
            'val_dataloader.num_workers': 0,
            'test_dataloader.num_workers': 0,
            'randomness.seed': 0,
            **overrides
        })


def test_dry_run_on_hymenoptera(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runner = train(
        hymenoptera(real_data, **{'model.backbone.frozen_stages': 1}),
        TrainOptions(work_dir=str(tmp_path), dry_run=True))
    report = runner.model.backbone.load_report
    assert report.missing == [] and report.unexpected == [] and report.mismatched == {}
    assert report.strip == 'module.' and sorted(report.expected) == ['module.linear.bias', 'module.linear.weight']
    # All but the 19 counters of batches, which files of its time did not have.
    assert len(report.loaded) == report.num_tensors == 95
    preflight = (tmp_path / 'preflight.txt').read_text()
    assert 'train: 245 samples (ants 124, bees 121)' in preflight and 'val: 153 samples (ants 70, bees 83)' in preflight
    assert 'as expected: module.linear.* (2) left in the file' in capsys.readouterr().out


def test_an_epoch_on_hymenoptera(real_data: Path, tmp_path: Path) -> None:
    """With its GIF (a picture that says that there is none), its .jpeg, and its pictures of all sizes."""
    overrides = {'train_cfg.max_epochs': 1, 'param_scheduler.T_max': 1}
    runner = train(hymenoptera(real_data, **overrides), TrainOptions(work_dir=str(tmp_path / 'run')))
    names = {Path(runner.train_dataloader.dataset.get_data_info(i)['img_path']).name for i in range(245)}
    assert {'imageNotFound.gif', 'formica.jpeg'} <= names
    records = [json.loads(line) for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()]
    assert records[-1]['kind'] == 'val' and records[-1]['accuracy/top1'] > 60  # 54 % are bees
    ants = real_data / 'hymenoptera' / 'train' / 'ants'
    odd = tmp_path / 'a picture (ä) [1].gif'
    shutil.copy(ants / 'imageNotFound.gif', odd)
    report = predict_files(tmp_path / 'run', [ants / 'imageNotFound.gif', odd, ants / 'formica.jpeg'])
    assert report.exit_code == 0
    assert [row['pred_class'] in ('ants', 'bees') for row in report.rows] == [True] * 3
    assert report.rows[0]['pred_score'] == report.rows[1]['pred_score']


def test_the_shortened_files_are_refused_by_default(real_data: Path, tmp_path: Path) -> None:
    cfg = load_config(CONFIGS / 'cifar_resnet/cifar_resnet20_cifar10.py', {
        'val_dataloader.dataset.data_root': str(real_data / 'cifar10'),
        'train_dataloader.dataset.data_root': str(real_data / 'cifar10')
    })  # yapf: disable
    with pytest.raises(UserError, match='verify=False'):
        train(cfg, TrainOptions(work_dir=str(tmp_path)))
