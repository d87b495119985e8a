"""Files, PIL images and arrays give the same predictions; what is left out of a file is said."""
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from test_inference import ARRAYS, FILES, _config, _pictures, _work_dir

from ftcls.apis.inference import inferencer as inferencer_module
from ftcls.apis.inference.inferencer import ImageClassificationInferencer, inference_model
from ftcls.apis.inference.predict import predict_files
from ftcls.datasets.transforms import BaseTransform, LoadImageFromFile
from ftcls.utils import ConfigError, DataError


def test_pil_images_and_arrays_of_both_orders_score_as_the_file(tmp_path: Path, log_records: list[tuple[int,
                                                                                                        str]]) -> None:
    inferencer_module._note_order.cache_clear()
    inferencer = ImageClassificationInferencer(_work_dir(tmp_path / 'run', _config(FILES)), device='cpu')
    rgb = _pictures(1)[0]
    picture = PIL.Image.fromarray(rgb)
    picture.save(tmp_path / 'a.png')
    expected = inferencer(tmp_path / 'a.png')[0]['pred_scores']
    for image, order in ((picture, None), (rgb, 'rgb'), (rgb[..., ::-1], 'bgr')):
        assert (inferencer(image, channel_order=order)[0]['pred_scores'] == expected).all()
    assert not [text for _, text in log_records if 'channel_order' in text]
    assert (inferencer([rgb[..., ::-1]] * 2)[1]['pred_scores'] == expected).all()
    said = [text for _, text in log_records if "BGR" in text and "channel_order='rgb'" in text]
    assert len(said) == 1
    with pytest.raises(ConfigError, match="channel_order='RGB'.*'bgr' or 'rgb'"):
        inferencer(rgb, channel_order='RGB')
    for wrong in (None, rgb / 255., rgb.tolist()[0]):
        with pytest.raises(DataError, match='must be a path, a PIL image, or an array'):
            inferencer([wrong])
    got = inference_model(inferencer.model, rgb, channel_order='rgb')['pred_scores']
    assert (got == expected).all()


def test_pil_images_of_all_modes_are_read_as_files_are(tmp_path: Path) -> None:
    inferencer = ImageClassificationInferencer(_work_dir(tmp_path / 'run', _config(FILES)), device='cpu')
    picture = PIL.Image.fromarray(_pictures(1)[0])
    transparent = picture.copy()
    transparent.putalpha(picture.getchannel('R'))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / 'turned.png', exif=exif)
    modes = [picture.convert(mode) for mode in ('L', '1', 'LA', 'P')]
    for image in (*modes, transparent, transparent.convert('LA'), picture.quantize(7)):
        image.save(tmp_path / 'a.png')
        got, expected = (inferencer(one)[0]['pred_scores'] for one in (image, tmp_path / 'a.png'))
        assert (got == expected).all(), image.mode
    with PIL.Image.open(tmp_path / 'turned.png') as turned:
        got = inferencer(turned, show_dir=tmp_path / 'drawn')[0]['pred_scores']
    assert (got == inferencer(tmp_path / 'turned.png')[0]['pred_scores']).all() and (tmp_path / 'drawn/0.png').is_file()


def test_many_channels_and_many_bits(tmp_path: Path) -> None:
    """The same by files, by arrays and by the tool's function; what does not fit names the setting."""
    load = dict(type='LoadImageFromFile', color_type='unchanged', value_range=(0, 4095))
    cfg = _config([load, *ARRAYS], channels=5)
    cfg.data_preprocessor.update(mean=[127.] * 5, std=[60.] * 5)
    inferencer = ImageClassificationInferencer(_work_dir(tmp_path / 'run', cfg), device='cpu')
    bands = np.random.default_rng(0).integers(0, 4096, (40, 50, 5), dtype=np.uint16)
    np.save(tmp_path / 'a.npy', bands)
    expected = inferencer(tmp_path / 'a.npy', show_dir=tmp_path / 'run/drawn')[0]['pred_scores']
    assert (inferencer(bands)[0]['pred_scores'] == expected).all() and (tmp_path / 'run/drawn/a.png').is_file()
    report = predict_files(tmp_path / 'run', [tmp_path / '*.npy'], device='cpu')
    assert [Path(row['img_path']).name for row in report.rows] == ['a.npy'] and not report.broken
    with pytest.raises(DataError, match=r'\(40, 50, 4\) uint16'):
        inferencer(bands[..., :4])


def test_what_predict_leaves_out_is_noted(tmp_path: Path) -> None:
    run = _work_dir(tmp_path / 'run', _config(FILES))
    pages = [PIL.Image.fromarray(rgb) for rgb in _pictures(2)]
    pages[0].save(tmp_path / 'pages.tif', save_all=True, append_images=pages[1:])
    PIL.Image.fromarray(np.dstack([_pictures(1)[0], np.full((40, 50), 9, np.uint8)])).save(tmp_path / 'see.png')
    cv2.imwrite(str(tmp_path / 'deep.png'), np.arange(2000, dtype=np.uint16).reshape(40, 50))
    report = predict_files(run, [tmp_path], device='cpu')
    table = report.table()
    assert "pages.tif" in table and 'only the first is read' in table and "alpha='white'" in table
    (broken, ) = report.broken
    assert 'deep.png' in broken['error'] and 'value_range=(0, 4095)' in broken['error']


class _OwnLoader(BaseTransform):
    """A user's first step, which reads the file itself."""

    def transform(self, results: dict) -> dict:
        results['img'] = cv2.imread(results['img_path'])
        return results


class _Inverted(LoadImageFromFile):

    def transform(self, results: dict) -> dict:
        results = super().transform(results)
        return dict(results, img=255 - results['img'])


def test_loaders_of_a_user_give_what_they_give_in_validation(tmp_path: Path) -> None:
    rgb = _pictures(1)[0]
    cv2.imwrite(str(tmp_path / 'a.png'), rgb[..., ::-1])
    cv2.imwrite(str(tmp_path / 'b.png'), 255 - rgb[..., ::-1])
    inferencer = ImageClassificationInferencer(_work_dir(tmp_path / 'run', _config(FILES)), device='cpu')
    expected = [inferencer(tmp_path / name)[0]['pred_scores'] for name in ('a.png', 'b.png')]
    for step, scores in zip((_OwnLoader(), _Inverted()), expected):
        inferencer.config.test_dataloader.dataset.pipeline[0] = step
        own = ImageClassificationInferencer(inferencer.model)
        assert (own(tmp_path / 'a.png')[0]['pred_scores'] == scores).all()
