"""Files that ``tools/export.py`` wrote, as models: they predict as the model does that they were made from."""
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config
from torch import nn

from ftcls.apis.training.sanity_checks import config_errors
from ftcls.models.headed_model import HeadedModel
from ftcls.models.heads import ClsHead
from ftcls.registry import MODELS
from ftcls.utils import ConfigError, DataError
from ftcls.utils.arguments import matches_type
from ftcls.utils.errors import located
from ftcls.utils.names import enumerate_names
from ftcls.utils.plain_files import distrust, imports
from ftcls.utils.types import PositiveInt

__all__ = ['HEADS', 'METADATA', 'ExportedModel', 'check_installed', 'is_exported']

METADATA = 'ftcls.json'  # the name of the metadata inside a file
HEADS = dict(PixelHead=('in_channels', 'threshold'), MultiLabelClsHead=('thr', 'topk'), ClsHead=())  # with arguments
_NEEDED = dict(head=dict, classes=list[str] | None, pipeline=list[dict], preprocessor=dict, with_preprocessing=bool)
_NEEDED |= dict(batch=PositiveInt | None, shape=tuple[int, int, int], dtype=Literal['float32', 'uint8'])


def is_exported(model: Any) -> bool:
    """Tell by its suffix whether a model is a file that ``tools/export.py`` wrote, weights alone apart."""
    return Path(str(model)).suffix.lower() in ('.onnx', '.pt2', '.pt') and Path(model).is_file()


def check_installed(*names: str) -> None:
    """Raise a ConfigError that says what to install if one of the packages for ONNX is missing."""
    if missing := [name for name in names if find_spec(name) is None]:
        raise ConfigError(f'ONNX needs {enumerate_names(missing)}: run `pip install onnx onnxscript onnxruntime`')


class ExportedModel(HeadedModel):
    """A file of ``tools/export.py`` in the place of the model that it was made from.

    An ONNX file is data. Loading one of torch can run code in it, and is refused unless imports are allowed.

    Args:
        path: The file: ``.onnx``, ``.pt2`` (``torch.export``) or ``.pt`` (TorchScript).
        trusted: The file is our own.

    Raises:
        DataError: If it has no metadata to predict by.
        ConfigError: If a package is missing, the file cannot be read, or might run code.

    Example:
        >>> ExportedModel('work_dirs/ants_and_bees/model.onnx')(torch.rand(1, 3, 32, 32)).shape  # doctest: +SKIP
        torch.Size([1, 2])
    """

    def __init__(self, path: str | os.PathLike, trusted: bool = False) -> None:
        self.path = Path(path)
        is_onnx = self.path.suffix.lower() == '.onnx'
        with warnings.catch_warnings(), located(str(path)), config_errors(str(path), keep_own=False):
            warnings.simplefilter('ignore')  # TorchScript is deprecated
            run, text = _open_onnx(self.path) if is_onnx else (None, _extra_file(self.path))
            meta = json.loads(text)
            if faults := [key for key, kind in _NEEDED.items() if key not in meta or not matches_type(meta[key], kind)]:
                raise DataError(f'its metadata has no valid {enumerate_names(faults)}, by which images are prepared; '
                                'give a file of tools/export.py, or a work dir and its checkpoint')
            if not trusted:
                distrust([meta['preprocessor'], meta['pipeline']])
            if not (trusted or is_onnx or imports.allowed):
                raise ConfigError('loading it can run code; add --allow-imports if you trust it, or export to ONNX')
            settings = {**meta['preprocessor'], 'type': 'ClsDataPreprocessor'}
            if meta['with_preprocessing']:
                settings = dict(to_rgb=settings.get('to_rgb', False))
            super().__init__(data_preprocessor=settings)
            self.head = MODELS.build({key: meta['head'][key] for key in ('type', *HEADS[meta['head']['type']])})
            self.head.outc = nn.Identity()  # of a PixelHead: the scores are those of pixels
            self.run = run or _open_torch(self.path)
        self.meta = meta
        self.in_channels = meta['shape'][0]
        self._config = Config(dict(test_dataloader=dict(dataset=dict(pipeline=meta['pipeline']))))
        self._dataset_meta = dict(classes=meta['classes'])

    def extract_feat(self, inputs: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the logits of the file's scores, (N, C) or (N, 1, H, W) float, for images (N, C, H, W) float."""
        if list(inputs.shape[1:]) != self.meta['shape']:
            raise DataError(f'{self.path} takes images of shape {self.meta["shape"]}, the validation pipeline gave '
                            f'{list(inputs.shape[1:])}; let it resize all images to one size, and export again')
        images = inputs.cpu().to(getattr(torch, self.meta['dtype']))
        with config_errors(str(self.path), keep_own=False):
            scores = torch.cat([self.run(part) for part in images.split(self.meta['batch'] or len(images))])
        return (scores.log() if type(self.head) is ClsHead else scores.logit(), )


def _open_onnx(path: Path) -> tuple[Callable, str]:
    check_installed('onnxruntime')
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, onnxruntime.get_available_providers())
    text = session.get_modelmeta().custom_metadata_map.get(METADATA, '{}')
    return lambda images: torch.from_numpy(session.run(['scores'], dict(images=images.numpy()))[0]), text


def _extra_file(path: Path) -> str | bytes:
    """Return the metadata in a file of torch; nothing in it is run."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(f'/extra/{METADATA}')]
        return archive.read(names[0]) if names else '{}'


def _open_torch(path: Path) -> Callable:
    return (torch.export.load(path).module() if path.suffix.lower() == '.pt2' else torch.jit.load(path)).forward
