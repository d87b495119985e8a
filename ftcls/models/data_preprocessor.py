"""From packed samples to the model's input, on the device: channel order, normalising, padding, batch augmentation."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor, stack_batch

from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError
from ftcls.utils.arguments import check_arguments
from ftcls.utils.types import PositiveFloat, PositiveInt
from .batch_augments import RandomBatchAugment

__all__ = ['ClsDataPreprocessor']


@MODELS.register_module()
class ClsDataPreprocessor(BaseDataPreprocessor):
    """Preprocessor of classification; the one place where pixels are normalised, for train, val, predict and export.

    Args:
        mean, std: Of each channel, 0 to 255, in the order that the model takes; None for no normalising.
        pad_size_divisor: Height and width are padded, below and at the right, to a multiple of this.
        pad_value: Value of the padding, after normalising.
        to_rgb: The model takes RGB: of three or four channels the first three are reversed in images whose
            ``channel_order`` is 'bgr' (or is not given).
        to_onehot: Set ``gt_score`` from ``gt_label``.
        num_classes: Number of classes, for ``to_onehot``; None for the samples' own ``num_classes``.
        batch_augments: Arguments of :class:`RandomBatchAugment`, used in training; implies ``to_onehot``.

    Example:
        >>> ClsDataPreprocessor(mean=[127.5], std=[127.5])(dict(inputs=[torch.zeros(1, 2, 2).byte()]))['inputs']
        tensor([[[[-1., -1.],
                  [-1., -1.]]]])
    """

    def __init__(self,
                 mean: Sequence[float] | None = None,
                 std: Sequence[PositiveFloat] | None = None,
                 pad_size_divisor: PositiveInt = 1,
                 pad_value: float = 0,
                 to_rgb: bool = False,
                 to_onehot: bool = False,
                 num_classes: PositiveInt | None = None,
                 batch_augments: dict | None = None) -> None:
        super().__init__()
        if (mean is None) != (std is None):
            raise ConfigError(f'mean={mean}, std={std}: give both, or neither for no normalising')
        self._enable_normalize = mean is not None
        if mean is not None:
            if len(mean) != len(std):
                raise ConfigError(f'mean={list(mean)}, std={list(std)}: give one of each per channel')
            for name, values in (('mean', mean), ('std', std)):
                self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.pad_size_divisor = pad_size_divisor
        self.pad_value = pad_value
        self.to_rgb = to_rgb
        self.num_classes = num_classes
        self.batch_augments = None
        if batch_augments is not None:
            check_arguments(RandomBatchAugment, batch_augments, 'batch_augments')
            self.batch_augments = RandomBatchAugment(**batch_augments)
        self.to_onehot = to_onehot or batch_augments is not None

    def forward(self, data: dict, training: bool = False) -> dict:
        """Return ``inputs``, (N, C, H, W) float32, and ``data_samples``, the same samples; both on the device.

        Args:
            data: ``inputs``, a tensor (N, C, H, W) or a list of N tensors (C, H, W), uint8 or float, 0 to 255; and
                ``data_samples``, a list of N samples or None.
            training: Apply the batch augmentations.

        Raises:
            ConfigError: If the pipeline has normalised the images already.
            DataError: If the images do not have the channels of ``mean``, or labels are needed and missing or wrong.
        """
        samples = data.get('data_samples')
        inputs = data['inputs']
        if self._enable_normalize and any(s is not None and 'img_norm_cfg' in s.metainfo for s in samples or ()):
            raise ConfigError('the images are normalised twice, by Normalize and by data_preprocessor; remove one')
        if not isinstance(inputs, torch.Tensor) and len({x.shape for x in inputs}) == 1:
            # One transfer of bytes to the device, instead of one for each image.
            inputs = torch.stack(list(inputs))
        inputs = self.cast_data(inputs)
        is_bgr = self._bgr(samples, len(inputs))
        if isinstance(inputs, torch.Tensor):
            inputs = self._pad(self._normalize(self._order(inputs, is_bgr)))
        else:
            single = [self._normalize(self._order(x[None], [bgr]))[0] for x, bgr in zip(inputs, is_bgr, strict=True)]
            inputs = stack_batch(single, self.pad_size_divisor, self.pad_value)
        if samples is not None:
            inputs = self._prepare_labels(inputs, samples, training)
        return dict(inputs=inputs, data_samples=samples)

    @staticmethod
    def _bgr(samples: list[DataSample | None] | None, count: int) -> list[bool]:
        """Tell for each image whether its channels are in the order blue, green, red, which is the default."""
        if samples is None:
            return [True] * count
        return [s is None or s.metainfo.get('channel_order') in (None, 'bgr') for s in samples]

    def _order(self, x: torch.Tensor, is_bgr: list[bool]) -> torch.Tensor:
        """Return images (N, 3 or 4, H, W) in RGB order if the model takes that; others are returned as they are."""
        if not self.to_rgb or x.shape[1] not in (3, 4) or not any(is_bgr):
            return x
        flipped = torch.cat([x[:, :3].flip(1), x[:, 3:]], dim=1)
        if all(is_bgr):
            return flipped
        return torch.where(torch.tensor(is_bgr, device=x.device).view(-1, 1, 1, 1), flipped, x)

    def _normalize(self, x: torch.Tensor) -> torch.Tensor:
        """Return images (N, C, H, W) as float32, normalised where statistics are given."""
        x = x.float()
        if not self._enable_normalize:
            return x
        if len(self.mean) not in (1, x.shape[1]):
            raise DataError(
                f'images have {x.shape[1]} channels, but data_preprocessor.mean has {len(self.mean)} values; '
                f'give mean and std {x.shape[1]} values, or load other channels (color_type)')
        return (x - self.mean) / self.std

    def _pad(self, x: torch.Tensor) -> torch.Tensor:
        """Pad a batch (N, C, H, W) to a multiple of ``pad_size_divisor``."""
        below, right = (-side % self.pad_size_divisor for side in x.shape[-2:])
        if below or right:
            x = F.pad(x, (0, right, 0, below), value=self.pad_value)
        return x

    def _prepare_labels(self, inputs: torch.Tensor, samples: list[DataSample | None], training: bool) -> torch.Tensor:
        """Bring the samples' labels to the device, as scores if needed, and augment the batch; return the images."""
        augment = self.batch_augments if training else None
        labelled = all(s is not None and ('gt_label' in s or 'gt_score' in s) for s in samples)
        if augment is not None and not labelled:
            raise DataError('batch augmentation needs the label of each image, and at least one has none')
        if not labelled:
            return inputs
        if all('gt_label' in s for s in samples):
            counts = [len(s.gt_label) for s in samples]
            labels = self.cast_data(torch.cat([s.gt_label for s in samples])).split(counts)
            for sample, label in zip(samples, labels):
                sample.set_gt_label(label)
        if all('gt_score' in s for s in samples):
            scores = self.cast_data(torch.stack([s.gt_score for s in samples]))
        elif self.to_onehot:
            scores = torch.stack([self._one_hot(s) for s in samples])
        else:
            return inputs
        if augment is not None:
            inputs, scores = augment(inputs, scores)
        for sample, score in zip(samples, scores):
            sample.set_gt_score(score)
        return inputs

    def _one_hot(self, sample: DataSample) -> torch.Tensor:
        """Return the label of a sample as scores (num_classes, ) float of 0 and 1."""
        num_classes = self.num_classes or sample.metainfo.get('num_classes')
        if num_classes is None:
            raise ConfigError('data_preprocessor.num_classes is not set, and labels as scores need it')
        scores = torch.zeros(num_classes, device=sample.gt_label.device)
        try:
            return scores.index_fill_(0, sample.gt_label, 1.)
        except (IndexError, RuntimeError):
            raise DataError(f'labels {sample.gt_label.tolist()} in the data, but data_preprocessor.num_classes is '
                            f'{num_classes} (0 ... {num_classes - 1})') from None
