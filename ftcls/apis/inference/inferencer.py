"""Predicting the classes of pictures, prepared exactly as in validation."""
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import nn

from ftcls.models.heads import MultiLabelClsHead
from ftcls.registry import TRANSFORMS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError, MissingFileError, UserError
from ftcls.visualization import UniversalVisualizer
from .model_zoo import get_model, list_models, load_weights, validation_dataset

__all__ = ['ImageClassificationInferencer', 'ValidationPipeline', 'inference_model']

Picture = str | os.PathLike | np.ndarray
_LOADER = 'LoadImageFromFile'
_ANNOTATIONS = 'LoadAnnotations'  # pictures to be predicted have no masks


class ValidationPipeline:
    """Prepares a picture, a file or an array, as the validation prepares its own.

    Datasets of arrays, such as CIFAR-10, have no ``LoadImageFromFile`` in their pipeline and hold their pictures in RGB;
    pictures from elsewhere, which are BGR, are put into that order here, and into grey where the model takes one channel.

    Args:
        cfg: A config with ``test_dataloader`` or ``val_dataloader``.
        in_channels: Number of channels that the model's first convolution takes; None where it has none.
    """

    def __init__(self, cfg: Config, in_channels: int | None = None) -> None:
        steps = list(validation_dataset(cfg).get('pipeline') or ())
        if not steps:
            raise ConfigError(
                'test_dataloader.dataset.pipeline is empty; it says how a picture is prepared for the model')
        steps = [step for step in steps if _type_name(step) != _ANNOTATIONS]
        self.holds_arrays = _type_name(steps[0]) != _LOADER
        self.in_channels = in_channels
        load = dict(type=_LOADER, color_type='grayscale' if in_channels == 1 else 'color')
        if not self.holds_arrays:
            load = steps.pop(0)
        with DefaultScope.overwrite_default_scope('ftcls'):
            self.load = TRANSFORMS.build(load)
            self.prepare = Compose([TRANSFORMS.build(step) if isinstance(step, Mapping) else step for step in steps])

    def __call__(self, picture: Picture) -> tuple[dict, np.ndarray]:
        """Prepare one picture.

        Args:
            picture: A path, or an array (H, W, 3) BGR or (H, W) grey, uint8.

        Returns:
            The packed sample, ``dict(inputs=(C, H, W) uint8, data_samples=DataSample)``, and the picture to draw on,
            (H, W, 3) RGB or (H, W) grey, uint8.

        Raises:
            MissingFileError: If there is no such file.
            DataError: If the picture cannot be read, or not be prepared.
        """
        name = 'the array' if isinstance(picture, np.ndarray) else str(picture)
        try:
            sample = self._from_array(picture) if isinstance(picture, np.ndarray) else self._from_file(Path(picture))
            sample = self._in_order(sample)
            image = sample['img']
            drawing = image[..., ::-1].copy() if image.ndim == 3 and sample['channel_order'] == 'bgr' else image.copy()
            packed = self.prepare(sample)
        except UserError:
            raise
        except Exception as err:
            raise DataError(f'{name} cannot be prepared as in validation: {type(err).__name__}: {err}') from err
        if packed is None:
            raise DataError(f'{name}: the validation pipeline gave nothing back for it')
        return packed, drawing

    def _from_file(self, path: Path) -> dict:
        """Read a picture's file."""
        if not path.is_file():
            raise MissingFileError(f'{path} {"is a folder" if path.is_dir() else "does not exist"}')
        sample = self.load(dict(img_path=str(path)))
        if sample is None or sample.get('img') is None:
            raise DataError(f'{path} cannot be read as a picture')
        return sample

    @staticmethod
    def _from_array(array: np.ndarray) -> dict:
        """Take an array for a picture that was just read."""
        if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))):
            raise DataError(
                f'a picture must be an array (H, W, 3) BGR or (H, W) of uint8, got {array.shape} {array.dtype}')
        size = array.shape[:2]
        return dict(img=array, img_path=None, ori_shape=size, img_shape=size, channel_order='bgr')

    def _in_order(self, sample: dict) -> dict:
        """Give the picture the channels that those of the validation have."""
        image = sample['img']
        order = sample.get('channel_order', 'bgr')
        channels = 1 if image.ndim == 2 else image.shape[2]
        if self.in_channels == 1 and channels == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY if order == 'bgr' else cv2.COLOR_RGB2GRAY)[..., np.newaxis]
        elif self.in_channels == 3 and channels == 1:
            image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
        elif self.holds_arrays and channels == 3 and order == 'bgr':
            image, order = np.ascontiguousarray(image[..., ::-1]), 'rgb'
        return dict(sample, img=image, channel_order=order)


