"""What a validation measures."""
from .metrics import (Accuracy, AveragePrecision, ConfusionMatrix, DiceMetric, IoUMetric, LossMetric, MultiLabelMetric,
                      SingleLabelMetric)

__all__ = [
    'Accuracy', 'AveragePrecision', 'ConfusionMatrix', 'DiceMetric', 'IoUMetric', 'LossMetric', 'MultiLabelMetric',
    'SingleLabelMetric'
]
