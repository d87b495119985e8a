"""Exported files predict through the same inferencers as the models; what is no such file, or not safe, is refused."""
import json
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from ftcls.apis import ImageClassificationInferencer, export_model, get_model, load_config, predict_files
from ftcls.utils import ConfigError, DataError, UserError
from ftcls.utils.plain_files import allow_imports


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work dir with LeNet-5 as .onnx, .pt2 and .pt, and two images."""
    folder = tmp_path_factory.mktemp('exported') / 'run'
    folder.mkdir()
    overrides = {'val_dataloader.batch_size': 16, 'val_dataloader.num_workers': 0}
    cfg = load_config('ftcls::tutorial/lenet5_pretrain_digits.py', overrides)
    cfg.work_dir = str(folder)
    cfg.dump(folder / 'run.py')
    torch.manual_seed(0)
    weights = get_model(cfg, pretrained=False, device='cpu').state_dict()
    torch.save(dict(state_dict={name: 2 * tensor for name, tensor in weights.items()}), folder / 'epoch_1.pth')
    for to in ('onnx', 'torch.export', 'torchscript'):
        export_model(folder, to=to, dynamic_batch=to == 'onnx', with_preprocessing=to == 'torchscript', images=8)
    rng = np.random.default_rng(0)
    for i in range(3):
        cv2.imwrite(str(folder / f'{i}.png'), rng.integers(0, 256, (40, 50, 3), np.uint8))
    return folder


@pytest.mark.parametrize('name', ['model.onnx', 'model.pt2', 'model.pt'])
def test_predicts_as_the_model(run: Path, tmp_path: Path, name: str) -> None:
    allow_imports()
    images = [str(run / '*.png'), str(run / 'no.png')]
    expected = predict_files(run, images, topk=3, device='cpu')
    report = predict_files(run / name, images, topk=3, batch_size=2, out=tmp_path / 'found.csv', show_dir=tmp_path)
    assert len(report.rows) == 4 and 'no.png' in report.broken[0]['error']
    for row, wanted in zip(report.rows[:3], expected.rows):
        assert {
            key: row[key]
            for key in ('img_path', 'pred_label', 'pred_class')
        } == {
            key: wanted[key]
            for key in ('img_path', 'pred_label', 'pred_class')
        }
        assert [hit['class'] for hit in row['topk']] == [hit['class'] for hit in wanted['topk']]
        assert row['pred_score'] == pytest.approx(wanted['pred_score'], abs=1e-4)
    assert (tmp_path / '2.png').is_file() and 'class' in (tmp_path / 'found.csv').read_text()


def test_arrays_and_scores(run: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    results = [
        ImageClassificationInferencer(m, device='cpu')(image, channel_order='rgb') for m in (run, run / 'model.onnx')
    ]
    np.testing.assert_allclose(results[0][0]['pred_scores'], results[1][0]['pred_scores'], atol=1e-5)


@pytest.mark.parametrize('name', ['model.pt2', 'model.pt'])
def test_files_of_torch_must_be_trusted(run: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for loader in ('torch.export.load', 'torch.jit.load'):
        monkeypatch.setattr(loader, lambda *args, **kwargs: pytest.fail('loaded'))
    with pytest.raises(ConfigError, match=rf'{name}: loading it can run code; add --allow-imports'):
        get_model(run / name)


@pytest.mark.parametrize('arguments', [('other.pth', None), (None, 'cuda')])
def test_a_file_has_its_weights(run: Path, arguments: tuple) -> None:
    with pytest.raises(ConfigError, match='model.onnx has its weights, and runs on the CPU; leave out'):
        predict_files(run / 'model.onnx', [run / '0.png'], arguments[0], device=arguments[1])


def _with_metadata(source: Path, path: Path, **changes: object) -> Path:
    file = onnx.load(source)
    meta = json.loads(file.metadata_props[0].value) | changes
    onnx.helper.set_model_props(file, {'ftcls.json': json.dumps(meta)})
    onnx.save(file, path)
    return path


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(shape='large', pipeline=3), 'no valid pipeline, shape'),
    (dict(preprocessor=dict(mean='x')), 'mean'),
    (dict(preprocessor=dict(type='os.system', command='touch mark')), 'no argument .command'),
    (dict(head=dict(type='os.system', command='touch mark')), 'os.system'),
    (dict(pipeline=[dict(type='os.system', command='touch mark')]), "'os.system' is not a registered transform"),
    (dict(pipeline=[]), 'pipeline is empty'),
    (dict(shape=[1, 28, 28]), r'takes images of shape \[1, 28, 28\], .* gave \[1, 32, 32\]'),
    (dict(shape=[3, 32, 32]), r'evil.onnx: InvalidArgument'),
    (dict(classes=['a']), '1 class names'),
])  # yapf: disable
def test_metadata_is_data(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict,
                          message: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = _with_metadata(run / 'model.onnx', tmp_path / 'evil.onnx', **changes)
    with pytest.raises(UserError, match=message):
        predict_files(path, [run / '0.png'])
    assert not (tmp_path / 'mark').exists()


def test_files_of_other_programs(run: Path, tmp_path: Path) -> None:
    file = onnx.load(run / 'model.onnx')
    onnx.helper.set_model_props(file, dict(names="{0: 'cat'}"))
    onnx.save(file, tmp_path / 'other.onnx')
    torch.save(dict(weight=torch.zeros(1)), tmp_path / 'weights.pt')
    for name in ('other.onnx', 'weights.pt'):
        with pytest.raises(DataError, match=rf'{name}: its metadata has no valid head, classes.* a work dir'):
            predict_files(tmp_path / name, [run / '0.png'])
    (tmp_path / 'cut.onnx').write_bytes((run / 'model.onnx').read_bytes()[:1000])
    (tmp_path / 'cut.pt2').write_bytes((run / 'model.pt2').read_bytes()[:1000])
    for name in ('cut.onnx', 'cut.pt2'):
        with pytest.raises(ConfigError, match=name):
            predict_files(tmp_path / name, [run / '0.png'])
    with pytest.raises(UserError, match="no.onnx does not exist"):
        predict_files(tmp_path / 'no.onnx', [run / '0.png'])


def test_no_image_is_in_a_file(run: Path) -> None:
    """torch keeps the example that it traced."""
    with zipfile.ZipFile(run / 'model.pt2') as archive:
        name = next(name for name in archive.namelist() if 'sample_inputs' in name)
        kept = torch.load(archive.open(name), weights_only=True)
    assert not kept[0][0].any()


def test_python_of_the_page(run: Path, capsys: pytest.CaptureFixture) -> None:
    page = (Path(__file__).parents[3] / 'docs' / 'export.md').read_text(encoding='utf-8')
    block, = re.findall(r'```python\n(.*?)```', page, flags=re.S)
    exec(block.replace('work_dirs/lenet5_pretrain_digits', str(run)), {})
    assert capsys.readouterr().out.strip().isdigit()
