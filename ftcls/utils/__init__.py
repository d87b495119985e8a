"""What every floor above may use: errors, names, safe checkpoints, downloads."""
from .download import hash_from_name
from .errors import CheckpointError, ConfigError, DataError, DownloadError, MissingFileError, UserError
from .names import did_you_mean, is_regex, match_names, nearest
from .setup_env import register_all_modules

__all__ = [
    'CheckpointError', 'ConfigError', 'DataError', 'DownloadError', 'MissingFileError', 'UserError', 'did_you_mean',
    'hash_from_name', 'is_regex', 'match_names', 'nearest', 'register_all_modules'
]
