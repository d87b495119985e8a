"""What all command-line tools share: an error that the user can mend is a plain message, not a traceback."""
import os
import sys
import traceback
from collections.abc import Callable

from mmengine.dist import get_rank

from ftcls.utils import UserError

from .distributed import close_distributed

__all__ = ['run_tool']


def _innermost(err: BaseException) -> UserError | None:
    """Find the first user error in a chain: MMEngine's registry wraps it once a nesting level."""
    found, seen = None, set()
    node: BaseException | None = err
    while node is not None and id(node) not in seen:
        seen.add(id(node))
        found = node if isinstance(node, UserError) else found
        node = node.__cause__ or node.__context__
    return found


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a tool's ``main`` and exit: 0 done, 1 a defect (with traceback), 2 something for the user to mend, 130 Ctrl-C.

    ``FTCLS_TRACEBACK=1`` in the environment shows the traceback of user errors too.
    """
    try:
        code = main() or 0
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        code = 130
    except Exception as err:
        user_error = _innermost(err) if isinstance(err, UserError) else None
        if user_error is None:
            raise
        code = 2
        if os.environ.get('FTCLS_TRACEBACK'):
            traceback.print_exc()
        rank = int(os.environ.get('RANK', get_rank()))
        text = str(user_error)
        # Eight processes would say the same eight times.
        print(f'error: {text}' if rank == 0 else f'error in process {rank}: {text.splitlines()[0]}', file=sys.stderr)
    finally:
        close_distributed()
    sys.stdout.flush()
    sys.exit(code)
