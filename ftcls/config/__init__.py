"""From a config file to a checked config."""
