"""What a command line may choose from, without an import, so that ``--help`` is quick."""

__all__ = ['BATCH_POLICIES', 'LAUNCHERS']

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
BATCH_POLICIES = ('accumulate', 'per-device', 'scale-lr', 'none')
