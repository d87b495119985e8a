"""Any network of timm as a backbone."""
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError, did_you_mean
from ftcls.utils.arguments import own_arguments
from ftcls.utils.tree import as_list
from ftcls.utils.types import PositiveInt
from ..layers import norm_class
from ..weight_init import InitCfg
from . import wrapping
from .base_backbone import BaseBackbone, Stage

__all__ = ['TIMMBackbone', 'build_timm']


def build_timm(model_name: str, user: str = 'TIMMBackbone', **options: Any) -> nn.Module:
    """Build a timm network for the backbone ``user``; raise a ConfigError if timm cannot."""
    try:
        import timm
    except ImportError as err:
        raise ConfigError(f'{user} needs timm ({err}): run `pip install timm`, or use TorchvisionBackbone') from None
    base_name = model_name.split('.')[0]
    if ':' not in model_name and not timm.is_model(base_name):
        raise ConfigError(f'model_name={model_name!r}: timm {timm.__version__} has no such network'
                          f'{did_you_mean(base_name, timm.list_models())}')
    try:
        return timm.create_model(model_name, **options)
    except (TypeError, AttributeError) as err:
        named = {name: value for name, value in options.items() if f"'{name}'" in str(err)}
        written = named or {name: value for name, value in options.items() if value is not False and name != 'in_chans'}
        own = own_arguments(MODELS.get(user))
        hints = [did_you_mean(name, own, most=1, lists=False) for name in named]
        raise ConfigError(f"timm's {model_name} does not take {written}: {err}{''.join(hints)}") from None


@MODELS.register_module()
class TIMMBackbone(BaseBackbone):
    """A network of `timm <https://github.com/huggingface/pytorch-image-models>`_ without its classifier.

    Convolutional networks return the feature map (N, C, H, W) before the pooling. Networks over tokens (ViT) return the
    vector (N, C) that their classifier gets, which :class:`GlobalAveragePooling` does not change. The stages are found
    by resolution, see :func:`ftcls.models.backbones.wrapping.find_stages`; in a ViT each block is one. The parameters
    are timm's, under the prefix ``timm_model.``.

    Args:
        model_name: Name of the network, as in ``timm.list_models()``.
        features_only: Return the feature maps of all resolutions.
        pretrained: Let timm load its own weights, which it downloads; to load a file, use ``init_cfg``.
        checkpoint_path: A file of weights; the same as ``init_cfg=dict(type='Pretrained', checkpoint=...)``.
        in_channels, init_cfg, frozen_stages, norm_eval: See :class:`ResNet`; without ``init_cfg`` timm initializes.
        **kwargs: Further arguments of ``timm.create_model``; ``norm_layer`` may be a name ('SyncBN').
    """

    accepts_extra_arguments = True  # Unknown arguments are timm's.

    def __init__(self,
                 model_name: str,
                 features_only: bool = False,
                 pretrained: bool = False,
                 checkpoint_path: str = '',
                 in_channels: PositiveInt = 3,
                 init_cfg: InitCfg = None,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 **kwargs: Any) -> None:
        if sum((pretrained, bool(checkpoint_path), bool(init_cfg))) > 1:
            raise ConfigError('TIMMBackbone: give one of pretrained, checkpoint_path and init_cfg, not several')
        if checkpoint_path:
            init_cfg = dict(type='Pretrained', checkpoint=checkpoint_path)
        super().__init__(init_cfg, norm_eval=norm_eval)
        if isinstance(kwargs.get('norm_layer'), str):
            kwargs['norm_layer'] = norm_class(kwargs['norm_layer'])
        options = dict(features_only=features_only, pretrained=pretrained, in_chans=in_channels, **kwargs)
        self.timm_model = build_timm(model_name, **options)
        self._is_init = pretrained  # timm has loaded its weights already: ``init_weights`` must not start them anew.
        cfg = getattr(self.timm_model, 'pretrained_cfg', None) or {}
        size = kwargs.get('img_size') or tuple(cfg.get('input_size', (3, 224, 224)))[1:]
        images = wrapping.image_shape(in_channels, size)
        if hasattr(self.timm_model, 'reset_classifier'):
            self._cut_classifier(images)

        self._stage_names, _, self._shapes = wrapping.find_stages(self.timm_model, images)
        self.out_channels = tuple(map(wrapping.channels_of, self._shapes))
        self.freeze_stages(frozen_stages)

    def _cut_classifier(self, images: tuple[int, ...]) -> None:
        """Remove the classifier, and the pooling too where that leaves a feature map (tokens keep theirs)."""
        pooling = getattr(self.timm_model, 'global_pool', None)
        if pooling != 'map':  # attention, which timm cannot put back
            with suppress(AssertionError):  # of a network that needs its pooling
                self.timm_model.reset_classifier(0, '')
                _, outs = wrapping.output_shapes(self.timm_model, {}, images)
                if len(outs[0]) != 3:
                    return
        self.timm_model.reset_classifier(0, pooling if isinstance(pooling, str) else 'avg')

    def stages(self) -> list[Stage]:
        """Return the modules from the input on: the stem, then each stage; see :class:`BaseBackbone`."""
        return wrapping.resolve(self.timm_model, self._stage_names)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return feature maps (N, C, H', W') float, or (N, C) of networks over tokens, of images (N, C, H, W) float."""
        outs = as_list(self.timm_model(x))
        return tuple(wrapping.images_first(y, shape) for y, shape in zip(outs, self._shapes, strict=True))
