"""What is tried before the first step: a sample of each split, its pass through the model, its metrics."""
import copy
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader, Dataset

from ftcls.datasets import BaseDataset
from ftcls.engine.mmengine_compat import unlocked_on_error
from ftcls.evaluation import DiceMetric, IoUMetric, resolve_rule
from ftcls.models.headed_model import HeadedModel
from ftcls.registry import METRICS
from ftcls.utils import ConfigError, UserError, did_you_mean, nearest
from ftcls.utils.checkpoint.matching import unwrap_model
from ftcls.utils.errors import located, unwrapped
from ftcls.utils.tree import as_list
from .learning import check_learning
from .soft_labels import check_soft_labels

__all__ = ['StartHook', 'check_pass', 'config_errors', 'first_samples']

_PACKAGE = str(Path(__file__).resolve().parents[2])


class StartHook(Hook):
    """Notes that all preparations are done and training begins: ``begun``, and at which iteration.

    Raises:
        ConfigError: At the first step, if nothing would learn.
    """
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.begun = self.is_checked = False
        self.first_iteration = 0

    def before_train(self, runner: Runner) -> None:
        """Note it."""
        self.begun, self.first_iteration = True, runner.iter

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Check the model and the optimizer once, as all hooks have left them."""
        if not self.is_checked:
            check_learning(runner)
        self.is_checked = True


@contextmanager
def config_errors(where: str, start: StartHook | None = None) -> Iterator[None]:
    """Turn what MMEngine, torch or timm say of a config into a ConfigError; an error in our own code stays what it is.

    After any error, MMEngine's lock is released, so that a server's other threads do not wait for it.

    Args:
        where: The config keys that the code inside works on.
        start: Errors after the beginning that this hook notes stay what they are.

    Raises:
        ConfigError: In place of an assertion, a missing package, or an error on a value, a type, a key or an attribute.
    """
    try:
        with unlocked_on_error():
            yield
    except UserError:
        raise
    except (AssertionError, TypeError, ValueError, KeyError, AttributeError, ImportError, RuntimeError) as err:
        has_begun = start is not None and start.begun
        if has_begun or _is_raised_here(err):
            raise
        with located(where):
            raise ConfigError(f'{_describe(err)} (FTCLS_TRACEBACK=1 shows where)') from err


def _is_raised_here(err: BaseException) -> bool:
    """Tell whether an error comes from a line of ftcls, and not from a library that it called."""
    return traceback.extract_tb(err.__traceback__)[-1].filename.startswith(_PACKAGE)


def _describe(err: BaseException) -> str:
    """Return what an error says, with its type where the text alone would not be clear."""
    if isinstance(err, UserError):
        return str(unwrapped(err))
    text = str(err).strip() or 'no text'
    return text if isinstance(err, ValueError) else f'{type(err).__name__}: {text}'


def first_samples(datasets: Mapping[str, Dataset]) -> dict[str, Any]:
    """Read the first sample of each split and send it through its pipeline.

    This finds a pipeline that cannot work, and a folder of files that are no images; a broken image further on is found
    when it is read.

    Args:
        datasets: Split name to dataset.

    Returns:
        Split name to sample.

    Raises:
        UserError: Naming the split, if the sample cannot be read.
        ConfigError: If the pipeline of one of our datasets does not end with ``PackInputs``.
    """
    samples = {}
    for split, dataset in datasets.items():
        with located(f'{split}_dataloader.dataset: the first sample cannot be read'):
            sample = dataset[0]
        if isinstance(dataset, BaseDataset) and not (isinstance(sample, Mapping) and 'inputs' in sample):
            raise ConfigError(
                f"{split}_dataloader.dataset.pipeline: must end with dict(type='PackInputs'), which makes "
                "the model's `inputs` and `data_samples`")
        samples[split] = sample
    return samples


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
    if not isinstance(model, HeadedModel) or getattr(model, 'head', None) is None:
        return
    training = model.training
    model.eval()
    try:
        for split, sample in samples.items():
            batch = loaders[split].collate_fn([sample])
            if split == 'train':
                check_soft_labels(model, batch)
            outputs = _pass(model, batch, split)
            if split == 'val':
                tried = _try_metrics(runner.val_loop.evaluator.metrics, batch, outputs, 'val_evaluator')
                _check_monitored(runner, tried)
                if _is_same_kind(runner.cfg):
                    _try_metrics(_metrics_of(runner.cfg.get('test_evaluator')), batch, outputs, 'test_evaluator')
            elif split == 'test':
                _try_metrics(runner.test_evaluator.metrics, batch, outputs, 'test_evaluator')
    finally:
        model.train(training)


def _pass(model: HeadedModel, batch: Any, split: str) -> list:
    """Return the model's predictions for a batch of one."""
    try:
        with torch.no_grad(), located(f'{split}_dataloader: its first image does not go through the model'):
            return model.test_step(batch)
    except torch.OutOfMemoryError:
        raise
    except UserError:
        raise
    except (RuntimeError, ValueError, IndexError) as err:
        shape = 'x'.join(map(str, getattr(batch['inputs'][0], 'shape', ())))
        raise ConfigError(
            f'{split}_dataloader: its first image ({shape} after the pipeline) does not go through the model: '
            f'{str(err).splitlines()[0]}; do the pipeline, data_preprocessor.mean and model.backbone (in_channels) fit '
            'each other? (FTCLS_TRACEBACK=1 shows where it stops)') from err


