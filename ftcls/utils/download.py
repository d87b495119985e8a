"""Fetching files over http(s): checked, retried, never half a file under the final name."""
import hashlib
import http.client
import os
import re
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from filelock import FileLock

from .errors import DownloadError

__all__ = ['download', 'file_digest', 'hash_from_name']

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


def download(url: str,
             dst_or_cache_dir: str | os.PathLike,
             *,
             hash_prefix: str | None = None,
             md5: str | None = None,
             progress: bool = True,
             timeout: float = 15.0,
             retries: int = 3) -> Path:
    """Fetch ``url`` once and return the path of the file.

    The bytes are written to ``<name>.part``. After length and hash are verified, the part is moved to its
    final name in one step. Processes and threads that ask for the same file wait for one another.

    Args:
        url: An http or https address.
        dst_or_cache_dir: The file to write, or the folder to put it in under the URL's own name. It is taken for a
            folder if it is one, ends with a separator, or has no suffix while the URL's name has one.
        hash_prefix: SHA-256 that the file must have, or its first digits (see :func:`hash_from_name`).
        md5: MD5 that the file must have.
        progress: Show a bar, where standard error is a terminal.
        timeout: Seconds to wait for a silent server.
        retries: How many times to try again after a broken connection or from a busy server.

    Raises:
        DownloadError: If the file cannot be had or is not the one wanted; the message says which URL and where to put
            the file by hand.
    """
    from mmengine.logging import print_log
    if urllib.parse.urlsplit(url).scheme not in ('http', 'https'):
        raise DownloadError(f'cannot fetch {url!r}: only http:// and https:// addresses; give a local file by its path')
    path = _target(url, dst_or_cache_dir)
    wanted = {kind: digest for kind, digest in (('md5', md5), ('sha256', hash_prefix)) if digest}
    if path.is_file() and _mismatch(path, wanted) is None:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f'.{path.name}.lock')):
            if path.is_file():
                if (problem := _mismatch(path, wanted)) is None:
                    return path
                print_log(f'{path} is not the file at {_shown(url)} ({problem}); it is fetched again', logger='current')
            part = path.with_name(path.name + '.part')
            try:
                _fetch_with_retries(url, part, path, retries, progress=progress, timeout=timeout)
                if problem := _mismatch(part, wanted):
                    raise DownloadError(f'{_shown(url)} is not the expected file: {problem}; check address and proxy')
                return part.replace(path)
            finally:
                part.unlink(missing_ok=True)
    except DownloadError:
        raise
    except OSError as err:
        text = f'cannot write {path} while downloading {_shown(url)}: {err.strerror or err}'
        raise DownloadError(f'{text}; free some space there or choose another folder') from err


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


def _shown(url: str) -> str:
    """Return a URL without user name, password and query, which may hold secrets."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition('@')[2], parts.path, '', ''))


def _mismatch(path: Path, wanted: dict[str, str]) -> str | None:
    """Say how the hash of a file differs from the wanted one, or None where it does not."""
    for algorithm, digest in wanted.items():
        got = file_digest(path, algorithm)
        if not got.startswith(digest.lower()):
            return f'its {algorithm} is {got[:max(len(digest), 16)]}, expected {digest}'
    return None


def _fetch_with_retries(url: str, part: Path, path: Path, retries: int, **options: Any) -> None:
    """Fill the part file, or raise a DownloadError that says how to get the file by hand."""
    from mmengine.logging import print_log
    print_log(f'Downloading {_shown(url)} to {path}', logger='current')
    by_hand = f'Or fetch {_shown(url)} by hand to {path.absolute()}, or give weights by --weights, init_cfg.checkpoint'
    for attempt in range(retries + 1):
        try:
            if _fetch(url, part, path, **options):
                return
            raise DownloadError(f'{_shown(url)} is empty (0 bytes). {by_hand}')
        except urllib.error.HTTPError as err:
            err.close()
            problem = f'HTTP {err.code} {err.reason}'
            if err.code not in _RETRIED_STATUS:
                raise DownloadError(f'cannot download {_shown(url)}: {problem}; check the address. {by_hand}') from err
        except urllib.error.URLError as err:
            problem = str(err.reason)
            if isinstance(err.reason, ConnectionRefusedError | socket.gaierror):
                text = f'cannot reach {urllib.parse.urlsplit(url).hostname} to download {_shown(url)} ({problem})'
                raise DownloadError(f'{text}; is there a network? {by_hand}') from err
        except (ConnectionError, TimeoutError, http.client.HTTPException) as err:
            problem = f'{type(err).__name__}: {err}'
        if attempt < retries:
            time.sleep(min(0.2 * 2**attempt, 5.0))
    raise DownloadError(f'downloading {_shown(url)} failed {retries + 1} times ({problem}). {by_hand}')


def _fetch(url: str, part: Path, path: Path, progress: bool, timeout: float) -> int:
    """Write what comes to the part file, and return its length in bytes; refuse a web page, and less than announced.

    ``torch.hub`` would compare no length, and wait for a silent server for ever.
    """
    from mmengine.dist import is_main_process
    from torch.hub import tqdm
    request = urllib.request.Request(url, headers={'User-Agent': 'ftcls', 'Accept-Encoding': 'identity'})
    with urllib.request.urlopen(request, timeout=timeout) as response, part.open('wb') as file:
        kind, length = response.headers.get_content_type(), response.headers.get('Content-Length')
        if kind in ('text/html', 'application/xhtml+xml') and path.suffix.lower() not in ('.html', '.htm'):
            raise DownloadError(f'{_shown(url)} is a web page ({kind}), not {path.name}; check address and login')
        length = length and int(length)
        has_bar = progress and is_main_process() and sys.stderr.isatty()
        with tqdm(total=length, disable=not has_bar, unit='B', unit_scale=True) as bar:
            while block := response.read(1 << 20):
                bar.update(file.write(block))
        if length not in (None, file.tell()):
            raise ConnectionError(f'{file.tell():,} of {length:,} bytes came')
        return file.tell()
