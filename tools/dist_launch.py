"""torchrun without its own traceback: the failed process has printed the reason; its exit code is passed on."""
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

if __name__ == '__main__':
    try:
        main()
    except ChildFailedError as err:
        rank, failure = err.get_first_failure()
        if failure.exitcode < 0:
            print(
                f'error: process {rank} was ended by signal {-failure.exitcode} (9: perhaps the memory ran out)',
                file=sys.stderr)
        sys.exit(failure.exitcode if failure.exitcode > 0 else 1)
