"""Finding, reading, matching and reporting checkpoints."""
