"""A plain checkpoint of a model with an adapter: the adapter added to the weights beneath it."""
import os
from pathlib import Path

from ftcls.apis.inference.model_zoo import find_checkpoint, get_model
from ftcls.models.adapters import adapted_layers, merge_adapters
from ftcls.utils import ConfigError
from ftcls.utils.checkpoint.folder import save_whole

__all__ = ['merge_adapter']


def merge_adapter(source: str | os.PathLike, out: str | os.PathLike | None = None) -> Path:
    """Write the checkpoint of a run with ``model.adapter`` as one for its config without it, and return its path.

    Args:
        source: The work dir of the run, for its best checkpoint, else its last; or a checkpoint in it.
        out: The file to write; None for ``merged_<name>`` beside the checkpoint.

    Raises:
        ConfigError: If the run has no adapter.
        MissingFileError: If there is no checkpoint, or no config beside it.
        CheckpointError: If the file cannot be written.
    """
    path = find_checkpoint(source)
    model = get_model(path.parent, path, 'cpu')
    if not any(adapted_layers(model)):
        raise ConfigError(f'{path}: the config beside it has no model.adapter, so there is nothing to merge')
    merge_adapters(model)
    out = Path(out or path.with_name(f'merged_{path.name}'))
    meta = dict(dataset_meta=model._dataset_meta, merged_from=str(path))
    save_whole(out, dict(meta=meta, state_dict=model.state_dict()))
    return out
