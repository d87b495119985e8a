"""What all command-line tools share: an error that the user can mend is a plain message, not a traceback."""
import hashlib
import os
import sys
import traceback
from collections.abc import Callable

from ftcls.apis.training.distributed import close_distributed, count_event
from ftcls.utils.errors import unwrapped
from .utils import UserError

__all__ = ['run_tool']


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a tool's ``main`` and exit: 0 done, 1 a defect (with traceback), 2 something for the user to mend, 130 Ctrl-C.

    ``FTCLS_TRACEBACK=1`` in the environment shows the traceback of user errors too. Of several processes that fail, the
    first one says why; the others add a line only if they know something else.
    """
    try:
        code = main() or 0
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads (`| head`) has seen enough; what is left must not be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        print('interrupted; a training run goes on from its last checkpoint with --resume', file=sys.stderr)
        code = 130
    except Exception as err:
        code = _report(err)
    finally:
        close_distributed()
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


def _report(err: Exception) -> int:
    """Say what went wrong and return the exit code."""
    user_error = unwrapped(err) if isinstance(err, UserError) else None
    text = str(err if user_error is None else user_error)
    if 'Original Traceback' in text:  # from a data loading worker: what it says of itself comes last
        text = text.rsplit(f'{type(err).__name__}: ', 1)[-1].strip()
    failures = count_event('failed')
    same = count_event('failed with ' + hashlib.sha256(text.encode()).hexdigest())
    who = f' in process {os.environ["RANK"]}' if int(os.environ.get('WORLD_SIZE', 1)) > 1 else ''
    if user_error is None:
        if failures == 1:
            traceback.print_exc()
        else:  # most often: the connection to the process that failed is lost
            print(
                f'error{who}, after another one failed: {type(err).__name__}: {text.splitlines()[0] if text else ""}',
                file=sys.stderr)
        return 1
    if os.environ.get('FTCLS_TRACEBACK'):
        traceback.print_exc()
    if same == 1:
        print(f'error: {text}' if failures == 1 else f'error{who}: {text}', file=sys.stderr)
    return 2
