"""Errors that the user can fix: each message names the key or file, the value, what is allowed, and the fix."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    'UserError', 'ConfigError', 'DataError', 'CheckpointError', 'MissingFileError', 'DownloadError', 'MachineError',
    'OverrideError', 'RunningError', 'describe_error', 'located', 'unwrapped'
]


class UserError(Exception):
    """Base of all errors that the tools print as a plain message, without a traceback.

    Attributes:
        path: The config path or the file that the error is about, see :func:`located`; ``''`` where none is known.
    """

    path = ''

    def __str__(self) -> str:
        text = super().__str__()
        return f'{self.path}: {text}' if self.path else text


@contextmanager
def located(path: str) -> Iterator[None]:
    """Give a UserError that is raised inside, and that has no path yet, a config path; it is shown before the message.

    The innermost ``located`` wins.

    Example:
        >>> with located('train_dataloader.dataset'):
        ...     raise ConfigError('holds no sample')
        Traceback (most recent call last):
        ftcls.utils.errors.ConfigError: train_dataloader.dataset: holds no sample
    """
    try:
        yield
    except UserError as err:
        inner = unwrapped(err)
        inner.path = inner.path or path
        if inner is err:
            raise
        raise inner from inner.__cause__


class ConfigError(UserError, ValueError):
    """The config, or an override of it, asks for something that cannot be done."""


class OverrideError(ConfigError):
    """Overrides do not fit the config.

    Attributes:
        cfg: The config with the overrides that fit.
    """

    cfg = None


class DataError(UserError, ValueError):
    """The data is not as the config says: a class is missing, an image is broken, a label is out of range."""


class CheckpointError(UserError, ValueError):
    """A checkpoint cannot be read, is not safe to read, or does not fit the model."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that the config names is not there."""


class DownloadError(UserError, OSError):
    """A file could not be fetched, or its content is not the expected one."""


class RunningError(ConfigError):
    """A training runs in the folder that another is to use."""


class MachineError(UserError, RuntimeError):
    """Memory, disk, open files, a worker or another process gave out during a run."""


def unwrapped(err: UserError) -> UserError:
    """Return the error that a registry has wrapped.

    Some versions of MMEngine raise it anew, as ``class `ResNet` in ftcls/models/backbones/resnet.py: <message>``, once
    for each component around it.
    """
    inner = err.__cause__ or err.__context__
    is_wrapper = str(err).startswith('class `') and isinstance(inner, UserError) and str(err).endswith(str(inner))
    return unwrapped(inner) if is_wrapper else err


def describe_error(err: Exception) -> str:
    """Return what an error says, with its type if it is not a UserError."""
    return str(unwrapped(err)) if isinstance(err, UserError) else f'{type(err).__name__}: {err}'
