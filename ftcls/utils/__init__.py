"""What every floor above may use: errors, names, safe checkpoints, downloads."""
from .errors import CheckpointError, ConfigError, DataError, MissingFileError, UserError
from .names import did_you_mean, is_regex, match_names, nearest

__all__ = [
    'CheckpointError', 'ConfigError', 'DataError', 'MissingFileError', 'UserError', 'did_you_mean', 'is_regex', 'match_names',
    'nearest'
]
