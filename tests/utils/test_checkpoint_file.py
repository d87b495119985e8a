"""Sources, formats, and what is said of files that are no checkpoints."""
import functools
import http.server
import json
import threading
import zipfile
from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner import load_checkpoint
from safetensors.torch import save_file
from torch import nn

from ftcls.utils.checkpoint import folder
from ftcls.utils.checkpoint import reading as checkpoint_file
from ftcls.utils.checkpoint.folder import save_whole
from ftcls.utils.checkpoint.reading import locate_checkpoint, read_checkpoint, register_safe_loading
from ftcls.utils.errors import CheckpointError, MissingFileError


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / 'weights.pth')
    return tmp_path / 'weights.pth'


@pytest.fixture
def restored_schemes(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))


@pytest.mark.parametrize('name', ['w.pth', 'w.th', 'w.pt', 'w.bin', 'w'])
@pytest.mark.parametrize('zipped', [True, False])
def test_local_files_of_any_suffix(tmp_path, name, zipped):
    state = nn.Linear(3, 2).state_dict()
    torch.save(state, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert torch.equal(read_checkpoint(str(tmp_path / name))['weight'], state['weight'])


def test_home_and_file_addresses(weights, monkeypatch):
    monkeypatch.setenv('HOME', str(weights.parent))
    assert locate_checkpoint('~/weights.pth') == weights
    assert locate_checkpoint(weights.as_uri()) == weights


def test_safetensors(tmp_path):
    torch.manual_seed(0)
    state = {
        'a': torch.randn(3, 4), 'half': torch.randn(5).half(), 'bf': torch.randn(2, 2).bfloat16(), 'n': torch.arange(4),
        'empty': torch.empty(0, 3), 'scalar': torch.tensor(2.5), 'flag': torch.tensor([True, False])
    }  # yapf: disable
    # The content says what a file is, not its name.
    for name in ('w.safetensors', 'w.pth'):
        save_file(state, tmp_path / name, metadata={'format': 'pt'})
        got = read_checkpoint(tmp_path / name)
        assert got.keys() == state.keys()
        for key, tensor in state.items():
            assert got[key].dtype == tensor.dtype and got[key].shape == tensor.shape and torch.equal(got[key], tensor)


@pytest.mark.parametrize('shape, begin, written', [
    ([4], 0, 12), ([9], 0, 16), ([4], 0, 20), ([4], -16, 16), ([1 << 40, 1 << 40], 0, 16)
], ids=['data-cut', 'shape', 'data-left', 'negative', 'overflow'])  # yapf: disable
def test_safetensors_damaged(tmp_path, shape, begin, written):
    table = json.dumps({'a': {'dtype': 'F32', 'shape': shape, 'data_offsets': [begin, begin + 16]}}).encode()
    path = tmp_path / 'w.safetensors'
    path.write_bytes(len(table).to_bytes(8, 'little') + table + bytes(written))
    with pytest.raises(CheckpointError, match=r'cut short or damaged .*Fetch or copy it anew'):
        read_checkpoint(path)


def test_safetensors_cut_anywhere(tmp_path):
    path = tmp_path / 'w.safetensors'
    save_file(nn.Linear(3, 2).state_dict(), path)
    data = path.read_bytes()
    for end in range(9, len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(CheckpointError, match='cut short or damaged'):
            read_checkpoint(path)


def test_real_resnet20(real_data):
    checkpoint = read_checkpoint(real_data / 'resnet20-12fca82f.th')
    assert len(checkpoint['state_dict']) == 97 and checkpoint['best_prec1'] == pytest.approx(91.78)


class TestFetching:
    """Addresses, over a server on this machine."""

    @pytest.fixture
    def server(self, weights):

        class Quiet(http.server.SimpleHTTPRequestHandler):

            def log_message(self, *args):
                pass

        with http.server.ThreadingHTTPServer(('127.0.0.1', 0),
                                             functools.partial(Quiet, directory=str(weights.parent))) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield f'http://127.0.0.1:{server.server_port}'
            server.shutdown()
            thread.join()

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
        return tmp_path / 'cache' / 'hub' / 'checkpoints'

    def test_address_is_cached_where_torch_hub_looks(self, server, cache):
        assert 'weight' in read_checkpoint(f'{server}/weights.pth')
        assert [p.name for p in cache.iterdir() if p.suffix != '.lock'] == ['weights.pth']

    def test_web_page_under_an_address(self, server, weights):
        (weights.parent / 'page.pth').write_text('<!DOCTYPE html><html>Sign in</html>')
        with pytest.raises(CheckpointError, match='web page.*Delete .*page.pth'):
            read_checkpoint(f'{server}/page.pth')

    @pytest.mark.parametrize('name, version', [('resnet50', 'DEFAULT'), ('resnet50.IMAGENET1K_V1', 'IMAGENET1K_V1'),
                                               ('ResNet50_Weights.imagenet1k_v2', 'IMAGENET1K_V2')])
    def test_torchvision(self, monkeypatch, weights, name, version):
        asked = []
        monkeypatch.setattr(checkpoint_file, 'download', lambda url, path, **kw: asked.append((url, kw)) or weights)
        read_checkpoint(f'torchvision://{name}')
        url = getattr(torchvision.models.ResNet50_Weights, version).url
        assert asked == [(url, {'hash_prefix': url.rpartition('-')[2][:8]})]

    def test_wrong_names(self):
        with pytest.raises(CheckpointError, match="no model 'resnet5'.*did you mean 'resnet50'"):
            read_checkpoint('torchvision://resnet5')
        with pytest.raises(CheckpointError, match='IMAGENET1K_V1'):
            read_checkpoint('torchvision://resnet50.IMAGENET_V1')
        with pytest.raises(CheckpointError, match="unknown scheme 'htps'.*did you mean 'https'"):
            read_checkpoint('htps://x.org/w.pth')


def test_missing_file_names_the_nearest(weights):
    with pytest.raises(MissingFileError, match=r'wieghts\.pth.*did you mean .*weights\.pth'):
        read_checkpoint(weights.parent / 'wieghts.pth')
    with pytest.raises(MissingFileError, match="nowhere' is missing"):
        read_checkpoint(weights.parent / 'nowhere' / 'w.pth')


def test_folder(weights):
    with pytest.raises(CheckpointError, match='is a folder.*weights.pth'):
        read_checkpoint(weights.parent)


@pytest.mark.parametrize('content, said', [
    (b'', 'empty'),
    (b'  <!DOCTYPE html>\n<html><body>404</body></html>', 'web page'),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n', 'git lfs pull'),
    (b'\x1f\x8b\x08rest', 'gzip'),
    (b'\x89HDF\r\n\x1a\n', 'HDF5'),
    (b'\x08\x07\x12\x07pytorch\x1a\x032.1', 'convert ONNX'),
    (b'{"message": "Not Found"}', 'not a file of torch.save'),
    (b'\xde\xad\xbe\xef' * 4, 'not a file of torch.save'),
    (b'PK\x03\x04' + bytes(100), 'cut short'),
], ids=['empty', 'html', 'lfs', 'gzip', 'hdf5', 'onnx', 'text', 'binary', 'half-zip'])  # yapf: disable
def test_files_that_are_no_checkpoints(tmp_path, content, said):
    path = tmp_path / 'w.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as err:
        read_checkpoint(path)
    assert said in str(err.value) and str(path) in str(err.value) and f'{len(content)} bytes' in str(err.value)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('part', [0.1, 0.5, 0.99])
def test_truncated(tmp_path, zipped, part):
    path = tmp_path / 'w.pth'
    torch.save({'state_dict': nn.Linear(30, 20).state_dict()}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[:int(len(data) * part)])
    with pytest.raises(CheckpointError, match='cut short'):
        read_checkpoint(path)


def test_other_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / 'w.zip', 'w') as archive:
        archive.writestr('readme.txt', 'x')
    with pytest.raises(CheckpointError, match='zip archive that torch.save did not write.*readme.txt'):
        read_checkpoint(tmp_path / 'w.zip')
    with zipfile.ZipFile(tmp_path / 'script.pt', 'w') as archive:
        for name in ('script/constants.pkl', 'script/data.pkl', 'script/code/m.py'):
            archive.writestr(name, b'\x80\x02}.')
    with pytest.raises(CheckpointError, match='TorchScript'):
        read_checkpoint(tmp_path / 'script.pt')
    (tmp_path / 'graph.pb').write_bytes(b'\n\x05x')
    with pytest.raises(CheckpointError, match='TensorFlow'):
        read_checkpoint(tmp_path / 'graph.pb')


@pytest.mark.parametrize('content, said', [({
    'epoch': 3
}, 'without any tensor'), ([1, 2], 'a list'), (torch.zeros(2), 'a Tensor')])
def test_no_weights_inside(tmp_path, content, said):
    torch.save(content, tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=f'holds no weights.*{said}'):
        read_checkpoint(tmp_path / 'w.pth')


def test_mmengine_reads_through_ours(weights, restored_schemes, monkeypatch):
    register_safe_loading()
    register_safe_loading()
    model = nn.Linear(3, 2)
    load_checkpoint(model, str(weights))
    assert torch.equal(model.weight, torch.load(weights, weights_only=True)['weight'])
    with pytest.raises(MissingFileError):
        load_checkpoint(model, str(weights.parent / 'none.pth'))
    for source in (str(weights), 'http://x/w.pth', 'https://x/w.pth', 'torchvision://resnet50', 'openmmlab://x',
                   'mmcls://x'):
        assert CheckpointLoader._get_checkpoint_loader(source) is checkpoint_file.load_from_ftcls
    assert mmengine_checkpoint._load_checkpoint(str(weights), map_location=lambda s, _: s).keys() == {'weight', 'bias'}


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'new' / 'merged.pth'
    save_whole(path, dict(state_dict={'w': torch.ones(2)}))

    def full(checkpoint: dict, draft: Path) -> None:
        draft.write_bytes(b'half')
        raise RuntimeError('[enforce fail at inline_container.cc] PytorchStreamWriter failed writing file')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(CheckpointError, match=r'merged\.pth cannot be written .*free the disk'):
        save_whole(path, dict(state_dict={}))
    assert torch.load(path, weights_only=True)['state_dict']['w'].tolist() == [1, 1]
    assert [file.name for file in path.parent.iterdir()] == ['merged.pth']
    (tmp_path / 'file').touch()
    with pytest.raises(CheckpointError, match='cannot be written'):
        save_whole(tmp_path / 'file' / 'x.pth', {})


def test_what_cannot_be_written_leaves_the_old_file_and_no_draft(tmp_path):
    folder.write_whole(tmp_path / 'new' / 'a.txt', 'old')
    with pytest.raises(UnicodeEncodeError):
        folder.write_whole(tmp_path / 'new' / 'a.txt', 'new \udc00')
    with pytest.raises(KeyError), folder.whole(tmp_path / 'b') as draft:
        draft.mkdir()
        raise KeyError
    assert [path.name for path in tmp_path.rglob('*')] == ['new', 'a.txt']
    assert (tmp_path / 'new' / 'a.txt').read_text() == 'old'
