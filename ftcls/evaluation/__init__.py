"""What a validation measures."""
from .direction import higher_is_better, resolve_rule
from .metrics import (Accuracy, AveragePrecision, ConfusionMatrix, DiceMetric, IoUMetric, LossMetric, MultiLabelMetric,
                      SingleLabelMetric)

__all__ = [
    'Accuracy', 'AveragePrecision', 'ConfusionMatrix', 'DiceMetric', 'IoUMetric', 'LossMetric', 'MultiLabelMetric',
    'SingleLabelMetric', 'higher_is_better', 'resolve_rule'
]
