"""Which parts of an image a classifier looks at: class activation maps, which the library grad-cam computes."""
import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.utils.dl_utils import is_norm
from torch import nn

from ftcls.utils import ConfigError, did_you_mean
from ftcls.utils.tree import as_list

__all__ = ['class_activation']


def class_activation(model: nn.Module,
                     inputs: torch.Tensor,
                     target: int | Sequence[int] | torch.Tensor | None = None,
                     layer: str | Sequence[str] | None = None,
                     method: str = 'GradCAM',
                     smooth: Sequence[str] = ()) -> np.ndarray:
    """Return how much each pixel speaks for a class.

    The model may be in training mode, on any device, and frozen; it is not changed, for a copy of it is used.

    Args:
        model: A classifier, from images to scores (N, classes); its layers give maps (N, C, h, w) or (N, h, w, C), or
            tokens (N, L, C).
        inputs: (N, C, H, W) float, from the data preprocessor.
        target: The class, one for all images or one for each; None for the one with the highest score.
        layer: Name of a layer, as in ``model.named_modules()``, or of several, whose maps are averaged. None for the
            last block or norm from which several positions of the image reach the score: ``backbone.layer4`` of a
            ResNet; of a ViT with a class token the norm before its last attention.
        method: A class of the library, such as GradCAM, EigenCAM, ScoreCAM, in upper or lower case; also GradCAM++.
        smooth: 'eigen': take the first principal component of the weighted maps, which has less noise; 'aug': average
            over the image and its mirror image in three contrasts, six times as slow.

    Returns:
        (N, H, W) float32, for each image from 0 to 1.

    Raises:
        ConfigError: If there is no such method, layer or class, the layer has no map of the image, or the method does
            not work with it.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> class_activation(model, torch.rand(2, 3, 32, 32), target=1).shape
        (2, 32, 32)
    """
    import pytorch_grad_cam as library
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    methods = {'gradcam++': library.GradCAMPlusPlus}
    for name, one in vars(library).items():
        if hasattr(one, 'forward') and 'target_layers' in inspect.signature(one).parameters:
            methods[name.lower()] = one
    if method.lower() not in methods:
        raise ConfigError(f'method {method!r}: must be one of {", ".join(methods)}')
    model = copy.deepcopy(model).eval().requires_grad_()  # hooks and gradients stay in the copy
    with torch.enable_grad():
        inputs = inputs.detach().to(next(model.parameters()).device).requires_grad_()
        scores, outputs = _trace(model, inputs)
        classes = scores.argmax(dim=1) if target is None else torch.as_tensor(target, device=scores.device)
        if not ((classes >= 0) & (classes < scores.shape[1])).all():
            raise ConfigError(f'target category {target}: must be from 0 to {scores.shape[1] - 1}')
        classes, size = classes.expand(len(inputs)), inputs.shape[2:]
        to_maps = partial(_maps, size=size, grids=[one.shape[2:] for one in outputs.values() if one.ndim == 4])
        maps = {name: one for name, one in outputs.items() if to_maps(one) is not None}
        names = as_list(layer or _last_layer(model, maps, scores.gather(1, classes[:, None]).sum(), to_maps))
        if wrong := [name for name in names if name not in maps]:
            raise ConfigError(f'layer {wrong[0]!r} has no map of the image{did_you_mean(wrong[0], maps)}')
        compute = methods[method.lower()](model, list(map(model.get_submodule, names)), to_maps)
        targets = list(map(ClassifierOutputTarget, classes.tolist()))
        try:
            return compute(inputs, targets, **{f'{kind}_smooth': True for kind in smooth})
        except Exception as err:
            raise ConfigError(f'method {method} does not work with {", ".join(names)} ({err}); GradCAM does') from err


def _trace(model: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
    """Return the scores, (N, classes), and the outputs of all layers that may be maps or tokens; hooks remain."""
    outputs: dict[str, torch.Tensor] = {}

    def keep(name: str, module: nn.Module, args: tuple, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim in (3, 4) and len(output) == len(inputs):
            outputs[name] = output

    for name, module in model.named_modules():
        module.register_forward_hook(partial(keep, name))
    scores = model(inputs)
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2:
        raise ConfigError('class activation needs a classifier with a head, which gives scores (N, classes)')
    return scores, outputs


def _maps(output: torch.Tensor, size: Sequence[int], grids: Sequence[Sequence[int]]) -> torch.Tensor | None:
    """Return an output, or its gradient, as maps (N, C, h, w) float32; None if it has no positions of the image.

    A grid of positions has the aspect of images of ``size``. Tokens fill the largest one that they can, but for up to 8
    at the front: for the class, for distillation, registers.
    """

    def is_grid(grid: Sequence[int]) -> bool:
        return math.prod(grid) > 1 and abs(grid[0] * size[1] - grid[1] * size[0]) <= sum(size)  # one row more or less

    if output.ndim == 4:
        maps = [one for one in (output, output.permute(0, 3, 1, 2)) if is_grid(one.shape[2:])]
    else:
        fitting = [one for one in grids if is_grid(one) and 0 <= output.shape[1] - math.prod(one) <= 8]
        fitting.sort(key=math.prod, reverse=True)
        maps = [output[:, -math.prod(one):].transpose(1, 2).unflatten(2, one) for one in fitting]
    return maps[0].float().clone() if maps else None  # a copy, for the next layer may work in place


def _last_layer(model: nn.Module, maps: Mapping[str, torch.Tensor], score: torch.Tensor, to_maps: Callable) -> str:
    """Return the name of the last block or norm of the backbone that has a gradient of the score in its positions."""
    maps = {name: one for name, one in maps.items() if name.startswith('backbone.') == hasattr(model, 'backbone')}
    blocks = [name for name in maps if is_norm(layer := model.get_submodule(name)) or list(layer.children())]
    names = blocks or list(maps)
    if not names:
        raise ConfigError('class activation: no layer has a map of the image; take larger images')
    gradients = torch.autograd.grad(score, [maps[name] for name in names], allow_unused=True)
    reached = [name for name, one in zip(names, gradients) if one is not None and to_maps(one).any()]
    return (reached or names)[-1]
