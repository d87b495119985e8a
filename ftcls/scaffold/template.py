"""The text of a new config: ``config_template.txt`` and the lines that depend on the folder and the network."""
import os
from pathlib import Path
from pprint import pformat
from textwrap import indent, wrap
from typing import Any

from .folder_report import UNEVEN, FolderReport
from .hyperparameters import Hyperparameters
from .model_presets import ModelPreset

__all__ = ['VAL_FRACTION', 'config_text']

VAL_FRACTION = 0.2


def config_text(path: Path, report: FolderReport, preset: ModelPreset, chosen: Hyperparameters, seed: int) -> str:
    """Return the text of a config.

    Args:
        path: The file that it is for.
        report: What the folder holds.
        preset: The network.
        chosen: The hyperparameters.
        seed: Seed of the run, and of the drawn split if there is one.
    """
    values = dict(path=path.as_posix(), report=report, preset=preset, chosen=chosen, why=chosen.why, seed=seed)
    values.update(
        _model_lines(preset, chosen), **_pipeline_lines(preset, chosen), **_data_lines(report, seed),
        **_metric_lines(report))
    values.update(
        num_classes=len(report.classes), eval_batch=2 * chosen.batch, val_interval=max(1, chosen.epochs // 20))
    return _fill(Path(__file__).with_name('config_template.txt').read_text(encoding='utf-8'), values)


def _fill(template: str, values: dict[str, Any]) -> str:
    """Fill in values: each of their lines gets the indent of the field; empty lines are dropped, comments wrapped."""
    lines: list[str] = []
    for line in template.splitlines():
        filled = line.strip().format(**values).rstrip()
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
    bases = ['ftcls::_base_/default_runtime.py']
    architecture = head = weights = loss = augments = ''
    if preset.base:
        bases.insert(0, f'ftcls::_base_/models/{preset.base}.py')
    else:
        architecture = "type='ImageClassifier',\nneck=dict(type='GlobalAveragePooling'),"
        head = f"type='LinearClsHead',\nin_channels={preset.channels},"
        loss = "loss=dict(type='CrossEntropyLoss'),"
    if chosen.mixup:
        loss = "# Mixup gives soft labels\nloss=dict(type='CrossEntropyLoss', use_soft=True),"
        augments = f"# {chosen.why['mixup']}\nbatch_augments=dict(augments=dict(type='Mixup', alpha={chosen.mixup})),"
    if preset.weights:
        weights = f"init_cfg=dict(\n    type='Pretrained',\n    checkpoint={preset.weights!r},\n),"
    return dict(
        bases=bases,
        architecture=architecture,
        backbone='\n'.join(f'{key}={value!r},' for key, value in preset.backbone.items()),
        weights=weights,
        head=head,
        loss=loss,
        mean=[round(255 * value, 3) for value in preset.mean],
        std=[round(255 * value, 3) for value in preset.std],
        batch_augments=augments)


def _pipeline_lines(preset: ModelPreset, chosen: Hyperparameters) -> dict[str, str]:
    resizing = "backend='pillow'"  # pillow antialiases, as in the training of the weights
    if preset.interpolation != 'bilinear':
        resizing += f', interpolation={preset.interpolation!r}'
    flip = ''
    if chosen.flip:
        flip = "dict(type='RandomFlip', prob=0.5, direction='horizontal'),"
    train = f"dict(type='Resize', scale={chosen.resize}, {resizing}),"
    test = f"dict(type='Resize', scale={chosen.crop}, {resizing}),"
    if chosen.random_size:
        train = f"dict(type='RandomResizedCrop', scale={chosen.crop}, {resizing}),"
        test = (f"dict(type='ResizeEdge', scale={chosen.resize}, edge='short', {resizing}),\n"
                f"dict(type='CenterCrop', crop_size={chosen.crop}),")
    elif chosen.crop < chosen.resize:
        train += f"\ndict(type='RandomCrop', crop_size={chosen.crop}),"
    return dict(train_steps=train, test_steps=test, flip_step=flip)


def _data_lines(report: FolderReport, seed: int) -> dict[str, Any]:
    splits = report.splits
    classes = missing = common = ''
    if report.empty or any(report.extra_classes(name) for name in splits):
        classes = f'# those with training images\nclasses = {_listing(report.classes)}'
        common = 'classes=classes,\n'
    data = {}
    for name, split in splits.items():
        data[name] = f'data_prefix={split.prefix!r},\n{common}'
        if split.broken:
            data[name] += f'# cannot be read\nexclude={_listing(sorted(split.broken))},\n'
    if 'val' not in splits:
        data['val'] = data['train']
        for name in ('train', 'val'):
            data[name] += '# the folder has no val: a part of each class is drawn by name and seed, always the same\n' \
                f'split={name!r},\nval_fraction={VAL_FRACTION},\nsplit_seed={seed},'
    test = '# no test images: the validation images choose the checkpoint, so that their score is too high\n' \
        'test_dataloader = val_dataloader'
    if 'test' in splits:
        dataset = indent(f"type='CustomDataset',\ndata_root=data_root,\n{data['test']}pipeline=test_pipeline,", ' ' * 8)
        test = f'test_dataloader = dict(\n    val_dataloader,\n    dataset=dict(\n{dataset}\n    ),\n)'
    if any(report.missing_classes(name) for name in splits):
        missing = '# a class has no images in val or test, see above\nallow_missing_classes = True'
    # a file name may hold a line break
    facts = '\n'.join('# ' + ' '.join(line.split()) for line in report.describe()[1:])
    workers = min(4, os.cpu_count() or 1)
    loaders = dict(train_data=data['train'], val_data=data['val'], test_dataloader=test, num_workers=workers)
    return dict(loaders, facts=facts, classes=classes, allow_missing_classes=missing)


def _metric_lines(report: FolderReport) -> dict[str, str]:
    metrics, save_best = "dict(type='Accuracy', topk=(1, ))", ''
    if report.imbalance >= UNEVEN:
        metrics = f"[\n    {metrics},\n    dict(type='SingleLabelMetric', items=('precision', 'recall', 'f1-score'))\n]"
        save_best = '# uneven classes: accuracy can be high while small classes are wrong, the mean F1 cannot; to\n' \
            '# weight the classes in training, see "Uneven classes" in docs/small_data.md\n' \
            "default_hooks = dict(checkpoint=dict(save_best='single-label/f1-score'))"
    return dict(metrics=metrics, save_best=save_best)


def _listing(names: list[str]) -> str:
    return pformat(names, width=100, compact=True)
