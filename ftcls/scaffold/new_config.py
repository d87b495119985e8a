"""From a folder of pictures to a config that one can read: what tools/new_config.py does."""
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from mmengine.device import get_device

from ftcls.apis.inference.model_zoo import base_configs
from ftcls.config.loading import load_config
from ftcls.config.validation import validate_config
from ftcls.datasets.base_dataset import missing_hint
from ftcls.utils import ConfigError, MissingFileError
from .folder_report import FolderReport, listed, report_folder
from .hyperparameters import Hyperparameters, choose_hyperparameters
from .model_presets import ModelPreset, make_preset

__all__ = ['NewConfig', 'new_config']

_WIDTH = 120
_VAL_FRACTION = 0.2


@dataclass(frozen=True)
class NewConfig:
    """A config that was written: its path, what was found in the folder, and the recipe with its reasons."""
    path: Path
    survey: FolderReport
    network: ModelPreset
    recipe: Hyperparameters

    def describe(self) -> list[str]:
        """Return what was found and what was chosen, one sentence a line."""
        lines = self.survey.describe()
        if 'val' not in self.survey.splits:
            lines.append(f'no val: a fifth of each class of {self._train_folder} validates, drawn by split_seed')
        weights = self.network.weights or 'timm\'s own'
        lines.append(f'{self.network.label}, weights: {weights}')
        values = {name: getattr(self.recipe, name, '') for name in self.recipe.why}
        lines += [f'{name} {value}'.rstrip() + f': {self.recipe.why[name]}' for name, value in values.items()]
        if weights.startswith(('http', 'torchvision', 'timm')):
            lines.append(
                'the first run downloads the weights; offline, fetch them elsewhere and give the file by --weights')
        return [*lines, f'wrote {self.path}']

    @property
    def _train_folder(self) -> str:
        return str(Path(self.survey.root, self.survey.splits['train'].prefix))


class _Why:
    """A value with the reason that stands above it in the config."""

    def __init__(self, value: Any, reason: str) -> None:
        self.value, self.reason = value, reason


class _Name(str):
    """A name of a variable, which stands without quotes."""


def new_config(data: str | os.PathLike,
               out: str | os.PathLike | None = None,
               backbone: str | None = None,
               *,
               weights: str | None = None,
               seed: int = 0,
               device: str | None = None,
               check: int = 20_000) -> NewConfig:
    """Look at a folder of pictures, and write a config to fine-tune a network to them.

    Args:
        data: The folder, with class folders in it, or with ``train`` and perhaps ``val`` and ``test``.
        out: The config to write; None for the folder's name with ``.py``. A file that is there is not overwritten.
        backbone: As of :func:`.networks.make_preset`; None for ``resnet50`` on a GPU, ``resnet18`` on a CPU, and
            ``cifar_resnet20`` for pictures of at most 48 pixels a side.
        weights: A checkpoint in place of the network's published one.
        seed: Seed of the run, and of the split where one is drawn.
        device: 'cpu' or 'cuda', where it is to be trained; None for what is here.
        check: How many pictures of a split are read to find broken ones.

    Raises:
        UserError: If the folder or an argument is not as it must be.
    """
    path = Path(out if out is not None else f'{Path(data).expanduser().resolve().name}.py')
    if path.suffix != '.py':
        raise ConfigError(f'--out {path}: must end in .py')
    if path.exists():
        raise ConfigError(f'--out {path}: is there already, and perhaps edited; give another name, or remove it')
    device = device or get_device()
    survey = report_folder(data, check)
    if backbone is None:
        backbone = 'cifar_resnet20' if survey.side <= 48 else 'resnet18' if device == 'cpu' else 'resnet50'
    if weights is not None and '://' not in weights and not Path(weights).expanduser().is_file():
        raise MissingFileError(f'--weights {weights}: no such file{missing_hint(weights)}')
    network = make_preset(backbone, weights)
    drawn = 'val' not in survey.splits
    pictures = round(sum(survey.splits['train'].counts.values()) * (1 - _VAL_FRACTION if drawn else 1))
    recipe = choose_hyperparameters(network, survey.classes, pictures, survey.side, device != 'cpu')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(path, survey, network, recipe, seed, device), encoding='utf-8')
    validate_config(load_config(path))
    return NewConfig(path, survey, network, recipe)


