"""The metrics that a config's ``val_evaluator`` and ``test_evaluator`` name."""
from .accuracy import Accuracy
from .confusion_matrix import ConfusionMatrix
from .loss import LossMetric
from .multi_label import AveragePrecision, MultiLabelMetric
from .overlap import DiceMetric, IoUMetric
from .single_label import SingleLabelMetric
from .voc_multi_label import VOCAveragePrecision, VOCMultiLabelMetric

__all__ = [
    'Accuracy', 'AveragePrecision', 'ConfusionMatrix', 'DiceMetric', 'IoUMetric', 'LossMetric', 'MultiLabelMetric',
    'SingleLabelMetric', 'VOCAveragePrecision', 'VOCMultiLabelMetric'
]
