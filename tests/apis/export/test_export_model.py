"""An exported file predicts as the model does, whatever the model, the format and the options; a broken one is refused."""
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from ftcls.apis import export_model, get_model, load_config
from ftcls.apis.export import export_model as module
from ftcls.models.adapters import adapted_layers
from ftcls.utils import ConfigError, UserError

FORMATS = {'onnx': '.onnx', 'torch.export': '.pt2', 'torchscript': '.pt', 'safetensors': '.safetensors'}
LENET = dict(
    type='ImageClassifier', backbone=dict(type='LeNet5', num_classes=-1), neck=dict(type='GlobalAveragePooling'))


def _save(cfg: Config, folder: Path) -> Path:
    """Write a work dir with random weights, so large that the scores of the classes differ."""
    folder.mkdir()
    torch.manual_seed(0)
    weights = get_model(cfg, pretrained=False, device='cpu').state_dict()
    for name, tensor in weights.items():
        if 'lora_B' in name:
            tensor.normal_()
        elif name.endswith('weight') and tensor.ndim > 1:
            tensor.mul_(2)
    cfg.work_dir = str(folder)
    cfg.dump(folder / f'{folder.name}.py')
    hub = dict(runtime_info=dict(best_score=91.5, ftcls_commit='0123456789ab'))
    torch.save(dict(state_dict=weights, message_hub=hub), folder / 'best_accuracy_top1_epoch_1.pth')
    return folder


@pytest.fixture(scope='module')
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    overrides = {'val_dataloader.batch_size': 16, 'val_dataloader.num_workers': 0}
    cfg = load_config('ftcls::tutorial/lenet5_pretrain_digits.py', overrides)
    return _save(cfg, tmp_path_factory.mktemp('lenet') / 'run')


def _images(folder: Path, channels: int = 3, sizes: tuple[int, ...] = (32, 40)) -> Path:
    """Write six images in two classes, with masks."""
    rng = np.random.default_rng(0)
    for i in range(6):
        size = sizes[i % len(sizes)]
        image = np.roll(rng.integers(0, 256, (size, size, channels)), i, axis=2) // (1 + np.arange(channels))
        for name, pixels in (('val/' + 'ab'[i % 2], image), ('images', image), ('masks', 255 * (image[..., :1] > 127))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name / f'{i}.png'), pixels.astype(np.uint8))
    return folder


def _config(model: dict, dataset: dict, **preprocessor: object) -> Config:
    loader = dict(
        batch_size=4,
        num_workers=0,
        collate_fn=dict(type='default_collate'),
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='CustomDataset', data_prefix='val', **dataset))
    if model['type'] == 'ImageSegmentor':
        loader['dataset'] = dict(type='BinarySegDataset', mask_name='{stem}.png', **dataset)
    evaluator = dict(type='DiceMetric' if model['type'] == 'ImageSegmentor' else 'Accuracy')
    return Config(
        dict(
            default_scope='ftcls',
            model=model,
            data_preprocessor=dict(type='ClsDataPreprocessor', **preprocessor),
            val_dataloader=loader,
            val_evaluator=evaluator,
            val_cfg=dict()))


def _metadata(path: Path) -> dict:
    if path.suffix == '.onnx':
        import onnx
        return json.loads({prop.key: prop.value for prop in onnx.load(path).metadata_props}['ftcls.json'])
    if path.suffix == '.safetensors':
        from safetensors import safe_open
        with safe_open(path, 'pt') as file:
            return json.loads(file.metadata()['ftcls.json'])
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(next(name for name in archive.namelist() if name.endswith('/ftcls.json'))))


@pytest.mark.parametrize(('to', 'options'), [
    ('onnx', dict(dynamic_batch=True, with_preprocessing=True)),
    ('onnx', dict(half=True)),
    ('torch.export', dict(dynamic_batch=True)),
    ('torchscript', dict(with_preprocessing=True)),
    ('torchscript', dict(dynamic_batch=True, half=True)),
    ('safetensors', dict(half=True)),
    ('safetensors', {}),
])
def test_predicts_the_same(lenet: Path, tmp_path: Path, to: str, options: dict) -> None:
    out = tmp_path / f'new/model{FORMATS[to]}'
    result = export_model(lenet, to=to, out=out, images=20, **options)
    assert Path(result['checkpoint']).parent == lenet and result['path'] == out
    assert [file.name for file in out.parent.iterdir()] == [out.name]
    assert result['images'] == 32  # two batches of 16
    assert result['difference'] < (0.02 if 'half' in options else 1e-5) and result['agreement'] > 0.9
    meta = _metadata(out)
    assert meta['classes'] == [str(i)
                               for i in range(10)] and (meta['best_score'], meta['commit']) == (91.5, '0123456789ab')
    assert meta['checkpoint'] == 'best_accuracy_top1_epoch_1.pth' and meta['config'] == 'run.py'
    assert meta['dtype'] == ('uint8' if 'with_preprocessing' in options else 'float32') and meta['shape'] == [1, 32, 32]
    assert meta['batch'] == (None if 'dynamic_batch' in options else 1)
    assert [step['type'] for step in meta['pipeline']][-1] == 'PackInputs'


