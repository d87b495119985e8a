"""Features of images, prepared exactly as in validation."""
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from ftcls.utils.tree import as_list
from .inferencer import ChannelOrder, Image, ImageClassificationInferencer, batched

__all__ = ['FeatureExtractor']


class FeatureExtractor(ImageClassificationInferencer):
    """Gives the features of images; built like :class:`ImageClassificationInferencer`.

    Example:
        >>> extractor = FeatureExtractor('resnet18_8xb32_in1k', False, 'cpu')  # doctest: +SKIP
        >>> extractor('bee.jpg', stage='backbone')[0][0].shape  # doctest: +SKIP
        torch.Size([512, 7, 7])
    """

    def __call__(self,
                 inputs: Image | Sequence[Image],
                 batch_size: int = 1,
                 channel_order: ChannelOrder | None = None,
                 **kwargs: Any) -> list[torch.Tensor | tuple[torch.Tensor, ...]]:
        """Return the features of each image, without the dimension of the batch.

        Args:
            inputs, channel_order: See :class:`ImageClassificationInferencer`.
            batch_size: Images that go through the model at once; it does not change the result.
            **kwargs: Arguments of the model's ``extract_feat``: ``stage`` is 'backbone', 'neck' or 'pre_logits', see
                :class:`ImageClassifier`.
        """
        features = []
        for batch in batched(as_list(inputs), batch_size):
            packed = [self.pipeline(image, channel_order) for image in batch]
            features += self._predict(packed, partial(self._extract, **kwargs))
        return features

    def _extract(self, batch: dict, **kwargs: Any) -> list:
        features = self.model.extract_feat(self.model.data_preprocessor(batch, False)['inputs'], **kwargs)
        return list(features if isinstance(features, torch.Tensor) else zip(*features))
