"""What is tried before the first step leaves the process as it was, whatever goes wrong."""
from pathlib import Path

import pytest
from mmengine.evaluator import BaseMetric

from ftcls.apis import load_config, train
from ftcls.registry import METRICS
from ftcls.utils import ConfigError

CONFIG = Path(__file__).resolve().parents[3] / 'configs' / 'tutorial' / 'lenet5_pretrain_digits.py'


@METRICS.register_module()
class Faulty(BaseMetric):
    """Looks for a field that no sample has."""
    default_prefix = 'faulty'

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        self.results += [sample['gt_labels'] for sample in data_samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(count=len(results))


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
