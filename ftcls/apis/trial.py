"""What is tried before the first step: a sample of each split, a pass through the model, all that the Runner builds late."""
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ftcls.datasets import BaseDataset
from ftcls.engine.parameter_table import unwrap
from ftcls.models.classifiers import BaseClassifier
from ftcls.utils import ConfigError, UserError
from ftcls.utils.errors import unwrapped

__all__ = ['build_late_parts', 'check_pass', 'config_errors', 'first_samples']

_PACKAGE = str(Path(__file__).resolve().parents[1])


@contextmanager
def config_errors(where: str) -> Iterator[None]:
    """Turn what MMEngine, torch or timm say of a config into a ConfigError; an error in our own code stays what it is.

    Args:
        where: The keys of the config that the code inside works on.

    Raises:
        ConfigError: In place of an assertion, or of an error on a value, a type, a key or an attribute.
    """
    try:
        yield
    except UserError:
        raise
    except (AssertionError, TypeError, ValueError, KeyError, AttributeError, RuntimeError) as err:
        if _raised_here(err):
            raise
        raise ConfigError(f'{where}: {_said(err)} (FTCLS_TRACEBACK=1 shows where it says so)') from err


def _raised_here(err: BaseException) -> bool:
    """Tell whether an error comes from a line of ftcls, and not from a library that it called."""
    return traceback.extract_tb(err.__traceback__)[-1].filename.startswith(_PACKAGE)


def _said(err: BaseException) -> str:
    text = str(err).strip() or 'no text'
    return text if isinstance(err, ValueError) else f'{type(err).__name__}: {text}'


def first_samples(loaders: Mapping[str, DataLoader]) -> dict[str, Any]:
    """Read the first sample of each split and send it through its pipeline.

    It finds a pipeline that cannot work, a folder of files that are no pictures; a broken picture further on is found when
    it is read.

    Args:
        loaders: Split name to dataloader.

    Returns:
        Split name to sample.

    Raises:
        UserError: Naming the split, if the sample cannot be had.
        ConfigError: If the pipeline of one of our datasets does not end with ``PackInputs``.
    """
    samples = {}
    for split, loader in loaders.items():
        dataset = loader.dataset
        try:
            sample = dataset[0]
        except UserError as err:
            err = unwrapped(err)
            raise type(err)(f'{split}_dataloader.dataset: the first sample cannot be had: {err}') from err
        if isinstance(dataset, BaseDataset) and not (isinstance(sample, Mapping) and 'inputs' in sample):
            raise ConfigError(
                f'{split}_dataloader.dataset.pipeline: must end with dict(type=\'PackInputs\'), which makes '
                'the model\'s `inputs` and `data_samples`')
        samples[split] = sample
    return samples


def check_pass(runner: Runner, loaders: Mapping[str, DataLoader], samples: Mapping[str, Any]) -> None:
    """Send the first sample of each split through a classifier, in eval mode, without a gradient.

    Args:
        runner: The Runner, whose model is left as it was.
        loaders: Split name to dataloader, for their ``collate_fn``.
        samples: As from :func:`first_samples`.

    Raises:
        ConfigError: If the model cannot take such a picture.
    """
    model = unwrap(runner.model)
    if not isinstance(model, BaseClassifier) or getattr(model, 'head', None) is None:
        return
    training = model.training
    model.eval()
    try:
        for split, sample in samples.items():
            try:
                with torch.no_grad():
                    model.test_step(loaders[split].collate_fn([sample]))
            except torch.OutOfMemoryError:
                raise
            except UserError as err:
                err = unwrapped(err)
                raise type(err)(f'{split}_dataloader: its first picture does not go through the model: {err}') from err
            except (RuntimeError, ValueError, IndexError) as err:
                shape = 'x'.join(map(str, sample['inputs'].shape)) if hasattr(sample.get('inputs'), 'shape') else ''
                raise ConfigError(
                    f'{split}_dataloader: its first picture ({shape} after the pipeline) does not go through the model: '
                    f'{str(err).splitlines()[0]}; do the pipeline, data_preprocessor.mean and model.backbone (in_channels) fit '
                    'each other? (FTCLS_TRACEBACK=1 shows where it stops)') from err
    finally:
        model.train(training)


def build_late_parts(runner: Runner) -> None:
    """Build what the Runner would build at the start of ``train``, so that its faults come first and as plain messages.

    Raises:
        ConfigError: Naming the key.
    """
    with config_errors('train_cfg'):
        runner._train_loop = runner.build_train_loop(runner._train_loop)
    with config_errors('optim_wrapper'):
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        with config_errors('param_scheduler'):
            runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    if runner._val_loop is not None:
        with config_errors('val_cfg, val_evaluator'):
            runner._val_loop = runner.build_val_loop(runner._val_loop)
