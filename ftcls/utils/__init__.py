"""What every floor above may use: errors, names, safe checkpoints, downloads."""
from .download import hash_from_name
from .errors import CheckpointError, ConfigError, DataError, DownloadError, MissingFileError, UserError
from .names import did_you_mean, is_regex, match_names, nearest

__all__ = [
    'CheckpointError', 'ConfigError', 'DataError', 'DownloadError', 'MissingFileError', 'UserError', 'did_you_mean',
    'hash_from_name', 'is_regex', 'match_names', 'nearest'
]
