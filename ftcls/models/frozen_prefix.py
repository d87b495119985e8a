"""The frozen beginning of a model, whose output can be given in its place."""
import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from typing import Any

import torch
from torch import nn

from ftcls.utils.names import plural
from .backbones.base_backbone import Stage
from .backbones.wrapping import recorded

__all__ = ['FrozenPrefix']


def _learns(item: nn.Module | nn.Parameter | None) -> bool:
    params = [item] if isinstance(item, nn.Parameter) else item.parameters()
    return any(param.requires_grad for param in params)


def _is_frozen(stage: Stage) -> bool:
    return not any(map(_learns, stage))


class FrozenPrefix:
    """The modules from the image on that do not learn: backbone and neck, or the stem and some stages.

    While :meth:`installed` lasts, a batch with the key ``features`` has the prefix's output as its ``inputs``. The last
    module then returns these, and the others tensors of the right shape that mean nothing. Other batches pass as ever.

    Args:
        model: A model with a ``backbone``, without the wrapper of distributed training.

    Attributes:
        modules: In the order from the image; empty if the first ones learn.
        name: What they are: ``'backbone, neck'``, ``'stem and 2 stages'``.
        example: The output for the batch of :meth:`check`, (N, D) or (N, D, H', W').
    """
    example: torch.Tensor

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._feats: torch.Tensor | None = None  # of the present batch
        self._parts = {name: getattr(model, name, None) for name in ('backbone', 'neck')}
        frozen = list(takewhile(lambda item: item[1] is not None and not _learns(item[1]), self._parts.items()))
        self.name, self.modules = ' and '.join(name for name, _ in frozen), [module for _, module in frozen]
        if not frozen and getattr(self._parts['backbone'], 'has_stages', False):
            stages = list(takewhile(_is_frozen, model.backbone.stages()))
            self.name = f'stem and {plural(len(stages) - 1, "stage")}'
            self.modules = [item for stage in stages for item in stage if isinstance(item, nn.Module)]
        if not any(list(module.parameters()) for module in self.modules):
            self.modules = []

    @property
    def is_frozen(self) -> bool:
        """Whether nothing of it learns now."""
        return _is_frozen(self.modules)

    def obstacle(self) -> str:
        """Return why there are no :attr:`modules`."""
        backbone = self._parts['backbone']
        trained = [name for name, param in self.model.named_parameters() if param.requires_grad]
        if backbone is None or not trained:
            return 'the model has no backbone with weights'
        if getattr(backbone, 'has_stages', False):
            return f'{trained[0]} is trained'
        return f'{trained[0]} is trained, and {type(backbone).__name__} has no stages() of which some could be frozen'

    def compute(self, batch: dict) -> torch.Tensor:
        """Return the output for a batch as the data preprocessor takes it, in the mode that the model is in."""
        with recorded({module: (module, False) for module in self.modules}) as self._outputs:
            self._images = self.model.data_preprocessor(batch, False)['inputs']
            self._logits = self.model(self._images, mode='tensor')
        return self._outputs[self.modules[-1]]

    def check(self, batch: dict) -> None:
        """Set :attr:`example`, after a trial of :meth:`installed`.

        Raises:
            RuntimeError: If the prefix is not the same in training, or its output cannot stand in for it.
        """
        in_training = FrozenPrefix(copy.deepcopy(self.model).train()).compute(batch)
        self.model.eval()
        self.example = self.compute(batch)
        if not torch.equal(in_training, self.example):
            raise RuntimeError('it gives something else in training')
        self._shapes = {module: output.shape[1:] for module, output in self._outputs.items()}
        logits = self._logits
        with self.installed():
            given = self.model.data_preprocessor(dict(batch, inputs=list(self.example.cpu()), features=True), False)
            if not torch.equal(logits, self.model(given['inputs'], mode='tensor')):
                raise RuntimeError('what comes after it needs more than its output')

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let features stand in for the prefix, after :meth:`check`."""
        preprocessor = self.model.data_preprocessor
        for module in self.modules:
            module.forward = partial(self._run, module, module.forward)
        preprocessor.forward = partial(self._preprocess, preprocessor.forward)
        try:
            yield
        finally:
            for module in (*self.modules, preprocessor):
                del module.forward

    def _preprocess(self, run: Callable, data: dict, training: bool = False) -> dict:
        self._feats, feats = None, data['inputs']
        if 'features' not in data:
            return run(data, training)
        if not isinstance(feats, torch.Tensor):
            feats = torch.stack(list(feats))
        self._feats = feats.to(self.example.device)
        count, shape = len(feats), self._images.shape[1:]
        output = run(dict(data, inputs=torch.empty(count, shape[0], 0, 0, dtype=torch.uint8)), training)  # no pixels
        return dict(output, inputs=self._feats.new_empty(count, *shape))

    def _run(self, module: nn.Module, run: Callable, *args: Any, **kwargs: Any) -> Any:
        feats = self._feats
        if feats is None:
            return run(*args, **kwargs)
        if module is not self.modules[-1]:
            return feats.new_empty(len(feats), *self._shapes[module])
        return (feats, ) if module in self._parts.values() else feats