def _text(path: Path, survey: FolderReport, network: ModelPreset, recipe: Hyperparameters, seed: int,
          device: str) -> str:
    """Return the whole file."""
    bases = [*([network.base] if network.base else []), base_configs('')['default_runtime']]
    settings = {
        '_base_': [Path(os.path.relpath(base, path.parent.resolve())).as_posix() for base in bases],
        'data_root': survey.root,
        **({'classes': _Why(survey.classes, 'those that training has pictures of')} if _needs_classes(survey) else {}),
        'model': _model(survey, network, recipe),
        'data_preprocessor': _preprocessor(survey, network, recipe),
        **_pipelines(network, recipe),
        **_loaders(survey, recipe, seed, device),
        **_evaluation(survey),
        **_schedule(recipe),
        'randomness': _Why(dict(seed=seed), 'the same numbers in each run; None draws a seed'),
    }  # yapf: disable
    command = f'python tools/{{}} {path.as_posix()}'
    head = [
        f'"""Fine-tune {network.label} to the {len(survey.classes)} classes of {survey.root}. Written by tools/new_config.py; '
        'edit what you like.', '',
        command.format('train.py') + ' --dry-run',
        command.format('lr_finder.py'),
        command.format('train.py'), '"""'
    ]
    facts = [line for line in survey.describe() if not line.startswith(f'{len(survey.classes)} classes')]
    parts = ['\n'.join(head)] + [_assignment(key, value) for key, value in settings.items()]
    parts[1] += '\n\n' + '\n'.join(_comment(line, '') for line in facts)
    return '\n'.join(parts) + '\n'


def _needs_classes(survey: FolderReport) -> bool:
    """Tell whether a list of classes must be given: where a folder of training is empty, or another split has more."""
    others = [name for name in survey.splits if name != 'train' and survey.unknown(name)]
    return bool(others or survey.empty)


def _model(survey: FolderReport, network: ModelPreset, recipe: Hyperparameters) -> dict[str, Any]:
    backbone: dict[str, Any] = dict(network.backbone)
    backbone['frozen_stages'] = _Why(recipe.frozen_stages, recipe.why['frozen_stages'])
    if network.weights:
        backbone['init_cfg'] = dict(type='Pretrained', checkpoint=network.weights)
    loss = dict(
        type='CrossEntropyLoss', **(dict(use_soft=_Why(True, 'Mixup gives soft labels')) if recipe.mixup else {}))
    head: dict[str, Any] = dict(num_classes=len(survey.classes), topk=(1, ))
    if network.base is None:
        head = dict(type='LinearClsHead', in_channels=network.channels, **head)
        outer: dict[str, Any] = dict(type='ImageClassifier', neck=dict(type='GlobalAveragePooling'))
    else:
        outer = {}
    if network.base is None or recipe.mixup:
        head['loss'] = loss
    return dict(**outer, backbone=backbone, head=head)


def _preprocessor(survey: FolderReport, network: ModelPreset, recipe: Hyperparameters) -> dict[str, Any]:
    settings = dict(
        type='ClsDataPreprocessor',
        num_classes=len(survey.classes),
        mean=_Why([round(255 * m, 3) for m in network.mean], 'what the weights were trained with'),
        std=[round(255 * s, 3) for s in network.std],
        to_rgb=True)
    if recipe.mixup:
        settings['batch_augments'] = _Why(dict(augments=dict(type='Mixup', alpha=recipe.mixup)), recipe.why['mixup'])
    return settings


def _pipelines(network: ModelPreset, recipe: Hyperparameters) -> dict[str, Any]:
    # pillow antialiases, as it did when the weights were trained
    kind = dict(
        backend='pillow', **({} if network.interpolation == 'bilinear' else {
            'interpolation': network.interpolation
        }))
    load, pack = dict(type='LoadImageFromFile'), dict(type='PackInputs')
    if recipe.random_size:
        train = [load, _Why(dict(type='RandomResizedCrop', scale=recipe.crop, **kind), recipe.why['crop'])]
        test = [
            dict(type='ResizeEdge', scale=recipe.resize, edge='short', **kind),
            dict(type='CenterCrop', crop_size=recipe.crop)
        ]
    else:
        train = [load, _Why(dict(type='Resize', scale=recipe.resize, **kind), recipe.why['crop'])]
        if recipe.crop < recipe.resize:
            train.append(dict(type='RandomCrop', crop_size=recipe.crop))
        test = [dict(type='Resize', scale=recipe.crop, **kind)]
    if recipe.flip:
        train.append(_Why(dict(type='RandomFlip', prob=0.5, direction='horizontal'), recipe.why['flip']))
    train.append(pack if recipe.flip else _Why(pack, recipe.why['flip']))
    return dict(train_pipeline=train, test_pipeline=[load, *test, pack])


