"""How weights start when a config says nothing about it, or only names a checkpoint."""
import copy
from collections.abc import Sequence

__all__ = ['InitCfg', 'with_default_init']

InitCfg = dict | Sequence[dict] | None


def with_default_init(init_cfg: InitCfg, default: Sequence[dict]) -> list[dict]:
    """Return ``init_cfg`` as a list, with ``default`` before it unless it says itself how weights start.

    An ``init_cfg`` that holds only ``Pretrained`` entries says nothing about parameters that are not in the file, so the
    default comes first and the file is loaded over it (MMEngine loads ``Pretrained`` last).

    Args:
        init_cfg: What the config gives; not modified.
        default: MMEngine ``init_cfg`` dicts.

    Example:
        >>> with_default_init(dict(type='Pretrained', checkpoint='a.pth'), [dict(type='Kaiming', layer='Conv2d')])
        [{'type': 'Kaiming', 'layer': 'Conv2d'}, {'type': 'Pretrained', 'checkpoint': 'a.pth'}]
    """
    given = [] if init_cfg is None else [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg)
    says_nothing = all(_is_pretrained(entry) for entry in given)
    return copy.deepcopy(list(default) + given if says_nothing else given)


def _is_pretrained(entry: dict) -> bool:
    """Tell whether an ``init_cfg`` entry loads a file; its type may be a name, with or without scope, or a class."""
    kind = entry.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '').removesuffix('Init')
    return name.split('.')[-1] == 'Pretrained'
