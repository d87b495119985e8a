"""Fetching files: cached, resumed, verified, and never left half written under their final name."""
import contextlib
import hashlib
import http.client
import json
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mmengine.dist import is_main_process
from mmengine.logging import print_log

from .errors import DownloadError

try:
    import fcntl
except ImportError:  # not a POSIX system: no lock between processes there
    fcntl = None

__all__ = ['download', 'file_digest', 'hash_from_name']

_BLOCK = 1 << 18  # bytes read at a time: 256 KiB
_RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)


def hash_from_name(filename: str | os.PathLike) -> str | None:
    """Return the first digits of the SHA-256 that a weights file carries in its name, or None.

    OpenMMLab, torchvision and PyTorch Hub end the stem with ``-`` and at least 8 hexadecimal digits. Eight digits that
    read as a date (``-20210831``) are not taken for a hash.

    Example:
        >>> hash_from_name('resnet50_8xb32_in1k_20210831-ea4938fc.pth')
        'ea4938fc'
    """
    found = re.findall(r'-([0-9a-f]{8,64})(?=\.)', Path(filename).name)
    if not found or re.fullmatch(r'(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])', found[-1]):
        return None
    return found[-1]


def file_digest(path: str | os.PathLike, algorithm: str = 'sha256') -> str:
    """Return a file's digest (``'md5'``, ``'sha256'`` …) as lower-case hexadecimal digits."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class _Wanted:
    """One download: where from, where to, and what the file must hash to."""
    url: str
    path: Path
    md5: str | None
    sha256: str | None  # whole or the first digits
    timeout: float
    progress: bool

    @property
    def part(self) -> Path:
        return self.path.with_name(self.path.name + '.part')

    @property
    def note(self) -> Path:
        """Beside the part: the URL, and the ETag or date that tells whether the server still has the same file."""
        return self.path.with_name(self.path.name + '.part.json')

    @property
    def hashed(self) -> bool:
        return self.md5 is not None or self.sha256 is not None

    @property
    def shown_url(self) -> str:
        """The URL without user name, password and query, which may hold secrets."""
        parts = urllib.parse.urlsplit(self.url)
        return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition('@')[2], parts.path, '', ''))

    @property
    def by_hand(self) -> str:
        return f'Or fetch {self.shown_url} by hand (another machine will do) and put it at {self.path.absolute()}'

    def mismatch(self, path: Path) -> str | None:
        """Say how the hash of the file at ``path`` differs from the wanted one, or None where it does not."""
        for algorithm, wanted in (('md5', self.md5), ('sha256', self.sha256)):
            if wanted is not None:
                got = file_digest(path, algorithm)
                if not got.startswith(wanted.lower()):
                    return f'its {algorithm} is {got[:max(len(wanted), 16)]}, expected {wanted}'
        return None

    def drop_part(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


class _Broken(Exception):
    """The connection broke or the server is busy: worth another try."""


def download(url: str,
             dst_or_cache_dir: str | os.PathLike,
             *,
             hash_prefix: str | None = None,
             md5: str | None = None,
             sha256: str | None = None,
             progress: bool = True,
             timeout: float = 15.0,
             retries: int = 3) -> Path:
    """Fetch ``url`` once and return the path of the file.

    The bytes are written to ``<name>.part``; after length and hash are verified the part is moved to its final name in
    one step, so that a half file is never left there. A part that an earlier, interrupted call left is continued, where
    the server allows it and still has the same file. Processes and threads that ask for the same file wait for
    one another at ``<name>.lock``.

    Args:
        url: An http or https address.
        dst_or_cache_dir: The file to write, or the folder to put it in under the URL's own name. It is taken for a
            folder if it is one, ends with a separator, or has no suffix while the URL's name has one.
        hash_prefix: First digits of the SHA-256 that the file must have (see :func:`hash_from_name`).
        md5: MD5 that the file must have.
        sha256: SHA-256 that the file must have.
        progress: Show a bar, where standard error is a terminal; one log line otherwise.
        timeout: Seconds to wait for the server, each time it is silent.
        retries: How many times to go on after a broken connection without any progress in between.

    Raises:
        DownloadError: If the file cannot be had or is not the one wanted; the message says which URL and where to put
            the file by hand.
    """
    if urllib.parse.urlsplit(url).scheme not in ('http', 'https'):
        raise DownloadError(f'cannot download {url!r}: only http:// and https:// addresses are fetched; '
                            'give the path of a local file as it is')
    want = _Wanted(url, _target(url, dst_or_cache_dir), md5, sha256 or hash_prefix, timeout, progress)
    if want.path.is_file() and want.mismatch(want.path) is None:
        return want.path
    try:
        want.path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(want.path.with_name(want.path.name + '.lock')):
            _fetch_locked(want, retries)
    except DownloadError:
        raise
    except OSError as err:
        raise DownloadError(f'cannot write {want.path} while downloading {want.shown_url}: {err.strerror or err}; '
                            'free some space there or choose another folder') from err
    return want.path


def _target(url: str, dst_or_cache_dir: str | os.PathLike) -> Path:
    """Return the final path of the download."""
    text = os.path.expanduser(os.fspath(dst_or_cache_dir))
    path = Path(text)
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    if path.is_dir() or text.endswith(('/', os.sep)) or (not path.suffix and Path(name).suffix):
        if not name:
            raise DownloadError(f'{url!r} names no file; give the file to write instead of the folder {text!r}')
        return path / name
    return path


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock file at ``path``, waiting for whoever has it; the file is removed afterwards."""
    if fcntl is None:
        yield
        return
    while True:
        file = open(path, 'a')
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print_log(f'Another process downloads {path.stem}; waiting for it', logger='current')
            fcntl.flock(file, fcntl.LOCK_EX)
        # The one before us may have removed the file that we waited on: then this lock guards nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                break
        file.close()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _fetch_locked(want: _Wanted, retries: int) -> None:
    """Fetch, verify and move into place; the caller holds the lock."""
    if want.path.is_file():  # it may have come while we waited for the lock
        problem = want.mismatch(want.path)
        if problem is None:
            return
        print_log(f'{want.path} is not the file at {want.shown_url} ({problem}); downloading it again', logger='current',
                  level=logging.WARNING)  # yapf: disable
    if not (want.progress and sys.stderr.isatty()):
        print_log(f'Downloading {want.shown_url} to {want.path}', logger='current')
    resumed = _fetch_with_retries(want, retries)
    problem = want.mismatch(want.part)
    if problem is not None and resumed:  # the part was of another file: once more, from the start
        want.drop_part()
        _fetch_with_retries(want, retries)
        problem = want.mismatch(want.part)
    if problem is not None:
        want.drop_part()
        raise DownloadError(f'{want.shown_url} is not the expected file: {problem}. It was removed. '
                            'Check the address, or that no proxy changes what is fetched')
    os.replace(want.part, want.path)
    want.note.unlink(missing_ok=True)


