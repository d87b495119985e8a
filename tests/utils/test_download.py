"""Downloads from a server on the loopback interface: whole, broken, wrong, and by several at once."""
import hashlib
import multiprocessing
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ftcls.utils import DownloadError, UserError
from ftcls.utils.download import download, file_digest, hash_from_name

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(BODY).hexdigest()


class _Server(ThreadingHTTPServer):
    """Serves ``body``; the switches say what goes wrong."""
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.body, self.head, self.status, self.kind = BODY, True, 200, 'application/octet-stream'
        self.break_at: list[int] = []  # after how many bytes of each coming answer the connection breaks
        self.requests: list[dict] = []

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_address[1]}/weights.pth'


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_HEAD(self) -> None:  # noqa: N802
        self._answer()

    def do_GET(self) -> None:  # noqa: N802
        server = self.server
        server.requests.append(dict(self.headers))
        if self._answer():
            self.wfile.write(server.body[:server.break_at.pop(0)] if server.break_at else server.body)

    def _answer(self) -> bool:
        server = self.server
        if self.command == 'HEAD' and not server.head:
            self.send_error(405)
            return False
        if server.status != 200:
            self.send_error(server.status)
            return False
        self.send_response(200)
        self.send_header('Content-Type', server.kind)
        self.send_header('Content-Length', str(len(server.body)))
        self.end_headers()
        return True

    def log_message(self, *args: object) -> None:
        """Keep the test output quiet."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _only_file(folder: Path) -> str:
    """The name of the one file in the folder: nothing else is left behind."""
    (path, ) = (path for path in folder.iterdir() if path.suffix != '.lock')
    return path.name


def test_hash_from_name() -> None:
    assert hash_from_name('resnet50_8xb32_in1k_20210831-ea4938fc.pth') == 'ea4938fc'
    assert hash_from_name('https://x.org/a-b/resnet20-12fca82f.th') == '12fca82f'
    assert hash_from_name('resnet50-20210831.pth') is None
    assert hash_from_name('resnet50-epoch.pth') is None
    assert hash_from_name('last.pth') is None


def test_whole_file_is_fetched_once(server: _Server, tmp_path: Path) -> None:
    for _ in range(2):
        path = download(server.url, tmp_path, hash_prefix=SHA256, md5=hashlib.md5(BODY).hexdigest())
    assert path == tmp_path / 'weights.pth' and path.read_bytes() == BODY
    assert len(server.requests) <= 1
    assert _only_file(tmp_path) == 'weights.pth'


def test_destination_may_be_a_file_or_a_new_folder(server: _Server, tmp_path: Path) -> None:
    assert download(server.url, tmp_path / 'other.pth') == tmp_path / 'other.pth'
    assert download(server.url, tmp_path / 'cache' / 'deep') == tmp_path / 'cache' / 'deep' / 'weights.pth'
    assert download(server.url, f'{tmp_path}/new.d/') == tmp_path / 'new.d' / 'weights.pth'


def test_broken_connection_is_tried_again(server: _Server, tmp_path: Path) -> None:
    server.break_at = [300_000, 0]
    assert download(server.url, tmp_path, hash_prefix=SHA256[:8]).read_bytes() == BODY
    assert len(server.requests) == 3
    assert _only_file(tmp_path) == 'weights.pth'


def test_server_that_answers_get_alone(server: _Server, tmp_path: Path) -> None:
    server.head = False
    assert download(server.url, tmp_path).read_bytes() == BODY


def test_silent_server(tmp_path: Path) -> None:
    with socket.create_server(('127.0.0.1', 0)) as listener, pytest.raises(DownloadError, match='timed out'):
        download(f'http://127.0.0.1:{listener.getsockname()[1]}/weights.pth', tmp_path, timeout=0.2, retries=0)


def test_truncated_for_good(server: _Server, tmp_path: Path) -> None:
    server.break_at = [10, 10]
    with pytest.raises(DownloadError, match='10 of 1,048,576 bytes came'):
        download(server.url, tmp_path, retries=1)
    assert not (tmp_path / 'weights.pth').exists()


@pytest.mark.parametrize('wanted', [{'hash_prefix': 'deadbeef'}, {'hash_prefix': '0' * 64}, {'md5': '0' * 32}])
def test_wrong_hash(server: _Server, tmp_path: Path, wanted: dict) -> None:
    with pytest.raises(DownloadError, match='is not the expected file.*expected') as error:
        download(server.url, tmp_path, **wanted)
    assert isinstance(error.value, UserError) and isinstance(error.value, OSError)
    assert not any(path.suffix != '.lock' for path in tmp_path.iterdir())


def test_wrong_file_in_the_cache_is_replaced(server: _Server, tmp_path: Path) -> None:
    (tmp_path / 'weights.pth').write_bytes(b'half')
    assert download(server.url, tmp_path, hash_prefix=SHA256).read_bytes() == BODY


def test_wrong_file_in_the_cache_stays_when_the_download_fails(server: _Server, tmp_path: Path) -> None:
    (tmp_path / 'weights.pth').write_bytes(b'half')
    server.status = 404
    with pytest.raises(DownloadError, match='HTTP 404'):
        download(server.url, tmp_path, hash_prefix=SHA256)
    assert (tmp_path / 'weights.pth').read_bytes() == b'half'


@pytest.mark.parametrize('status', [403, 404, 410])
def test_refusals_name_url_and_place(server: _Server, tmp_path: Path, status: int) -> None:
    server.status = status
    with pytest.raises(DownloadError) as error:
        download(server.url + '?token=secret', tmp_path)
    assert server.url in str(error.value) and str(tmp_path / 'weights.pth') in str(error.value)
    assert 'secret' not in str(error.value)
    assert len(server.requests) <= 1


def test_busy_server_is_asked_again(server: _Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(DownloadError, match='2 times.*HTTP 503'):
        download(server.url, tmp_path, retries=1)


def test_web_page_instead_of_file(server: _Server, tmp_path: Path) -> None:
    server.kind = 'text/html; charset=utf-8'
    with pytest.raises(DownloadError, match='a web page'):
        download(server.url, tmp_path)
    assert not any(path.suffix != '.lock' for path in tmp_path.iterdir())


def test_empty_file(server: _Server, tmp_path: Path) -> None:
    server.body = b''
    with pytest.raises(DownloadError, match='is empty'):
        download(server.url, tmp_path)
    assert not any(path.suffix != '.lock' for path in tmp_path.iterdir())


def test_no_network_and_wrong_scheme(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match='cannot reach 127.0.0.1'):
        download('http://127.0.0.1:9/weights.pth', tmp_path)
    with pytest.raises(DownloadError, match='only http:// and https://'):
        download('file:///etc/passwd', tmp_path)


def test_unwritable_destination(server: _Server, tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('not a folder')
    with pytest.raises(DownloadError, match='cannot write'):
        download(server.url, tmp_path / 'file' / 'weights.pth')


def test_threads_fetch_once(server: _Server, tmp_path: Path) -> None:
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(download(server.url, tmp_path, hash_prefix=SHA256)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [tmp_path / 'weights.pth'] * 4
    assert len(server.requests) == 1 and _only_file(tmp_path) == 'weights.pth'


def test_processes_fetch_once(server: _Server, tmp_path: Path) -> None:
    context = multiprocessing.get_context('spawn')
    processes = [context.Process(target=download, args=(server.url, str(tmp_path))) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(server.requests) == 1 and file_digest(tmp_path / 'weights.pth') == SHA256
    assert _only_file(tmp_path) == 'weights.pth'


def test_bar_on_a_terminal(server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                           capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr('sys.stderr.isatty', lambda: True)
    download(server.url, tmp_path)
    assert '100%' in capsys.readouterr().err
    assert (tmp_path / 'weights.pth').read_bytes() == BODY
