"""What is tried before the first step: a batch of each split, its pass through the model, its metrics."""
import copy
import site
import sysconfig
import textwrap
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ftcls.config.resolve import type_name
from ftcls.datasets import BaseDataset
from ftcls.datasets.headers import scan_headers
from ftcls.datasets.transforms.base import as_pair
from ftcls.datasets.worker_seed import random_state, set_random_state
from ftcls.engine.mmengine_compat import unlocked_on_error
from ftcls.evaluation import DiceMetric, IoUMetric, resolve_rule
from ftcls.models.headed_model import HeadedModel
from ftcls.registry import METRICS
from ftcls.utils import ConfigError, UserError, did_you_mean
from ftcls.utils.checkpoint.matching import unwrap_model
from ftcls.utils.errors import located, unwrapped
from ftcls.utils.log import warn
from ftcls.utils.tree import as_list, walk
from .learning import check_learning
from .soft_labels import check_soft_labels

__all__ = ['StartHook', 'check_pass', 'config_errors', 'describe_sizes', 'first_samples']

_PACKAGE = str(Path(__file__).resolve().parents[2])
_PLACES = [str(Path(package.__file__).parents[1]) for package in (mmengine, torch)]  # perhaps a user's
_INSTALLED = ('<', _PACKAGE, sysconfig.get_path('stdlib'), *site.getsitepackages(), *_PLACES)
_MOST_HEADERS = 500  # files per split whose sizes are compared
_ALIKE = 1.1  # aspects that differ by less are taken for the same


class StartHook(Hook):
    """Notes at which iteration training begins, when all preparations are done: ``first_iteration``, None before.

    Raises:
        ConfigError: At the first step, if nothing would learn.
    """
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.first_iteration: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Note it."""
        self.first_iteration = runner.iter

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Check the model and the optimizer once, as all hooks have left them."""
        if runner.iter == self.first_iteration:
            check_learning(runner)


@contextmanager
def config_errors(where: str, start: StartHook | None = None, keep_own: bool = True, hint: str = '') -> Iterator[None]:
    """Turn what MMEngine, torch, timm or the user's own code raise into a ConfigError.

    After any error, MMEngine's lock is released, so that a server's other threads do not wait for it.

    Args:
        where: The config keys that the code inside works on.
        start: Errors after the beginning that this hook notes stay what they are.
        keep_own: An error on a line of ftcls, called by no code of the user's, is a defect and stays what it is.
        hint: What to change.

    Raises:
        ConfigError: In place of any other exception, with the line of the user's code that raised it.
    """
    try:
        with unlocked_on_error():
            yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as err:
        is_ours = traceback.extract_tb(err.__traceback__)[-1].filename.startswith(_PACKAGE) and not _own_line(err)
        has_begun = start is not None and start.first_iteration is not None
        if has_begun or (keep_own and is_ours):
            raise
        with located(where):
            raise ConfigError(f'{_describe(err)}{hint} (FTCLS_TRACEBACK=1 shows where)') from err


def _describe(err: BaseException) -> str:
    """Return what an error says, with its type where the text alone would not be clear."""
    if isinstance(err, UserError):
        return str(unwrapped(err))
    text = textwrap.shorten(str(err), 400).rstrip('.') or 'no text'
    if not isinstance(err, ValueError):
        text = f'{type(err).__name__}: {text}'
    return text + _own_line(err)


def _own_line(err: BaseException) -> str:
    """Return the innermost line of the user's own code that an error went through; '' if there is none."""
    frames = reversed(traceback.extract_tb(err.__traceback__))
    return next((f', in {one.filename}:{one.lineno}' for one in frames if not one.filename.startswith(_INSTALLED)), '')


