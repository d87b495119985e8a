"""What decoders write to stderr and tell nobody: an image that is damaged, and decoded all the same."""
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ['DAMAGED', 'noted_errors']

#: The files that this process has decoded although they are damaged, and what the decoder said.
DAMAGED: dict[str, str] = {}
# Of libjpeg and libtiff; their other lines, and those of libpng, are about odd metadata.
_ERRORS = re.compile(r'Corrupt JPEG data: .*|Premature end of JPEG file|(?<=TIFF_Error ).*')
_LOCK = threading.Lock()


@contextmanager
def noted_errors(path: str) -> Iterator[None]:
    """Note in :data:`DAMAGED` what the decoders say of a file that is decoded inside; other lines are written on.

    libjpeg's warnings reach neither OpenCV's nor Pillow's callers: they are read where they arrive, at the process's
    stderr, by one thread at a time.
    """
    with _LOCK, tempfile.TemporaryFile() as file:
        try:
            stderr = os.dup(2)
        except OSError:  # closed
            yield
            return
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            text = file.read().decode(errors='replace')
    if text:
        found = _ERRORS.search(text)
        if found:
            DAMAGED[path] = found[0]
        os.write(2, _ERRORS.sub('', text).strip().encode())
