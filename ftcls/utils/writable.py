"""Whether there is a place for results, asked before the work."""
import os
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryFile

from .errors import ConfigError

__all__ = ['check_writable']


def check_writable(**paths: str | os.PathLike | None) -> None:
    """Refuse a file or folder that cannot be written; nothing is left there, also no folder.

    Args:
        **paths: Name of the option to its value, or None; a name that ends in ``_dir`` is of a folder.

    Raises:
        ConfigError: With the name, the path and what the system says.
    """
    for name, path in filter(itemgetter(1), paths.items()):
        file = Path(path, 'file' * name.endswith('_dir')).absolute()
        try:
            TemporaryFile(dir=next(filter(Path.exists, file.parents))).close()
        except OSError as err:
            option = name.replace('_', '-')
            raise ConfigError(f"{name}='{path}' cannot be written: {err.strerror}; give another --{option}") from err
