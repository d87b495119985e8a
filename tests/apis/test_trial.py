"""What is tried before the first step leaves the process as it was, whatever goes wrong."""
import threading
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer

from ftcls.apis import load_config, train
from ftcls.apis.training.sanity_checks import config_errors
from ftcls.apis.training.train import build_runner
from ftcls.registry import METRICS
from ftcls.utils import ConfigError

CONFIG = Path(__file__).resolve().parents[2] / 'configs' / 'tutorial' / 'lenet5_pretrain_digits.py'


@METRICS.register_module()
class Faulty(BaseMetric):
    """Looks for a field that no sample has."""
    default_prefix = 'faulty'

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        self.results += [sample['gt_labels'] for sample in data_samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(count=len(results))


def test_other_threads_go_on_after_an_error(tmp_path: Path) -> None:
    """MMEngine keeps its lock where the constructor of a visualizer raises; a server logs from other threads."""
    twice = [dict(type='LocalVisBackend')] * 2
    with pytest.raises(ConfigError, match='visualizer: .*LocalVisBackend'), config_errors('visualizer'):
        Visualizer.get_instance('twice', vis_backends=twice, save_dir=str(tmp_path))
    thread = threading.Thread(target=MMLogger.get_current_instance, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_two_runs_of_one_second_share_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MMEngine tells runs apart by their name and the second; it warns of the second, and gives it the first's log."""
    cfg = Config(
        dict(
            default_scope='ftcls',
            work_dir=str(tmp_path),
            model=dict(type='ImageClassifier', backbone=dict(type='LeNet5', num_classes=2), head=dict(type='ClsHead'))))
    monkeypatch.setattr('mmengine.runner.runner.time.time', lambda: 1e9)
    one, other = build_runner(cfg, {}), build_runner(cfg, {})
    monkeypatch.undo()
    assert one.timestamp == other.timestamp
    for part in ('logger', 'message_hub', 'visualizer', 'default_scope'):
        assert getattr(one, part) is not getattr(other, part), part


def test_a_metric_of_masks_is_refused_by_a_classifier(tmp_path: Path) -> None:
    cfg = load_config(CONFIG, {'val_evaluator': [dict(type='DiceMetric')], 'work_dir': str(tmp_path)})
    with pytest.raises(ConfigError, match="val_evaluator: DiceMetric cannot judge.*dict.type='Accuracy'"):
        train(cfg)


def test_a_fault_in_a_metric_of_ones_own_is_found_before_the_first_step(tmp_path: Path) -> None:
    cfg = load_config(CONFIG, {'val_evaluator': [dict(type='Faulty')], 'work_dir': str(tmp_path)})
    with pytest.raises(ConfigError, match="val_evaluator: Faulty cannot judge.*KeyError: 'gt_labels'"):
        train(cfg)


def test_the_wrong_rule_is_refused_where_the_metric_is_found_out(tmp_path: Path) -> None:
    cfg = load_config(CONFIG, {'work_dir': str(tmp_path)})
    cfg.default_hooks = dict(checkpoint=dict(type='CheckpointHook', save_best='auto', rule='less'))
    with pytest.raises(ConfigError, match="CheckpointHook.rule='less': the larger 'accuracy/top1'.*leave rule out"):
        train(cfg)
