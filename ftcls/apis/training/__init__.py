"""One training or evaluation run."""
