"""VGG (Simonyan and Zisserman, `2014 <https://arxiv.org/abs/1409.1556>`_)."""
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from annotated_types import Interval
from torch import nn

from ftcls.registry import MODELS
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.aligning import TensorOrder
from ftcls.utils.tree import as_list
from ..layers import build_act, build_conv, build_norm
from ..weight_init import CONV_INIT, InitCfg
from .families import FamilyBackbone

__all__ = ['VGG']

_STAGE_BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions
_WIDTHS = (3, 64, 128, 256, 512, 512)


@MODELS.register_module()
class VGG(FamilyBackbone):
    """VGG, with torchvision's and timm's parameter names (``features.0`` …); OpenMMLab's files load too.

    Args:
        depth: Layers with weights, the classifier's three among them.
        num_classes: Classes of the classifier, which goes with ``ClsHead`` and no neck; -1 for none. Its input is
            pooled to 7x7, the size for images of 224x224, so that other sizes work too.
        num_stages: How many stages are built.
        dilations: Dilation of each stage.
        out_indices: Stages whose output is returned, 0 the first. The classifier's output is always returned, last.
            None for the last, or with a classifier for its output alone.
        frozen_stages: -1 nothing, 0 the first stage, k also the k after it; one less than in MMClassification.
        conv_cfg, norm_cfg, act_cfg: The layers; None for ``nn.Conv2d``, no normalization and ReLU.
        norm_eval, init_cfg: See :class:`BaseBackbone`.
        ceil_mode: Round the size up where a pooling does not divide it.
        with_last_pool: Whether the last stage ends with its pooling.

    Example:
        >>> VGG(11)(torch.rand(1, 3, 64, 64))[0].shape
        torch.Size([1, 512, 2, 2])
    """

    first_output: ClassVar[int] = 0
    tensor_order = TensorOrder(others=('model.classifier.', ))

    def __init__(self,
                 depth: Literal[11, 13, 16, 19],
                 num_classes: int = -1,
                 num_stages: Annotated[int, Interval(ge=1, le=5)] = 5,
                 dilations: Sequence[int] = (1, 1, 1, 1, 1),
                 out_indices: int | Sequence[int] | None = None,
                 frozen_stages: int = -1,
                 conv_cfg: dict | None = None,
                 norm_cfg: dict | None = None,
                 act_cfg: dict | None = None,
                 norm_eval: bool = False,
                 ceil_mode: bool = False,
                 with_last_pool: bool = True,
                 init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg, (*CONV_INIT, dict(type='Normal', std=0.01, layer=['Linear'])), norm_eval)
        if len(dilations) != num_stages:
            raise ConfigError(f'dilations={tuple(dilations)}: one value for each of the {num_stages} stages is needed')
        layers, names = [], []
        for i, dilation in enumerate(dilations):
            stage, width = [], _WIDTHS[i + 1]
            for channels in [_WIDTHS[i]] + [width] * (_STAGE_BLOCKS[depth][i] - 1):
                stage.append(build_conv(conv_cfg, channels, width, 3, padding=dilation, dilation=dilation))
                if norm_cfg:
                    stage.append(build_norm(norm_cfg, width))
                stage.append(build_act(act_cfg or dict(type='ReLU', inplace=True)))
            stage.append(nn.MaxPool2d(2, 2, ceil_mode=ceil_mode))
            names.append([f'features.{len(layers) + k}' for k in range(len(stage))])
            layers += stage
        if not with_last_pool:
            names[-1].pop()
        network = nn.ModuleDict(dict(features=nn.Sequential(*layers)))
        if num_classes > 0:
            from torchvision.models import VGG as Network
            self.check_choice('num_stages', num_stages, (5, ))
            network = Network(network.features, num_classes, init_weights=False)
            network.flatten = nn.Flatten()
            names.append(['avgpool', 'flatten', 'classifier'])
            out_indices = [*as_list(() if out_indices is None else out_indices), -1]
        self.take(network, names, out_indices, frozen_stages)