class ImageClassificationInferencer:
    """Predicts the classes of pictures with a trained model.

    Args:
        model: A work dir, a config file, the name of a config (:func:`.list_models`), a config, or a model that
            :func:`.get_model` built.
        pretrained: A checkpoint (file or URL); None or True for the best, else the last of the run that ``model`` is or
            that its config wrote; False for the weights that the model was built with.
        device: Where the model runs; the accelerator where there is one, else the CPU. A model stays where it is.
        classes: Names of the classes; those of the checkpoint where it is None, else those of the config's dataset.

    Raises:
        MissingFileError: If there is no such config or checkpoint.
        CheckpointError: If the checkpoint does not fit the model.

    Example:
        >>> inferencer = ImageClassificationInferencer('work_dirs/ants_and_bees')  # doctest: +SKIP
        >>> inferencer('bee.jpg')[0]['pred_class']  # doctest: +SKIP
        'bees'
    """

    def __init__(self,
                 model: str | os.PathLike | Config | nn.Module,
                 pretrained: str | os.PathLike | bool | None = None,
                 device: str | torch.device | None = None,
                 classes: Sequence[str] | None = None) -> None:
        if isinstance(model, nn.Module):
            if isinstance(pretrained, (str, os.PathLike)):
                load_weights(model, pretrained)
            if device is not None:
                model.to(device)
        else:
            model = get_model(model, True if pretrained is None else pretrained, device or get_device())
        self.config = getattr(model, '_config', None)
        if self.config is None:
            raise ConfigError('the model does not carry the config that says how pictures are prepared; build it by '
                              'ftcls.apis.get_model, or set model._config')
        self.model = model.eval()
        #: Whether the model predicts any number of labels a picture.
        self.several = isinstance(getattr(model, 'head', None), MultiLabelClsHead)
        self.classes = list(classes or (getattr(model, '_dataset_meta', None) or {}).get('classes') or ()) or None
        if self.classes is None:
            print_log(
                'neither the checkpoint nor the config names the classes; predictions are indices only',
                'current',
                level=logging.WARNING)
        convolutions = (m for m in model.modules() if isinstance(m, nn.Conv2d))
        self.pipeline = ValidationPipeline(self.config, getattr(next(convolutions, None), 'in_channels', None))

    def __call__(self,
                 inputs: Picture | Sequence[Picture],
                 return_datasamples: bool = False,
                 batch_size: int = 1,
                 show_dir: str | os.PathLike | None = None,
                 topk: int | None = None,
                 skip_broken: bool = False) -> list[dict | DataSample | None]:
        """Predict the classes of one or several pictures.

        Args:
            inputs: A path, an array (H, W, 3) BGR or (H, W) grey of uint8, or a list of these.
            return_datasamples: Return the model's own data samples.
            batch_size: How many pictures go through the model at once; without effect on the result.
            show_dir: A folder for the pictures with their predictions drawn on them.
            topk: Also list the ``topk`` best classes.
            skip_broken: Go on past a picture that cannot be read, instead of raising.

        Returns:
            A dict for each picture: ``pred_label``, ``pred_score`` (its probability), ``pred_class`` (its name, where it
            is known), ``pred_scores`` ((C, ) float32, all of them); with ``topk`` also ``topk``, a list of dicts of
            ``label``, ``score`` and ``class``, the best first. Of a model for several labels a picture, ``pred_label``,
            ``pred_score`` and ``pred_class`` are lists of what it predicts, the best first, which may be empty. With
            ``skip_broken`` a broken picture has ``dict(error=why)``, or None among data samples.

        Raises:
            MissingFileError: If a picture does not exist.
            DataError: If a picture is broken.
            ConfigError: If there are more class names than scores or fewer, or fewer classes than ``topk``.
        """
        pictures = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if batch_size < 1:
            raise ConfigError(f'batch_size must be at least 1, got {batch_size}')
        names = _drawing_names(pictures)
        results = []
        for start in range(0, len(pictures), batch_size):
            prepared = [self._prepare(picture, skip_broken) for picture in pictures[start:start + batch_size]]
            predictions = self._predict([ready[0] for ready in prepared if not isinstance(ready, UserError)])
            for ready in prepared:
                if isinstance(ready, UserError):
                    results.append(None if return_datasamples else dict(error=str(ready)))
                    continue
                sample = next(predictions)
                result = self._describe(sample, topk)
                if show_dir is not None:
                    self._draw(ready[1], sample, Path(show_dir) / names[len(results)])
                results.append(sample if return_datasamples else result)
        return results

    def _prepare(self, picture: Picture, skip_broken: bool) -> tuple[dict, np.ndarray] | UserError:
        """Prepare one picture, or return what is wrong with it."""
        try:
            return self.pipeline(picture)
        except (DataError, MissingFileError) as err:
            if not skip_broken:
                raise
            return err

    @torch.no_grad()
    def _predict(self, samples: Sequence[dict]) -> Iterator[DataSample]:
        """Run packed samples through the model, those of one size together: padding would change the prediction."""
        by_size: dict[tuple, list[int]] = {}
        for index, sample in enumerate(samples):
            by_size.setdefault(tuple(sample['inputs'].shape), []).append(index)
        predicted = {}
        for indices in by_size.values():
            batch = dict(
                inputs=[samples[i]['inputs'] for i in indices],
                data_samples=[samples[i]['data_samples'] for i in indices])
            predicted.update(zip(indices, self.model.test_step(batch)))
        return iter([predicted[index] for index in range(len(samples))])

    def _describe(self, sample: DataSample, topk: int | None) -> dict[str, Any]:
        """Turn a prediction into plain values."""
        scores = sample.pred_score.detach().cpu().float().numpy()
        if self.classes is not None and len(self.classes) != len(scores):
            raise ConfigError(
                f'there are {len(self.classes)} class names ({", ".join(map(str, self.classes[:5]))} …) and the '
                f'model scores {len(scores)} classes; give the right `classes`')
        if topk is not None and not 1 <= topk <= len(scores):
            raise ConfigError(f'topk must be from 1 to {len(scores)}, the number of classes; got {topk}')
        # Stable: of equal scores the lower index comes first, as in the metrics.
        ranking = np.argsort(-scores, kind='stable')
        ranked = [dict(label=int(i), score=float(scores[i])) for i in ranking]
        if self.classes is not None:
            ranked = [{**hit, 'class': self.classes[hit['label']]} for hit in ranked]
        if self.several:
            predicted = set(sample.pred_label.tolist())
            hits = [hit for hit in ranked if hit['label'] in predicted]
            result = {f'pred_{key}': [hit[key] for hit in hits] for key in ('label', 'score', 'class')
                      if self.classes is not None or key != 'class'}  # yapf: disable
        else:
            result = {f'pred_{key}': value for key, value in ranked[0].items()}
        if topk is not None:
            result['topk'] = ranked[:topk]
        return dict(result, pred_scores=scores)

    def _draw(self, image: np.ndarray, sample: DataSample, path: Path) -> None:
        """Write the picture with its prediction on it."""
        # A visualizer for each: one keeps the figure of its last picture, and this is not where the time goes.
        UniversalVisualizer().visualize_cls(image, sample.cpu(), classes=self.classes, draw_gt=False, out_file=path)

    @staticmethod
    def list_models(pattern: str | None = None) -> list[str]:
        """Return the names of the models that come with ftcls; see :func:`.list_models`."""
        return list_models(pattern)