def _loaders(survey: FolderReport, recipe: Hyperparameters, seed: int, device: str) -> dict[str, Any]:
    workers = min(4, os.cpu_count() or 1)
    common = dict(num_workers=workers, persistent_workers=True, collate_fn=dict(type='default_collate'))
    drawn = 'val' not in survey.splits
    loaders: dict[str, Any] = {}
    for split in ('train', 'val', 'test'):
        found = survey.splits.get('train' if split == 'val' and drawn else split)
        if found is None:
            loaders['test_dataloader'] = _Why(
                _Name('val_dataloader'), 'no test pictures: the validation\'s, chosen by, flatter')
            continue
        dataset: dict[str, Any] = dict(type='CustomDataset', data_root=_Name('data_root'), data_prefix=found.prefix)
        if _needs_classes(survey):
            dataset['classes'] = _Name('classes')
        if found.broken:
            dataset['exclude'] = _Why(sorted(found.broken), 'cannot be read')
        if drawn and split != 'test':
            dataset.update(split=_Why(split, 'the folder has no val: a share of each class, by name and seed, the same in '
                                      'every run'), val_fraction=_VAL_FRACTION, split_seed=seed)  # yapf: disable
        dataset['pipeline'] = _Name('train_pipeline' if split == 'train' else 'test_pipeline')
        batch = _Why(recipe.batch, recipe.why['batch']) if split == 'train' else 2 * recipe.batch
        loaders[f'{split}_dataloader'] = dict(
            batch_size=batch, **common, sampler=dict(type='DefaultSampler', shuffle=split == 'train'), dataset=dataset)
    lacking = {s: survey.lacking(s) for s in survey.splits if s != 'train' and survey.lacking(s)}
    if lacking:
        loaders['allow_missing_classes'] = _Why(True, '; '.join(f'{s} has no {listed(n)}' for s, n in lacking.items()))
    return loaders


def _evaluation(survey: FolderReport) -> dict[str, Any]:
    metrics: Any = dict(type='Accuracy', topk=(1, ))
    settings: dict[str, Any] = {}
    if survey.imbalance >= 3:
        metrics = [metrics, dict(type='SingleLabelMetric', items=('precision', 'recall', 'f1-score'))]
        settings['default_hooks'] = _Why(
            dict(checkpoint=dict(save_best='single-label/f1-score')),
            'uneven classes: a high accuracy may well forget the small ones, their mean F1 does not; to weigh them in '
            'training, see "Uneven classes" in docs/small_data.md')
    return dict(val_evaluator=metrics, test_evaluator=_Name('val_evaluator'), **settings)


def _schedule(recipe: Hyperparameters) -> dict[str, Any]:
    warmup = dict(type='LinearLR', start_factor=0.01, by_epoch=True, end=recipe.warmup, convert_to_iter_based=True)
    decay = dict(type='MultiStepLR', by_epoch=True, milestones=recipe.milestones, gamma=0.1)
    return dict(
        optim_wrapper=dict(
            optimizer=dict(
                type='SGD',
                lr=_Why(recipe.lr, recipe.why['lr']),
                momentum=0.9,
                weight_decay=_Why(recipe.weight_decay, recipe.why['weight_decay']))),
        param_scheduler=_Why([warmup, decay], recipe.why['schedule']),
        train_cfg=_Why(
            dict(by_epoch=True, max_epochs=recipe.epochs, val_interval=max(1, recipe.epochs // 20)),
            recipe.why['epochs']),
        val_cfg={},
        test_cfg={},
        auto_scale_lr=_Why(dict(base_batch_size=recipe.batch), 'kept on any number of GPUs'))


def _comment(text: str, indent: str) -> str:
    return '\n'.join(
        wrap(text, _WIDTH, initial_indent=f'{indent}# ', subsequent_indent=f'{indent}# ', break_long_words=False))


def _assignment(name: str, value: Any) -> str:
    reason, value = (value.reason, value.value) if isinstance(value, _Why) else ('', value)
    return (f'{_comment(reason, "")}\n' if reason else '') + f'{name} = {_render(value, "", len(name) + 3)}'


def _render(value: Any, indent: str, used: int) -> str:
    """Return Python code for a value, on one line where it fits and has no reasons in it.

    Args:
        value: Plain values, :class:`_Why` and :class:`_Name` among them.
        indent: Spaces before the line that it begins in.
        used: Characters that stand before it in that line, the indent apart.
    """
    if isinstance(value, _Name):
        return str(value)
    items: list[tuple[str, Any]]
    if isinstance(value, Mapping):
        items, before, after = [(f'{key}=', child) for key, child in value.items()], 'dict(', ')'
    elif isinstance(value, list):
        items, before, after = [('', child) for child in value], '[', ']'
    else:
        return repr(value)
    if not any(isinstance(child, _Why) for _, child in items):
        line = before + ', '.join(key + _render(child, '', 0) for key, child in items) + after
        if '\n' not in line and len(indent) + used + len(line) < _WIDTH:
            return line
    inner, lines = indent + '    ', []
    for key, child in items:
        if isinstance(child, _Why):
            lines += [_comment(child.reason, inner)] if child.reason else []
            child = child.value
        lines.append(f'{inner}{key}{_render(child, inner, len(key) + 1)},')
    return '\n'.join([before, *lines, indent + after])
