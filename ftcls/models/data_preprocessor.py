"""From packed samples to the model's input, on the device: channel order, normalising, padding, batch augmentation."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor, stack_batch

from ftcls.registry import MODELS
from ftcls.structures import DataSample, SampleBatch, is_stacked
from ftcls.utils import ConfigError, DataError
from ftcls.utils.arguments import check_arguments
from ftcls.utils.types import PositiveFloat, PositiveInt
from .batch_augments import RandomBatchAugment
from .batch_transforms import BatchTransforms

__all__ = ['ClsDataPreprocessor']

Samples = Sequence[DataSample | None]


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
        batch_transforms: Transforms of the batch's uint8 pixels on the device, before normalising, each image with its
            own draw: RandomCrop, CenterCrop, RandomFlip, Resize, ResizeEdge, RandomResizedCrop, ColorJitter,
            RandomErasing, with the arguments of the pipeline's. Outside of training the random ones are left out;
            RandomResizedCrop becomes a Resize to its size. Normalize may follow, in place of ``mean`` and ``std``, then
            Mixup, CutMix or ResizeMix.

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
                 batch_augments: dict | None = None,
                 batch_transforms: Sequence[dict] = ()) -> None:
        super().__init__(non_blocking=True)  # from pinned memory, pixels are copied to a GPU while it computes
        self.batch_transforms = BatchTransforms(batch_transforms)
        for norm in self.batch_transforms.normalize:
            if mean is not None or to_rgb:
                raise ConfigError('mean, std and to_rgb are given twice, also by Normalize in batch_transforms')
            mean, std, to_rgb = norm.mean.tolist(), norm.std.tolist(), norm.to_rgb
        if self.batch_transforms.mixing:
            if batch_augments is not None:
                raise ConfigError('images are mixed twice: by batch_augments and by the last of batch_transforms')
            batch_augments = dict(augments=self.batch_transforms.mixing)
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
        infos = _metainfos(samples)
        if self._enable_normalize and any('img_norm_cfg' in info for info in infos):
            raise ConfigError('the images are normalised twice, by Normalize and by data_preprocessor; remove one')
        if not isinstance(inputs, torch.Tensor) and len({x.shape for x in inputs}) == 1:
            inputs = torch.stack(list(inputs))  # One transfer of bytes to the device, instead of one for each image.
        inputs = self.cast_data(inputs)
        is_bgr = [info.get('channel_order') in (None, 'bgr') for info in infos]
        if len(is_bgr) == 1 and (training or not isinstance(inputs, torch.Tensor)):  # else one value is for any number
            is_bgr *= len(inputs)
        if self.batch_transforms.steps:
            if samples is not None and not is_stacked(samples):
                self.batch_transforms.check_masks(samples)
            inputs = self.batch_transforms(inputs, is_bgr, training)
        if isinstance(inputs, torch.Tensor):
            inputs = self._pad(self._normalize(self._order(inputs, is_bgr)))
        else:
            single = [self._normalize(self._order(x[None], [bgr]))[0] for x, bgr in zip(inputs, is_bgr, strict=True)]
            inputs = stack_batch(single, self.pad_size_divisor, self.pad_value)
        if samples is not None:
            inputs = self._prepare_labels(inputs, samples, training)
        return dict(inputs=inputs, data_samples=samples)

    def describe(self) -> list[str]:
        """Return lines for the preflight on what happens to the batches."""
        mixing = self.batch_augments
        return self.batch_transforms.describe() + ([] if mixing is None else [mixing.describe()])

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
        if not self._enable_normalize:
            return x.float()
        if len(self.mean) not in (1, x.shape[1]):
            raise DataError(f'images have {x.shape[1]} channels, but data_preprocessor.mean has {len(self.mean)} '
                            f'values; give mean and std {x.shape[1]} values, or load other channels (color_type)')
        return x.to(torch.float32, copy=True, memory_format=torch.contiguous_format).sub_(self.mean).div_(self.std)

    def _pad(self, x: torch.Tensor) -> torch.Tensor:
        """Pad a batch (N, C, H, W) to a multiple of ``pad_size_divisor``."""
        below, right = (-side % self.pad_size_divisor for side in x.shape[-2:])
        return F.pad(x, (0, right, 0, below), value=self.pad_value) if below or right else x

    def _prepare_labels(self, inputs: torch.Tensor, samples: Samples, training: bool) -> torch.Tensor:
        """Bring the samples' labels to the device, as scores if needed, and augment the batch; return the images."""
        augment = self.batch_augments if training else None
        if is_stacked(samples):
            samples.gt_label = self.cast_data(samples.gt_label)
            if self.to_onehot:
                samples.gt_score = self._one_hot(samples.gt_label[:, None], samples)
            if augment is not None:
                inputs, samples.gt_score = augment(inputs, samples.gt_score)
            return inputs
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
            scores = torch.cat([self._one_hot(s.gt_label[None], s) for s in samples])
        else:
            return inputs
        if augment is not None:
            inputs, scores = augment(inputs, scores)
        for sample, score in zip(samples, scores):
            sample.set_gt_score(score)
        return inputs

    def _one_hot(self, labels: torch.Tensor, sample: DataSample | SampleBatch) -> torch.Tensor:
        """Return labels (N, k) of a sample or of several as scores (N, num_classes) float of 0 and 1."""
        num_classes = self.num_classes or sample.metainfo.get('num_classes')
        if num_classes is None:
            raise ConfigError('data_preprocessor.num_classes is not set, and labels as scores need it')
        scores = torch.zeros(len(labels), num_classes, device=labels.device)
        try:
            return scores.scatter_(1, labels, 1.)
        except (IndexError, RuntimeError):
            found = labels.flatten().tolist()
            raise DataError(f'labels {found} in the data, but data_preprocessor.num_classes is {num_classes}') from None


def _metainfos(samples: Samples | None) -> list[dict]:
    """Return the meta information of each sample, or the one that all have."""
    if samples is None:
        return [{}]
    if is_stacked(samples):
        return [samples.metainfo]
    return [{} if sample is None else sample.metainfo for sample in samples]
