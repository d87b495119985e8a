"""From a folder of images to a config."""
