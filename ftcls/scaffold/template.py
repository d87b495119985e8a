"""The text of a new config: ``config_template.txt`` and the lines that depend on the folder and the network."""
import json
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from pprint import pformat
from textwrap import indent, wrap
from typing import Any

from .folder_report import UNEVEN, FolderReport
from .hyperparameters import Hyperparameters
from .model_presets import ModelPreset

__all__ = ['VAL_FRACTION', 'call', 'config_text', 'data_lines', 'fill']

VAL_FRACTION = 0.2


def config_text(path: Path, report: FolderReport, preset: ModelPreset, chosen: Hyperparameters, seed: int) -> str:
    """Return the text of a config for the file ``path``."""
    # names that end neither the docstring nor a line of it
    shown = [json.dumps(name, ensure_ascii=False)[1:-1] for name in (path.as_posix(), report.root)]
    values = dict(path=shown[0], root=shown[1], report=report, preset=preset, chosen=chosen, why=chosen.why, seed=seed)
    values |= dict(
        num_classes=len(report.classes), eval_batch=2 * chosen.batch, val_interval=max(1, chosen.epochs // 20))
    values |= _model_lines(preset, chosen) | _pipeline_lines(report, preset, chosen)
    values |= _data_lines(report, seed) | _metric_lines(report)
    return fill('config_template.txt', values)


def call(name: str, arguments: Mapping[str, Any]) -> str:
    """Return the line of a transform in a pipeline."""
    items = ', '.join(f'{key}={value!r}' for key, value in dict(type=name, **arguments).items())
    return f'dict({items}),'


def fill(name: str, values: Mapping[str, Any]) -> str:
    """Fill values into the template of this name, '' for one that is not given.

    The lines of a value are indented like its field, and comments are wrapped.
    """
    values = defaultdict(str, values)
    lines: list[str] = []
    for line in Path(__file__).with_name(name).read_text(encoding='utf-8').splitlines():
        filled = line.strip().format_map(values).rstrip()
        if line and not filled:
            continue
        margin = line[:len(line) - len(line.lstrip())]
        for part in filled.split('\n'):
            if part.startswith('# '):
                lines += wrap(part, 120, initial_indent=margin, subsequent_indent=f'{margin}# ', break_long_words=False)
            else:
                lines.append((margin + part).rstrip())
    return '\n'.join(lines) + '\n'


def _model_lines(preset: ModelPreset, chosen: Hyperparameters) -> dict[str, Any]:
    lines = dict(
        bases=['ftcls::_base_/default_runtime.py'],
        backbone='\n'.join(f'{key}={value!r},' for key, value in preset.backbone.items()),
        mean=[round(255 * value, 3) for value in preset.mean],
        std=[round(255 * value, 3) for value in preset.std])
    if preset.base:
        lines['bases'].insert(0, f'ftcls::_base_/models/{preset.base}.py')
    else:
        lines['architecture'] = "type='ImageClassifier',\nneck=dict(type='GlobalAveragePooling'),"
        lines['head'] = f"type='LinearClsHead',\nin_channels={preset.channels},"
        lines['loss'] = "loss=dict(type='CrossEntropyLoss'),"
    if chosen.mixup:
        lines['loss'] = "# Mixup gives soft labels\nloss=dict(type='CrossEntropyLoss', use_soft=True),"
        augment = f"dict(type='Mixup', alpha={chosen.mixup})"
        lines['batch_augments'] = f"# {chosen.why['mixup']}\nbatch_augments=dict(augments={augment}),"
    if preset.weights:
        lines['weights'] = f"init_cfg=dict(\n    type='Pretrained',\n    checkpoint={preset.weights!r},\n),"
    return lines


def _pipeline_lines(report: FolderReport, preset: ModelPreset, chosen: Hyperparameters) -> dict[str, str]:
    resizing = "backend='pillow'"  # pillow antialiases, as in the training of the weights
    if preset.interpolation != 'bilinear':
        resizing += f', interpolation={preset.interpolation!r}'
    lines = dict(
        loading=call('LoadImageFromFile', report.loading),
        train_steps=f"dict(type='Resize', scale={chosen.resize}, {resizing}),",
        test_steps=f"dict(type='Resize', scale={chosen.crop}, {resizing}),")
    if chosen.random_size:
        lines['train_steps'] = f"dict(type='RandomResizedCrop', scale={chosen.crop}, {resizing}),"
        lines['test_steps'] = (f"dict(type='ResizeEdge', scale={chosen.resize}, edge='short', {resizing}),\n"
                               f"dict(type='CenterCrop', crop_size={chosen.crop}),")
    elif chosen.crop < chosen.resize:
        lines['train_steps'] += f"\ndict(type='RandomCrop', crop_size={chosen.crop}),"
    if chosen.flip:
        lines['flip_step'] = "dict(type='RandomFlip', prob=0.5, direction='horizontal'),"
    return lines


def _data_lines(report: FolderReport, seed: int) -> dict[str, Any]:
    common, lines, data = '', {}, {}
    if report.empty or any(report.extra_classes(name) for name in report.splits):
        lines['classes'] = f'# those with training images\nclasses = {_listing(report.classes)}'
        common = 'classes=classes,\n'
    for name, split in report.splits.items():
        data[name] = f'data_prefix={split.prefix!r},\n{common}'
        if split.broken:
            data[name] += f'# cannot be read\nexclude={_listing(sorted(split.broken))},\n'
    if any(report.missing_classes(name) for name in report.splits):
        lines['allow_missing_classes'] = '# a class has no images in val or test, see above\n' \
            'allow_missing_classes = True'
    # a file name may hold a line break
    lines['facts'] = '\n'.join('# ' + ' '.join(line.split()) for line in report.describe()[1:])
    return lines | data_lines(data, "type='CustomDataset',\ndata_root=data_root,\n", seed)


def data_lines(data: Mapping[str, str], head: str, seed: int) -> dict[str, Any]:
    """Return the lines that depend on the splits; without 'val', a part of 'train' is drawn.

    Args:
        data: Split to the lines of its dataset.
        head: The lines before these.
        seed: Of the draw.
    """
    lines = dict(num_workers=min(4, os.cpu_count() or 1))
    for name in ('train', 'val'):
        lines[f'{name}_data'] = data.get(name, data['train'])
        if 'val' not in data:
            lines[f'{name}_data'] += '# the folder has no val: a part is drawn by name and seed, always the same\n' \
                f'split={name!r},\nval_fraction={VAL_FRACTION},\nsplit_seed={seed},'
    lines['test_dataloader'] = '# no test images: the validation images choose the checkpoint, so that their score ' \
        'is too high\ntest_dataloader = val_dataloader'
    if 'test' in data:
        dataset = indent(f"{head}{data['test']}pipeline=test_pipeline,", ' ' * 8)
        lines['test_dataloader'] = 'test_dataloader = dict(\n    val_dataloader,\n    dataset=dict(\n' \
            f'{dataset}\n    ),\n)'
    return lines


def _metric_lines(report: FolderReport) -> dict[str, str]:
    accuracy = "dict(type='Accuracy', topk=(1, ))"
    if report.imbalance < UNEVEN:
        return dict(metrics=accuracy)
    per_class = "dict(type='SingleLabelMetric', items=('precision', 'recall', 'f1-score'))"
    save_best = '# uneven classes: accuracy can be high while small classes are wrong, the mean F1 cannot; to\n' \
        '# weight the classes in training, see "Uneven classes" in docs/small_data.md\n' \
        "default_hooks = dict(checkpoint=dict(save_best='single-label/f1-score'))"
    return dict(metrics=f'[\n    {accuracy},\n    {per_class}\n]', save_best=save_best)


def _listing(names: list[str]) -> str:
    return pformat(names, width=100, compact=True)
