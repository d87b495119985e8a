"""How weights start: the default initialization, and ``init_cfg=dict(type='Pretrained', …)``."""
import copy
from collections.abc import Sequence
from typing import Literal

from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from torch import nn

from ftcls.registry import WEIGHT_INITIALIZERS
from ftcls.utils.arguments import check_arguments
from ftcls.utils.checkpoint.loading import load_pretrained
from ftcls.utils.tree import as_list

__all__ = ['CONV_INIT', 'InitCfg', 'PretrainedInit', 'with_default_init']

# MMClassification's default for most convolutional networks.
CONV_INIT = (dict(type='Kaiming', layer=['Conv2d']), dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']))
InitCfg = dict | Sequence[dict] | None


def with_default_init(init_cfg: InitCfg, default: Sequence[dict]) -> list[dict]:
    """Return ``init_cfg`` as a list, after ``default`` if it only names files.

    Parameters that are not in the file then start by default; MMEngine loads ``Pretrained`` last.

    Example:
        >>> with_default_init(dict(type='Pretrained', checkpoint='a.pth'), [dict(type='Kaiming', layer='Conv2d')])
        [{'type': 'Kaiming', 'layer': 'Conv2d'}, {'type': 'Pretrained', 'checkpoint': 'a.pth'}]
    """
    given = [] if init_cfg is None else as_list(init_cfg)
    if all(_is_pretrained(entry) for entry in given):
        given = [*default, *given]
    return copy.deepcopy(given)


def _is_pretrained(entry: dict) -> bool:
    """Tell whether an ``init_cfg`` entry loads a file; its type may be a name, with or without scope, or a class."""
    kind = entry.get('type')
    if not isinstance(kind, str):
        kind = getattr(kind, '__name__', '').removesuffix('Init')
    return kind.split('.')[-1] == 'Pretrained'


@WEIGHT_INITIALIZERS.register_module(name='Pretrained')
class PretrainedInit:
    """Load trained weights into a module: safely, with a report; stop if too little of it fits.

    The report is kept as ``module.load_report``.

    Args:
        checkpoint: Path, ``http(s)://`` address or ``torchvision://resnet50`` …
        prefix: Beginning of the names to load from the file, ``'backbone'``; None to find it.
        map_location: Device that the file is read onto.
        allow_partial: Continue although less than nearly all of the module, without its classifier, is in the file, or
            a quarter or more of the file's weights for it do not fit (a deeper or another network).
        adapt_input: How the first convolution is fitted to another number of channels, see :func:`match_state_dict`.
    """

    def __init__(self,
                 checkpoint: str,
                 prefix: str | None = None,
                 map_location: str = 'cpu',
                 allow_partial: bool = False,
                 adapt_input: Literal['sum', 'repeat', 'mean'] | None = None) -> None:
        check_arguments(PretrainedInit, dict(checkpoint=checkpoint, adapt_input=adapt_input), 'init_cfg')
        self.checkpoint = checkpoint
        self.options = dict(prefix=prefix, map_location=map_location, allow_partial=allow_partial)
        self.options['adapt_input'] = adapt_input

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``, in place; raise a MissingFileError or a CheckpointError if that fails."""
        load_pretrained(module, self.checkpoint, **self.options)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'{type(self).__name__}: load from {self.checkpoint}')


# Without a scope (in a notebook) MMEngine asks its own registry, whose `PretrainedInit` does not stop if nothing fits.
MMENGINE_WEIGHT_INITIALIZERS.register_module(name='Pretrained', module=PretrainedInit, force=True)