NETS = {
    'colours in BGR': (dict(LENET, backbone=dict(type='LeNet5', num_classes=-1, in_channels=3)), 3, {}),
    'colours in RGB': (dict(LENET, backbone=dict(type='LeNet5', num_classes=-1, in_channels=3)), 3, dict(to_rgb=True)),
    'four channels': (dict(LENET, backbone=dict(type='LeNet5', num_classes=-1, in_channels=4)), 4, dict(to_rgb=True)),
    'a transformer': (dict(
        type='ImageClassifier',
        backbone=dict(
            type='VisionTransformer',
            arch=dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=16),
            img_size=32,
            patch_size=8),
        head=dict(type='VisionTransformerClsHead', num_classes=2, in_channels=12)), 3, dict(to_rgb=True)),
    'an adapter': (dict(
        LENET,
        backbone=dict(type='LeNet5', num_classes=-1, in_channels=3),
        adapter=dict(type='LoRA', r=2, alpha=4, target_modules='auto')), 3, {}),
    'masks': (dict(type='ImageSegmentor', backbone=dict(type='UNet', base_channels=2),
                   head=dict(type='PixelHead', threshold=0.4)), 3, dict(to_rgb=True)),
}  # yapf: disable


@pytest.mark.parametrize('kind', NETS)
@pytest.mark.parametrize('with_preprocessing', [False, True])
def test_models(tmp_path: Path, kind: str, with_preprocessing: bool) -> None:
    model, channels, settings = NETS[kind]
    head = dict(type='LinearClsHead', num_classes=2, in_channels=120)
    pipeline = [dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
    loading = [dict(type='LoadImageFromFile', color_type='unchanged' if channels == 4 else 'color')]
    if kind == 'masks':
        pipeline[1]['type'] = 'PackSegInputs'
        loading += [dict(type='LoadAnnotations')]
    dataset = dict(data_root=str(_images(tmp_path, channels)), pipeline=loading + pipeline)
    statistics = dict(mean=[90., 80., 70., 60.][:channels], std=[50., 60., 70., 80.][:channels])
    cfg = _config({'head': head, **model}, dataset, **statistics, **settings)
    work_dir = _save(cfg, tmp_path / 'run')
    net = get_model(work_dir, device='cpu')
    result = export_model(work_dir, to='torch.export', with_preprocessing=with_preprocessing, dynamic_batch=True)
    assert result['difference'] < 1e-5 and result['agreement'] > 0.99 and result['images'] == 6
    meta = _metadata(work_dir / 'model.pt2')
    assert meta['channel_order'] == ('rgb' if 'to_rgb' in settings else 'bgr')
    assert meta['task'] == ('Image Segmentation' if kind == 'masks' else 'Image Classification')
    assert len(list(adapted_layers(net))) == (3 if kind == 'an adapter' else 0)
    # what the file is told to take and give, by torch alone
    image = cv2.imread(str(tmp_path / 'images/0.png'), cv2.IMREAD_UNCHANGED)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    if meta['channel_order'] == 'rgb':
        pixels = torch.cat([pixels[:, :3].flip(1), pixels[:, 3:]], dim=1)
    mean, std = (torch.tensor(meta['preprocessor'][key]).view(-1, 1, 1) for key in ('mean', 'std'))
    normalised = (pixels - mean) / std
    scores = torch.export.load(work_dir / 'model.pt2').module()(pixels if with_preprocessing else normalised)
    logits = net(normalised)
    torch.testing.assert_close(scores, logits.sigmoid() if kind == 'masks' else logits.softmax(dim=1))


def test_the_comparison_keeps_no_graph(lenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    step = module.HeadedModel.test_step
    monkeypatch.setattr(module.HeadedModel, 'test_step',
                        lambda *args: modes.append(torch.is_grad_enabled()) or step(*args))
    export_model(lenet, to='safetensors', out=tmp_path / 'model.safetensors', images=1)
    assert modes == [False, False]


def test_a_whole_network_of_timm(tmp_path: Path) -> None:
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
    model = dict(type='TimmClassifier', model_name='test_resnet', num_classes=2)
    cfg = _config(model, dict(data_root=str(_images(tmp_path)), pipeline=pipeline), mean=[90.] * 3, std=[50.] * 3)
    result = export_model(_save(cfg, tmp_path / 'run'), to='torchscript', dynamic_batch=True)
    assert result['difference'] < 1e-5 and result['agreement'] == 1 and result['images'] == 6
    assert _metadata(tmp_path / 'run/model.pt')['head'] == dict(type='ClsHead')


def test_refuses_a_head_without_scores(lenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(module.HEADS, 'ClsHead')
    with pytest.raises(ConfigError, match='model.head: .*LinearClsHead.*PixelHead'):
        export_model(lenet, to='torchscript', out=tmp_path / 'model.pt')
    assert not list(tmp_path.iterdir())


def test_several_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = {'val_dataloader.dataset.pairs': 40, 'val_dataloader.num_workers': 0, 'model.backbone.init_cfg': None}
    cfg = load_config('ftcls::tutorial/lenet5_finetune_digit_pairs.py', overrides)
    work_dir = _save(cfg, tmp_path / 'run')
    result = export_model(work_dir, to='torchscript')
    assert result['difference'] < 1e-5 and result['agreement'] == 1 and result['images'] == 40
    assert _metadata(work_dir / 'model.pt')['head'] == dict(type='MultiLabelClsHead', thr=0.5, topk=None)


@pytest.mark.parametrize('change', [-1., float('nan')])
@pytest.mark.parametrize('to', ['safetensors', 'torchscript'])
def test_a_broken_file_is_refused(lenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str,
                                  change: float) -> None:
    """The exporter gets a model with one wrong filter, the comparison the right one."""
    scorer = module._Scorer

    def broken(*args: object) -> torch.nn.Module:
        built = scorer(*args)
        with torch.no_grad():
            next(built.model.parameters())[0] *= change
        return built

    monkeypatch.setattr(module, '_Scorer', broken)
    out = tmp_path / f'model{FORMATS[to]}'
    out.write_text('the file before')
    with pytest.raises(UserError, match=rf'{out} is not written: .* differ by .* 0.0001 is allowed; choose|are NaN'):
        export_model(lenet, to=to, out=out)
    assert [file.name for file in tmp_path.iterdir()] == [out.name] and out.read_text() == 'the file before'


@pytest.mark.parametrize(('options', 'message'), [
    (dict(to='safetensors', dynamic_batch=True), 'weights alone; leave out --dynamic-batch'),
    (dict(to='onnx', out='model.pt2'), r'--out model.pt2: .*\.onnx'),
    (dict(to='onxx'), "--to='onxx'; did you mean 'onnx'"),
])
def test_options_that_do_not_fit(lenet: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        export_model(lenet, **options)


def test_missing_packages_are_named(lenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('ftcls.apis.inference.exported.find_spec', lambda name: None if name == 'onnxscript' else name)
    with pytest.raises(ConfigError, match='ONNX needs onnxscript: run `pip install onnx onnxscript onnxruntime`'):
        export_model(lenet, to='onnx', out=tmp_path / 'model.onnx')
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_traced_is_a_plain_message(lenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = module._Scorer.forward
    monkeypatch.setattr(module._Scorer, 'forward', lambda self, x: forward(self, x) if x.sum() > 0 else x)
    with pytest.raises(ConfigError, match='--to torch.export: .*choose other options'):
        export_model(lenet, to='torch.export', out=tmp_path / 'model.pt2')
    assert not list(tmp_path.iterdir())


def test_images_of_several_sizes(tmp_path: Path) -> None:
    dataset = dict(data_root=str(_images(tmp_path)), pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')])
    head = dict(type='LinearClsHead', num_classes=2, in_channels=120)
    cfg = _config(dict(NETS['colours in BGR'][0], head=head), dataset)
    cfg.val_dataloader.collate_fn.type = 'pseudo_collate'
    work_dir = _save(cfg, tmp_path / 'run')
    with pytest.raises(ConfigError, match=r'equal size, but got \[3, 32, 32\] at entry 0 and \[3, 40, 40\]'):
        export_model(work_dir, to='torch.export')
    assert not list(work_dir.glob('*.pt2'))
