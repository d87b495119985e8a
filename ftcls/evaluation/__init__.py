"""What a validation measures."""
from .metrics import Accuracy, ConfusionMatrix, LossMetric, SingleLabelMetric

__all__ = ['Accuracy', 'ConfusionMatrix', 'LossMetric', 'SingleLabelMetric']
