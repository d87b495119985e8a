"""What decoders write to stderr and tell nobody: an image that is damaged, and decoded all the same."""
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ['DAMAGED', 'noted_errors']

DAMAGED: dict[str, str] = {}  #: Files that this process has decoded although they are damaged: what the decoder said.
# Of libjpeg and libtiff; their other lines, and those of libpng, are about odd metadata.
_ERRORS = re.compile(rb'.*?(Corrupt JPEG data: .*|Premature end of JPEG file|TIFF_Error .*)\n?')
_LOCK = threading.Lock()


@contextmanager
def noted_errors(path: str, is_cut: bool = False) -> Iterator[None]:
    """Note in :data:`DAMAGED` what the decoders say of a file that is decoded inside; other lines are written on.

    libjpeg's warnings reach neither OpenCV's nor Pillow's callers: they are read where they arrive, at the process's
    stderr, by one thread at a time.

    Args:
        path: The file.
        is_cut: Whether the decoder stops early on purpose, and finds pixels where it expects the end; damage to those
            is not seen then.
    """
    with _LOCK:
        try:
            stderr = os.dup(2)
        except OSError:  # closed
            yield
            return
        source, sink = os.pipe()
        for end in (source, sink):  # a full pipe loses lines, and does not wait
            os.set_blocking(end, False)
        os.dup2(sink, 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            with suppress(OSError):  # nothing to read
                text = os.read(source, 1 << 16)
                for found in _ERRORS.findall(text)[:1]:
                    if not (is_cut and b' extraneous bytes before marker' in found):
                        DAMAGED[path] = found.decode(errors='replace')
                os.write(2, _ERRORS.sub(b'', text))
            for end in (source, sink, stderr):
                os.close(end)