def inference_model(model: str | os.PathLike | Config | nn.Module,
                    img: Picture,
                    pretrained: str | os.PathLike | bool | None = None,
                    **kwargs: Any) -> dict[str, Any]:
    """Predict the class of one picture.

    Args:
        model: What :class:`ImageClassificationInferencer` takes; a model saves building it for each picture.
        img: A path, or an array (H, W, 3) BGR or (H, W) grey of uint8.
        pretrained: The checkpoint, as there.
        **kwargs: ``device`` and ``classes`` of the inferencer, ``show_dir`` and ``topk`` of its call.

    Returns:
        ``pred_label``, ``pred_score``, ``pred_class``, ``pred_scores``, as there.

    Raises:
        TypeError: For another keyword.
    """
    options = {key: kwargs.pop(key) for key in ('device', 'classes') if key in kwargs}
    unknown = set(kwargs) - {'show_dir', 'topk'}
    if unknown:
        raise TypeError(f'inference_model takes device, classes, show_dir and topk, not {", ".join(sorted(unknown))}')
    return ImageClassificationInferencer(model, pretrained, **options)(img, **kwargs)[0]


def _type_name(step: Any) -> str:
    """Return the class name of a pipeline's step, which a config gives by name, as a class or as an object."""
    kind = step.get('type') if isinstance(step, Mapping) else type(step)
    return kind.rsplit('.', 1)[-1] if isinstance(kind, str) else kind.__name__


def _drawing_names(pictures: Sequence[Picture]) -> list[str]:
    """Return a file name for each picture's drawing, like its own; of several of one name the later ones are numbered."""
    names, seen = [], {}
    for index, picture in enumerate(pictures):
        stem = str(index) if isinstance(picture, np.ndarray) else Path(picture).stem
        seen[stem] = seen.get(stem, 0) + 1
        names.append(f'{stem}.png' if seen[stem] == 1 else f'{stem}_{seen[stem]}.png')
    return names
