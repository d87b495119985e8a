"""What all models with a head share: their parts, the modes of ``forward``, the loss of each sample in validation."""
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, did_you_mean
from ftcls.utils.errors import located
from .adapters import add_adapter, restart_adapter
from .freezing import FreezableModel

__all__ = ['HeadedModel', 'build_part', 'check_channels', 'check_word']


def build_part(part: dict | nn.Module | None, name: str, **defaults: Any) -> nn.Module | None:
    """Build a part of the model, called ``name`` in its config, over ``defaults``; take a module, or None, as it is."""
    if part is None or isinstance(part, nn.Module):
        return part
    with located(f'model.{name}'):
        return MODELS.build({**defaults, **part})


def check_channels(key: str, part: nn.Module | None, before: nn.Module, given: int | tuple[int, ...]) -> None:
    """Raise a ConfigError if a part takes other numbers of channels than the part before it gives."""
    wanted = getattr(part, 'in_channels', given)
    if wanted != given:
        gives = f'{type(before).__name__} gives {given} channels'
        raise ConfigError(f'model.{key}.in_channels={wanted}, but {gives}: set model.{key}.in_channels={given}')


def check_word(key: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return ``value``; raise a ConfigError if it is not allowed."""
    if value not in allowed:
        raise ConfigError(f'{key}={value!r}{did_you_mean(str(value), allowed)}')
    return value


def _build_preprocessor(config: dict | nn.Module | None, train_cfg: dict | None) -> nn.Module:
    """Build the data preprocessor, with the batch augmentations of ``train_cfg``."""
    if isinstance(config, nn.Module):
        if train_cfg:
            raise ConfigError('train_cfg has an effect only if data_preprocessor is a config, not a module')
        return config
    config = {'type': 'ClsDataPreprocessor', **(config or {})}
    if train_cfg:
        if config.get('batch_augments') is not None:
            raise ConfigError('batch augmentations are set twice, by train_cfg and batch_augments; remove one')
        config['batch_augments'] = dict(train_cfg)
    with located('data_preprocessor'):
        return MODELS.build(config)


def _on_cpu(samples: list[DataSample]) -> list[DataSample]:
    """Return samples with their fields of one shape on the CPU, each field copied once for all of them."""
    for name in samples[0].keys() if samples else ():
        values = [sample.get(name) for sample in samples]
        shapes = {value.shape if isinstance(value, torch.Tensor) else None for value in values}
        if len(shapes) == 1 and None not in shapes and values[0].device.type != 'cpu':
            for sample, value in zip(samples, torch.stack(values).cpu()):
                sample.set_field(value, name)
    return samples


def _definer(part: object, method: str) -> type:
    """Return the class that defines a method of ``part``; ``object`` if there is none."""
    return next((c for c in type(part).__mro__ if method in vars(c)), object)


class HeadedModel(FreezableModel):
    """Base of models that have a ``backbone``, maybe something after it, and maybe a ``head``.

    A subclass builds these parts and defines ``truth_fields`` and :meth:`extract_feat`; for the arguments see
    :class:`ImageClassifier`.
    """

    truth_fields: ClassVar[tuple[str, ...]] = ()  # A sample is labelled if it has one of these fields.
    cast_dtype: torch.dtype | None = None  # what layers compute in where safe; None: that of the weights (SpeedHook)
    head_example: ClassVar[Mapping[str, Any]] = {}  # A head that the model may have, for the message if it has none.

    def __init__(self,
                 init_cfg: dict | list[dict] | None = None,
                 data_preprocessor: dict | nn.Module | None = None,
                 train_cfg: dict | None = None) -> None:
        super().__init__(_build_preprocessor(data_preprocessor, train_cfg), init_cfg)

    def adapt(self, adapter: Mapping[str, Any] | None) -> None:
        """Put an adapter into the backbone, see :func:`add_adapter`; its BatchNorm layers keep their statistics."""
        if adapter is not None:
            add_adapter(self.backbone, adapter)
            self.train(self.training)

    def init_weights(self) -> None:
        """Initialise all parts, and load the weights that ``init_cfg`` names."""
        super().init_weights()
        restart_adapter(getattr(self, 'backbone', None))

    @property
    def with_head(self) -> bool:
        """Whether there is a head."""
        return getattr(self, 'head', None) is not None

    @abstractmethod
    def extract_feat(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the features of images (N, C, H, W) float."""

    def _head_inputs(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what the head gets: by default the features."""
        return self.extract_feat(inputs)

    def forward(self,
                inputs: torch.Tensor,
                data_samples: list[DataSample] | None = None,
                mode: str = 'tensor') -> torch.Tensor | tuple[torch.Tensor, ...] | list[DataSample] | dict:
        """Run the model.

        Args:
            inputs: (N, C, H, W) float, from the data preprocessor.
            data_samples: N samples; with their truth for ``mode='loss'``.
            mode: 'tensor': return the head's logits, (N, num_classes) float of a classifier, (N, 1, H, W) of a
                segmentor, without a head the features; 'loss': see :meth:`loss`; 'predict': see :meth:`predict`.

        Raises:
            ConfigError: If the mode is unknown, or there is no head for it.
        """
        check_word('mode', mode, ('tensor', 'loss', 'predict'))
        if self.cast_dtype is not None and not torch.is_autocast_enabled(inputs.device.type):
            with torch.autocast(inputs.device.type, self.cast_dtype):
                return HeadedModel.forward(self, inputs, data_samples, mode)
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        feats = self._head_inputs(inputs)
        return self.head(feats) if self.with_head else feats

    def _needed_head(self) -> nn.Module:
        if not self.with_head:
            example = ', '.join(f'{key}={value!r}' for key, value in self.head_example.items())
            raise ConfigError(f'the model has no head: add head=dict({example})')
        return self.head

    def loss(self, inputs: torch.Tensor, data_samples: list[DataSample]) -> dict[str, torch.Tensor]:
        """Return the head's losses by name, each () float32, for images (N, C, H, W) float and their truth."""
        return self._needed_head().loss(self._head_inputs(inputs), data_samples)

    def parse_losses(self, losses: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return what is minimised, and what is logged, see MMEngine; a single loss, (), needs no mean and no sum."""
        if list(losses) == ['loss'] and isinstance(losses['loss'], torch.Tensor) and losses['loss'].ndim == 0:
            return losses['loss'], losses
        return super().parse_losses(losses)

    def val_step(self, data: dict) -> list[DataSample]:
        """Return the samples of a batch of the loader with their predictions, for the metrics on the CPU."""
        return _on_cpu(super().val_step(data))

    def test_step(self, data: dict) -> list[DataSample]:
        """Return the same as :meth:`val_step`."""
        return _on_cpu(super().test_step(data))

    def predict(self,
                inputs: torch.Tensor,
                data_samples: list[DataSample] | None = None,
                **kwargs: object) -> list[DataSample]:
        """Return the N samples (None for new ones) with the predictions of the head for (N, C, H, W) float set.

        If all samples have their truth, ``loss`` is also set on each, () float32: the sample's own if the head has
        ``loss_per_sample``, else that of the batch. ``kwargs`` are for the head's ``predict``.
        """
        head = self._needed_head()
        feats = self._head_inputs(inputs)
        losses: Iterable[torch.Tensor] = ()
        if data_samples and all(map(self._is_labelled, data_samples)):
            losses = self._losses_of_samples(feats, data_samples)
        samples = head.predict(feats, data_samples, **kwargs)
        for sample, loss in zip(samples, losses):
            sample.set_field(loss, 'loss')
        return samples

    def _is_labelled(self, sample: DataSample | None) -> bool:
        return sample is not None and any(field in sample for field in self.truth_fields)

    def _losses_of_samples(self, feats: tuple[torch.Tensor, ...], data_samples: list[DataSample]) -> torch.Tensor:
        own = _definer(self.head, 'loss_per_sample')  # A subclass that overrides `loss` alone is asked for that loss.
        if all(issubclass(own, _definer(self.head, method)) for method in ('loss', '_get_loss')):
            return self.head.loss_per_sample(feats, data_samples).detach()
        return self.parse_losses(self.head.loss(feats, data_samples))[0].detach().expand(len(data_samples))
