"""torchrun without its own tracebacks: the failed process has printed the reason; its exit code is passed on."""
import signal
import sys
from types import FrameType

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main


def pass_on(signum: int, frame: FrameType | None) -> None:
    """Let torchrun send a signal to its processes, as it does by itself for SIGTERM and SIGINT."""
    raise SignalException(f'got signal {signum}', signal.Signals(signum))


if __name__ == '__main__':
    signal.signal(signal.SIGUSR1, pass_on)  # Slurm can send it before the end of the time
    try:
        main()
    except SignalException as err:
        sys.exit(128 + err.sigval)
    except ChildFailedError as err:
        rank, failure = err.get_first_failure()
        if failure.exitcode < 0:
            print(
                f'error: process {rank} was ended by signal {-failure.exitcode} (9: perhaps the memory ran out; 6: '
                'perhaps another process did not answer); --resume continues a training from its last checkpoint',
                file=sys.stderr)
            sys.exit(128 - failure.exitcode)
        sys.exit(failure.exitcode)
    except RuntimeError as err:
        if 'EADDRINUSE' not in str(err):
            raise
        sys.exit('error: the port is in use, perhaps by another run on this machine; give another by PORT=29501')
