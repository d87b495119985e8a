"""``init_cfg=dict(type='Pretrained', …)``: start a module from trained weights."""
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from torch import nn

from ftcls.registry import WEIGHT_INITIALIZERS
from ftcls.utils.checkpoint.loading import load_pretrained

__all__ = ['PretrainedInit']


@WEIGHT_INITIALIZERS.register_module(name='Pretrained')
class PretrainedInit:
    """Load trained weights into a module: safely, with a report, and with a stop where too little of it fits.

    The report is kept as ``module.load_report``. MMEngine's ``BaseModule.init_weights`` runs this initializer after
    all others.

    Args:
        checkpoint: Path, ``http(s)://`` address or ``torchvision://resnet50`` …
        prefix: Beginning of the wanted names in the file, ``'backbone'``; found by itself where None.
        map_location: Device that the file is read onto.
        allow_partial: Go on where less than nearly all of the module, classifier apart, is in the file, or where a quarter
            or more of what the file has for it finds no place (a deeper or another network).
    """

    def __init__(self,
                 checkpoint: str,
                 prefix: str | None = None,
                 map_location: str = 'cpu',
                 allow_partial: bool = False) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location
        self.allow_partial = allow_partial

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``, in place.

        Raises:
            MissingFileError: If there is no such file.
            CheckpointError: If it cannot be read or does not fit.
        """
        load_pretrained(module, self.checkpoint, self.prefix, self.map_location, self.allow_partial)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'{type(self).__name__}: load from {self.checkpoint}')


# MMEngine's ``initialize`` asks its own registry, and that comes to ours only where the default scope is 'ftcls'. Without
# one (a model built in a notebook) its own ``PretrainedInit`` would answer, which neither stops where nothing fits nor
# knows ``allow_partial``. So ours takes its place there too.
MMENGINE_WEIGHT_INITIALIZERS.register_module(name='Pretrained', module=PretrainedInit, force=True)