def first_samples(datasets: Mapping[str, Dataset]) -> dict[str, list]:
    """Read the first sample of each split, one amid it, and those with the smallest and largest sides of their files.

    This finds a pipeline that cannot work, and one that leaves images in different sizes.

    Args:
        datasets: Split name to dataset.

    Returns:
        Split name to samples.

    Raises:
        UserError: Naming the split, if a sample cannot be read.
        ConfigError: If the pipeline of one of our datasets does not end with ``PackInputs``.
    """
    samples: dict[str, list] = {split: [] for split in datasets}
    for split, dataset in datasets.items():
        for index in _extremes(dataset):
            where = f'{split}_dataloader.dataset: sample {index} cannot be read'
            with located(where), config_errors(where, keep_own=False):
                sample = dataset[index]
            if isinstance(dataset, BaseDataset) and not (isinstance(sample, Mapping) and 'inputs' in sample):
                raise ConfigError(f"{split}_dataloader.dataset.pipeline: must end with dict(type='PackInputs')")
            samples[split].append(sample)
    return samples


def _extremes(dataset: Dataset) -> list[int]:
    """Return the indices of the first sample, of others, and of the smallest and largest sides of 500 files."""
    indices = range(0, len(dataset), -(-len(dataset) // _MOST_HEADERS))
    paths = [dataset.get_data_info(index).get('img_path') for index in indices if hasattr(dataset, 'get_data_info')]
    headers = scan_headers(paths) if all(paths) else []
    index_of = {header.shown: index for header, index in zip(headers, indices) if header.width}
    found = [0, len(dataset) // 2]
    if not index_of:
        found += indices[::-(-len(indices) // 8)]
    for side in (0, 1):
        sizes = sorted(index_of, key=itemgetter(side))
        found += [index_of[size] for size in sizes[:1] + sizes[-1:]]
    return list(dict.fromkeys(found))


def _shape(sample: Any) -> tuple[int, ...]:
    """Return the shape of a sample's image (C, H, W); () of one of another kind."""
    inputs = sample.get('inputs') if isinstance(sample, Mapping) else as_list(sample)[0]
    return tuple(getattr(inputs, 'shape', ()))


def describe_sizes(cfg: Mapping[str, Any], samples: Mapping[str, Sequence]) -> list[str]:
    """Return the sizes of the images that each split gives; the log warns if train and val have other aspects.

    Args:
        cfg: The config, whose keys a warning names.
        samples: As from :func:`first_samples`.
    """
    sizes = {split: sorted({_shape(one)[-2:] for one in several}) for split, several in samples.items()}
    ends = {split: dict.fromkeys((found[0], found[-1])) for split, found in sizes.items() if found[0]}
    shown = {split: ' to '.join(f'{height}×{width}' for height, width in pair) for split, pair in ends.items()}
    if not shown:
        return []
    lines = ['sizes (height×width): ' + ', '.join(f'{split} {size}' for split, size in shown.items())]
    keys = {split: _size_setting(cfg, split) for split in ('train', 'val') if len(sizes.get(split, ())) == 1}
    aspects = [sizes[split][0][0] / sizes[split][0][1] for split, key in keys.items() if key]
    if len(aspects) == 2 and max(aspects) > _ALIKE * min(aspects):
        lines.append(f'WARNING train gives {shown["train"]} by {keys["train"]}, val {shown["val"]} by {keys["val"]}; '
                     'RandomResizedCrop and RandomCrop take (h, w), Resize and CenterCrop (w, h)')
        warn(lines[-1].removeprefix('WARNING '))
    return lines


def _size_setting(cfg: Mapping[str, Any], split: str) -> str:
    """Return the last key of a split's pipeline that sets both sides of the images, with its value; '' if none does."""
    found = ''
    for path, node in walk(cfg.get(f'{split}_dataloader'), f'{split}_dataloader'):
        if not isinstance(node, Mapping) or type_name(node) == 'ResizeEdge' or node.get('keep_ratio'):
            continue
        for key in ('scale', 'crop_size', 'size'):
            if '.pipeline.' in path and all(isinstance(side, int) for side in as_list(node.get(key))):
                found = f'{path}.{key}={node[key]}'
    return found


def check_pass(runner: Runner, loaders: Mapping[str, DataLoader], samples: Mapping[str, Any]) -> None:
    """Send the first sample of each split through the model, in eval mode, without gradients, then through the metrics.

    A training has no test loop; if its test set has the class of its validation set, the test's metrics judge the
    validation's sample.

    Args:
        runner: The Runner, whose model is left as it was.
        loaders: Split name to dataloader, for their ``collate_fn``.
        samples: As from :func:`first_samples`.

    Raises:
        UserError: If the model cannot take such an image.
        ConfigError: If the loss cannot take labels that batch augmentation mixes, a metric cannot judge what the model
            predicts, or a hook or a scheduler waits for a result of the validation that no metric gives.
    """
    model = unwrap_model(runner.model)
    batches = {split: _trial_batch(loaders[split], several, split) for split, several in samples.items()}
    if not isinstance(model, HeadedModel) or getattr(model, 'head', None) is None:
        return
    training = model.training
    model.eval()
    try:
        for split, batch in batches.items():
            if split == 'train':
                _try_transforms(model.data_preprocessor, batch)
                check_soft_labels(model, batch)
            shapes = list(dict.fromkeys(map(_shape, samples[split])))[:loaders[split].batch_size or 1]
            outputs = _pass(model, batch, shapes, split, runner.cfg)
            if split == 'val':
                tried = _try_metrics(runner.val_loop.evaluator.metrics, batch, outputs, 'val_evaluator')
                _check_monitored(runner, tried)
                _try_metrics(_test_metrics(runner.cfg), batch, outputs, 'test_evaluator')
            elif split == 'test':
                _try_metrics(runner.test_evaluator.metrics, batch, outputs, 'test_evaluator')
    finally:
        model.train(training)


def _trial_batch(loader: DataLoader, samples: Sequence, split: str) -> Any:
    """Return a batch of the samples whose shapes differ; all of them must make one."""
    of_shape = {_shape(sample): sample for sample in samples}
    most = loader.batch_size or 1  # with a batch_sampler, which may make batches of one size
    where = f'{split}_dataloader.collate_fn: the samples make no batch'
    with located(where), config_errors(where, keep_own=False, hint=_different_sizes(of_shape, split)):
        loader.collate_fn(samples[:most])
        return loader.collate_fn(list(of_shape.values())[:most])


def _different_sizes(shapes: Collection[Sequence[int]], split: str) -> str:
    if len(shapes) < 2:
        return ''
    listed = ' and '.join(sorted({'x'.join(map(str, shape)) for shape in shapes})[:2])
    return (f'; the pipeline leaves images of different sizes ({listed}): end it with Resize(scale=(w, h)) or a crop, '
            f'or set {split}_dataloader.batch_size=1')


def _pass(model: HeadedModel, batch: Any, shapes: Sequence[Sequence[int]], split: str, cfg: Mapping[str, Any]) -> list:
    """Return the model's predictions for a batch."""
    hint = _different_sizes(shapes, split) or _fitting_size(model, shapes[0], split, cfg)
    if not isinstance(batch, Mapping):
        hint = '; a sample must be dict(inputs=image tensor (C, H, W), data_samples=DataSample)'
    size = 'x'.join(map(str, shapes[0]))
    where = f'{split}_dataloader: its first image ({size} after the pipeline) does not go through the model'
    with torch.no_grad(), located(where), config_errors(where, keep_own=False, hint=hint):
        return model.test_step(batch)


def _try_transforms(preprocessor: nn.Module, batch: Mapping[str, Any]) -> None:
    """Transform a batch as in training; the random numbers are left as they were."""
    if getattr(getattr(preprocessor, 'batch_transforms', None), 'steps', ()):
        state, where = random_state(), 'data_preprocessor.batch_transforms'
        with located(where), config_errors(where, keep_own=False):
            preprocessor(copy.deepcopy(batch), training=True)
        set_random_state(state)


def _fitting_size(model: nn.Module, shape: Sequence[int], split: str, cfg: Mapping[str, Any]) -> str:
    """Return how to give a network the only size that it takes, if it says so and the image has another."""
    for module in model.modules():
        size = getattr(module, 'img_size', None) or getattr(module, 'image_size', None)
        if size is not None and tuple(shape[-2:]) != (size := as_pair(size)):
            setting = _size_setting(cfg, split) or f'the last Resize of {split}_dataloader.dataset.pipeline'
            return (f'; the backbone takes {size[0]}x{size[1]} only: replace {setting} by scale={size[::-1]} of '
                    'Resize, or give the backbone img_size')
    return '; do the pipeline, data_preprocessor.mean and model.backbone (in_channels) fit each other?'


def _test_metrics(cfg: Mapping[str, Any]) -> list[BaseMetric]:
    """Build the metrics of the test set, if that has the validation set's class, so that samples are of one kind."""
    val, test = (((cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}).get('type') for split in ('val', 'test'))
    evaluator = cfg.get('test_evaluator') or []
    if val is None or val != test:
        return []
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    with config_errors('test_evaluator'):
        return [METRICS.build(one) if isinstance(one, Mapping) else one for one in as_list(evaluator)]


def _try_metrics(metrics: Sequence[BaseMetric], batch: Any, outputs: list, where: str) -> list[BaseMetric]:
    """Let copies of metrics judge a batch, as their evaluator will let them; return the copies.

    Raises:
        ConfigError: If one cannot.
    """
    samples = [one.to_dict() if isinstance(one, BaseDataElement) else one for one in outputs]
    tried = copy.deepcopy(list(metrics))
    for metric in tried:
        try:
            metric.process(batch, samples)
        except Exception as err:
            why = 'masks are judged by DiceMetric and IoUMetric, classes by Accuracy and SingleLabelMetric'
            if ('pred_mask' in samples[0]) == isinstance(metric, DiceMetric | IoUMetric):
                why = f'{_describe(err)} (FTCLS_TRACEBACK=1 shows where)'
            raise ConfigError(f'{where}: {type(metric).__name__} cannot judge what the model predicts: {why}') from err
    return tried


def _check_monitored(runner: Runner, tried: Sequence[BaseMetric]) -> None:
    """Check that the validation measures what hooks and schedulers wait for.

    Raises:
        ConfigError: If it does not; MMEngine would find out after an epoch.
    """
    savers = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.save_best]
    wanted = [('CheckpointHook.save_best', key) for hook in savers for key in as_list(hook.save_best)]
    for one in (hook for hook in runner.hooks if hasattr(hook, 'monitor')):
        wanted.append((getattr(one, 'monitor_key', f'{type(one).__name__}.monitor'), one.monitor))
    schedulers = as_list(runner.param_schedulers or [])
    wanted += [('param_scheduler.monitor', one.monitor) for one in schedulers if hasattr(one, 'monitor')]
    if not (names := wanted and _metric_names(tried)):
        return
    for where, key in wanted:
        if key != 'auto' and key not in names:
            hint = did_you_mean(key, names, lists=False)
            raise ConfigError(f'{where}={key!r}: the validation measures {", ".join(sorted(names))}{hint}')
    for hook in savers:
        keys = names[:1] if hook.key_indicators == ['auto'] else hook.key_indicators
        for rule, key in zip(hook.rules, keys):
            resolve_rule('CheckpointHook', rule, key, tried)


def _metric_names(tried: Sequence[BaseMetric]) -> list[str] | None:
    """Return the names of the results of metrics that judged a sample, or None where one sample is not enough."""
    names = []
    try:
        for metric in tried:
            if not isinstance(metric, DumpResults):  # which would write a file
                results = metric.compute_metrics(metric.results)
                names += [f'{metric.prefix}/{key}' if metric.prefix else key for key in results]
    except (UserError, ArithmeticError, RuntimeError, ValueError, IndexError):
        return None
    return names
