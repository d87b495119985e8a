"""What a validation measures."""
from .metrics import Accuracy, ConfusionMatrix, DiceMetric, IoUMetric, LossMetric, SingleLabelMetric

__all__ = ['Accuracy', 'ConfusionMatrix', 'DiceMetric', 'IoUMetric', 'LossMetric', 'SingleLabelMetric']