def _fetch_with_retries(want: _Wanted, retries: int) -> bool:
    """Fill the part file; return whether it was continued from an earlier call's part."""
    furthest = _size(want.part)
    resumed = furthest > 0
    failures = 0
    while True:
        try:
            _fetch_once(want)
            return resumed
        except _Broken as err:
            failures = 0 if _size(want.part) > furthest else failures + 1
            furthest = max(furthest, _size(want.part))
            if failures > retries:
                raise DownloadError(f'downloading {want.shown_url} broke off {failures} times ({err}); '
                                    f'{_size(want.part):,} bytes are kept and the next try goes on from there. '
                                    f'{want.by_hand}') from err
            time.sleep(min(0.2 * 2**failures, 5.0))


def _size(path: Path) -> int:
    """Return a file's size in bytes, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _fetch_once(want: _Wanted) -> None:
    """One request: continue or start the part file, and check its length."""
    request = urllib.request.Request(want.url, headers={'User-Agent': 'ftcls', 'Accept-Encoding': 'identity'})
    start = _resume_headers(want, request)
    try:
        with contextlib.closing(_open(want, request)) as response:
            _check_content(want, response)
            if response.status == 206 and _range_start(response) != start:
                want.drop_part()
                raise _Broken('the server sent another range than was asked for')
            if response.status != 206:
                start = 0  # the server has no ranges, or has another file by now: from the beginning
            _write(want, response, start)
    except (TimeoutError, ConnectionError, http.client.HTTPException) as err:
        raise _Broken(f'{type(err).__name__}: {err}') from err


def _resume_headers(want: _Wanted, request: urllib.request.Request) -> int:
    """Ask for the rest of the file only, where that is safe; return the number of bytes already there."""
    start = _size(want.part)
    note = {}
    with contextlib.suppress(OSError, ValueError):
        note = json.loads(want.note.read_text())
    validator = note.get('validator')
    if start == 0 or note.get('url') != want.url or not (validator or want.hashed):
        want.drop_part()
        return 0
    request.add_header('Range', f'bytes={start}-')
    if validator:
        request.add_header('If-Range', validator)
    return start


def _open(want: _Wanted, request: urllib.request.Request) -> http.client.HTTPResponse:
    """Open the connection; turn what cannot be mended by trying again into a DownloadError."""
    try:
        return urllib.request.urlopen(request, timeout=want.timeout)
    except urllib.error.HTTPError as err:
        err.close()
        if err.code == 416:  # the part is longer than the file, or the file is whole and only its move was missed
            want.drop_part()
            raise _Broken('the server has no such range; starting again') from err
        if err.code in _RETRIED_STATUS:
            raise _Broken(f'HTTP {err.code} {err.reason}') from err
        hint = 'there is no such file (any more); check the address' if err.code in (404,
                                                                                     410) else 'the server refuses it'
        raise DownloadError(f'cannot download {want.shown_url}: HTTP {err.code} {err.reason}: {hint}. '
                            f'{want.by_hand}') from err
    except urllib.error.URLError as err:
        if isinstance(err.reason, ConnectionError) and not isinstance(err.reason, ConnectionRefusedError):
            raise _Broken(str(err.reason)) from err
        host = urllib.parse.urlsplit(want.url).hostname
        raise DownloadError(f'cannot reach {host} to download {want.shown_url} ({err.reason}); is there a network? '
                            f'{want.by_hand}') from err


def _check_content(want: _Wanted, response: http.client.HTTPResponse) -> None:
    """Refuse a web page where a file was asked for: a login page, say, or an error page sent with status 200."""
    kind = response.headers.get_content_type()
    if kind in ('text/html', 'application/xhtml+xml') and want.path.suffix.lower() not in ('.html', '.htm'):
        want.drop_part()
        raise DownloadError(f'{want.shown_url} sent a web page ({kind}) instead of the file {want.path.name}: '
                            f'the address is wrong, or it asks for a login. {want.by_hand}')


def _range_start(response: http.client.HTTPResponse) -> int | None:
    """Return the first byte's position from ``Content-Range``."""
    found = re.match(r'bytes (\d+)-', response.headers.get('Content-Range', ''))
    return int(found[1]) if found else None


