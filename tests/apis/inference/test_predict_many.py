"""Many images are predicted as each alone: from folders, patterns and the standard input, with worker processes or not."""
import csv
import io
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from ftcls.apis import ImageClassificationInferencer, get_model, predict_files
from ftcls.apis.inference import predict
from ftcls.apis.inference.inferencer import _drawing_names
from ftcls.datasets.transforms.decoder_errors import DAMAGED

CLASSES = ['ant', 'bee', 'wasp']
COUNT = 9


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work dir of a LeNet-5 with images in two folders below it."""
    folder = tmp_path_factory.mktemp('many') / 'run'
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')]
    dataset = dict(type='CustomDataset', data_root='nowhere', classes=CLASSES, pipeline=pipeline)
    cfg = Config(
        dict(
            default_scope='ftcls',
            model=dict(type='ImageClassifier', backbone=dict(type='LeNet5', num_classes=3, in_channels=3),
                       head=dict(type='ClsHead')),
            data_preprocessor=dict(mean=[100., 120., 140.], std=[50., 60., 70.], to_rgb=True),
            test_dataloader=dict(batch_size=2, num_workers=0, dataset=dataset)))  # yapf: disable
    torch.manual_seed(0)
    weights = {name: 3 * value for name, value in get_model(cfg, False, 'cpu').state_dict().items()}
    folder.mkdir()
    cfg.dump(folder / 'lenet5.py')
    torch.save(dict(state_dict=weights), folder / 'epoch_1.pth')
    noise = np.random.default_rng(0)
    for index in range(COUNT):
        path = folder.parent / 'images' / 'ab'[index % 2] / f'{index // 2}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.blur(noise.integers(0, 256, (40, 50, 3), dtype=np.uint8), (3, 3)))
    return folder


@pytest.fixture
def images(run: Path) -> list[str]:
    return sorted(map(str, (run.parent / 'images').rglob('*.png')))


def scores_of(rows: list[dict]) -> list[float]:
    return [row['pred_score'] for row in rows]


@pytest.mark.parametrize('few, batch_size', [(1, 8), (1, 2), (1000, COUNT)])
def test_workers_and_batches_do_not_change_the_predictions(run: Path, images: list[str], few: int,
                                                           batch_size: int | None,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    alone = ImageClassificationInferencer(run, device='cpu')(images)
    monkeypatch.setattr(predict, '_FEW', few)
    report = predict_files(run, [run.parent / 'images'], device='cpu', batch_size=batch_size)
    assert [row['img_path'] for row in report.rows] == images
    assert scores_of(report.rows) == pytest.approx(scores_of(alone), abs=1e-6)
    assert [row['pred_class'] for row in report.rows] == [result['pred_class'] for result in alone]


def test_broken_and_damaged_files_are_named_by_workers_too(run: Path, images: list[str], tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, '_FEW', 1)
    whole = cv2.imencode('.jpg', cv2.imread(images[0]))[1].tobytes()
    half = len(whole) // 2
    (tmp_path / 'damaged.jpg').write_bytes(whole[:half] + b'\xff\xd9' + whole[half + 2:])
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG')
    names = [images[0], tmp_path / 'broken.png', tmp_path / 'damaged.jpg', tmp_path / 'none.png', images[1]]
    report = predict_files(run, names, device='cpu', out=tmp_path / 'rows.json')
    rows = json.loads((tmp_path / 'rows.json').read_text())
    assert [Path(row['img_path']).name for row in rows if 'error' in row] == ['broken.png', 'none.png']
    assert [Path(row['img_path']).name for row in rows if 'pred_class' in row] == ['0.png', 'damaged.jpg', '1.png']
    assert 'damaged.jpg is damaged' in report.table() and DAMAGED.pop(str(tmp_path / 'damaged.jpg'))
    assert report.exit_code == 1


@pytest.mark.parametrize('end', ['\n', '\r\n', '\0'])
def test_names_come_from_the_standard_input(run: Path, images: list[str], end: str,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    names = [images[2], str(run.parent / 'images' / 'b'), images[0]]
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(end.join([*names, '']).encode())))
    report = predict_files(run, [images[0], '-'], device='cpu')
    in_b = [name for name in images if '/b/' in name]
    assert [row['img_path'] for row in report.rows] == [images[0], images[2], *in_b]


def test_rows_name_their_drawing(run: Path, images: list[str], tmp_path: Path) -> None:
    """Two folders have images of the same names."""
    report = predict_files(run, images[::3], device='cpu', show_dir=tmp_path / 'shown', out=tmp_path / 'rows.csv',
                           topk=2)  # yapf: disable
    with (tmp_path / 'rows.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ['img_path', 'rank', 'label', 'class', 'score', 'error', 'overlay']
    drawn = {row['img_path']: row['overlay'] for row in rows}
    assert len(set(drawn.values())) == len(images[::3]) and all(Path(path).is_file() for path in drawn.values())
    assert [row['overlay'] for row in report.rows] == list(drawn.values())
    assert f'weights: {run}/epoch_1.pth' in report.table()
    assert 'weights' not in predict_files(run, images[:1], run / 'epoch_1.pth', device='cpu').table()
    assert _drawing_names(['x/a.png', 'a_2.png', 'y/a.jpg', 'z/a.png']) == ['a.png', 'a_2.png', 'a_3.png', 'a_4.png']


def test_what_was_predicted_before_a_stop_is_kept(run: Path, images: list[str], tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch, log_records: list) -> None:
    describe = ImageClassificationInferencer._describe
    calls = []

    def stopped(self: ImageClassificationInferencer, *args: object) -> dict:
        calls.append(args)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return describe(self, *args)

    monkeypatch.setattr(ImageClassificationInferencer, '_describe', stopped)
    with pytest.raises(KeyboardInterrupt):
        predict_files(run, images, device='cpu', out=tmp_path / 'rows.json')
    assert [row['img_path'] for row in json.loads((tmp_path / 'rows.json').read_text())] == images[:5]
    assert f'5 of {COUNT} images' in log_records[-1][1]
    assert [path.name for path in tmp_path.iterdir()] == ['rows.json']  # no draft is left


def test_progress_is_shown_on_a_terminal_only(run: Path, images: list[str], monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture) -> None:
    predict_files(run, images, device='cpu')
    assert f'{COUNT}/{COUNT}' not in ''.join(capsys.readouterr())
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    predict_files(run, images, device='cpu')
    out, err = capsys.readouterr()
    assert f'{COUNT}/{COUNT}' in err and f'/{COUNT}' not in out