def _is_same_kind(cfg: Mapping[str, Any]) -> bool:
    """Tell whether the test set has the validation set's class, so that their samples are of one kind."""
    val, test = (((cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}).get('type') for split in ('val', 'test'))
    return val is not None and val == test


def _metrics_of(evaluator: Any) -> list[BaseMetric]:
    """Build the metrics of an evaluator's config."""
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    with config_errors('test_evaluator'):
        return [METRICS.build(one) if isinstance(one, Mapping) else one for one in as_list(evaluator or [])]


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
        except (UserError, LookupError, AttributeError, TypeError, ValueError, RuntimeError) as err:
            why = _fitting_metrics(metric, samples) or f'{_describe(err)} (FTCLS_TRACEBACK=1 shows where)'
            raise ConfigError(f'{where}: {type(metric).__name__} cannot judge what the model predicts: {why}') from err
    return tried


def _fitting_metrics(metric: BaseMetric, samples: Sequence[Mapping]) -> str:
    """Name the metrics for what was predicted, if this one is for something else."""
    is_mask, is_for_masks = 'pred_mask' in samples[0], isinstance(metric, DiceMetric | IoUMetric)
    if is_mask and not is_for_masks:
        return "masks, which are judged by dict(type='DiceMetric') and dict(type='IoUMetric')"
    if is_for_masks and not is_mask:
        return "classes, which are judged by dict(type='Accuracy') and dict(type='SingleLabelMetric')"
    return ''


def _check_monitored(runner: Runner, tried: Sequence[BaseMetric]) -> None:
    """Check that the validation measures what hooks and schedulers wait for.

    Raises:
        ConfigError: If it does not; MMEngine would find out after an epoch.
    """
    savers = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.save_best]
    wanted = [('CheckpointHook.save_best', key) for hook in savers for key in as_list(hook.save_best)]
    for hook in runner.hooks:
        if hasattr(hook, 'monitor'):
            wanted.append((getattr(hook, 'monitor_key', f'{type(hook).__name__}.monitor'), hook.monitor))
    for scheduler in as_list(runner.param_schedulers or []):
        if hasattr(scheduler, 'monitor'):
            wanted.append(('param_scheduler.monitor', scheduler.monitor))
    names = wanted and _metric_names(tried)
    if not names:
        return
    for where, key in wanted:
        if key != 'auto' and key not in names:
            hint = did_you_mean(key, names) if nearest(key, names) else ''
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
            # DumpResults would write a file
            results = {} if isinstance(metric, DumpResults) else metric.compute_metrics(metric.results)
            names += [f'{metric.prefix}/{key}' if metric.prefix else key for key in results]
    except (UserError, ArithmeticError, RuntimeError, ValueError, IndexError):
        return None
    return names