def _write(want: _Wanted, response: http.client.HTTPResponse, start: int) -> None:
    """Append the body to the part file from byte ``start`` on, and check the length that the server announced."""
    etag = response.headers.get('ETag', '')
    validator = etag if etag and not etag.startswith('W/') else response.headers.get('Last-Modified')
    length = response.headers.get('Content-Length')
    total = start + int(length) if length is not None else None
    want.note.write_text(json.dumps({'url': want.url, 'validator': validator}))
    with open(want.part, 'ab' if start else 'wb') as file:
        _copy(want, response, file, start, total)
    size = _size(want.part)
    if total is not None and size != total:
        if size > total:
            want.drop_part()
        raise _Broken(f'{size:,} of {total:,} bytes came')
    if size == 0:
        want.drop_part()
        raise DownloadError(f'{want.shown_url} is empty (0 bytes). {want.by_hand}')


def _copy(want: _Wanted, response: http.client.HTTPResponse, file: BinaryIO, start: int, total: int | None) -> None:
    """Copy the body block by block, with a bar on a terminal."""
    if not (want.progress and is_main_process() and sys.stderr.isatty()):
        while block := response.read(_BLOCK):
            file.write(block)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    columns = (TextColumn('{task.description}'), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
               TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(want.path.name, total=total, completed=start)
        while block := response.read(_BLOCK):
            file.write(block)
            bar.advance(task, len(block))
