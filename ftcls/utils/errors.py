"""Errors that are the user's to mend: each message names the key or file, the value, what is allowed, and the fix."""

__all__ = ['UserError', 'ConfigError', 'DataError', 'CheckpointError', 'MissingFileError', 'DownloadError', 'unwrapped']


class UserError(Exception):
    """Base of all errors that the tools print as a plain message, without a traceback."""


class ConfigError(UserError, ValueError):
    """The config, or an override of it, asks for something that cannot be done."""


class DataError(UserError, ValueError):
    """The data is not as the config says: a class is missing, a picture is broken, a label is out of range."""


class CheckpointError(UserError, ValueError):
    """A checkpoint cannot be read, is not safe to read, or does not fit the model."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that the config names is not there."""


class DownloadError(UserError, OSError):
    """A file could not be fetched, or what came is not what was asked for."""


def unwrapped(err: UserError) -> UserError:
    """Return the error that a registry has wrapped.

    Some versions of MMEngine raise it anew, as ``class `ResNet` in ftcls/models/backbones/resnet.py: <message>``, once for
    each component that it was built in.
    """
    inner = err.__cause__ or err.__context__
    is_wrapper = str(err).startswith('class `') and isinstance(inner, UserError) and str(err).endswith(str(inner))
    return unwrapped(inner) if is_wrapper else err
