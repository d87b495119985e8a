"""Predicting the classes of images, prepared exactly as in validation."""
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import PIL.Image
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import nn

from ftcls.config.resolve import type_name
from ftcls.datasets.transforms import LoadImageFromFile
from ftcls.datasets.transforms.decoding import from_array, from_pillow
from ftcls.datasets.transforms.loading import next_step
from ftcls.models.heads import MultiLabelClsHead
from ftcls.registry import TRANSFORMS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError, DataError, MissingFileError, UserError
from ftcls.utils.log import warn
from ftcls.utils.names import enumerate_names
from ftcls.utils.tree import as_list, grouped
from ftcls.visualization import UniversalVisualizer
from .model_zoo import get_model, list_models, load_weights, validation_dataset

__all__ = ['ImageClassificationInferencer', 'ValidationPipeline', 'inference_model']

Image = str | os.PathLike | np.ndarray | PIL.Image.Image
ChannelOrder = Literal['bgr', 'rgb']


class ValidationPipeline:
    """Prepares an image, a file, a PIL image or an array, as the validation prepares its own.

    Datasets of arrays, such as CIFAR-10, have no ``LoadImageFromFile`` in their pipeline and hold their images in RGB.
    Other images, which are BGR, are converted to that order here, and to grey if the model takes one channel. A first
    step of a user's may load the file itself, and then as BGR. Steps that load masks are left out.

    ``in_channels`` is what the model's first convolution takes; None if it has none.
    """

    def __init__(self, cfg: Config, in_channels: int | None = None) -> None:
        steps = validation_dataset(cfg).get('pipeline') or ()
        steps = [step for step in steps if (type_name(step) or type(step).__name__) != 'LoadAnnotations']
        if not steps:
            raise ConfigError('test_dataloader.dataset.pipeline is empty; it must prepare an image for the model')
        self.in_channels = in_channels
        with DefaultScope.overwrite_default_scope('ftcls'):
            steps = [TRANSFORMS.build(step) if isinstance(step, Mapping) else step for step in steps]
        is_loader = isinstance(steps[0], LoadImageFromFile)
        self.holds_arrays = not is_loader and type(steps[0]).__module__.startswith('ftcls.')
        if not is_loader:
            steps.insert(0, LoadImageFromFile(color_type='grayscale' if in_channels == 1 else 'color'))
        self.next_step = next_step(steps)
        self.load, *steps = steps
        self.prepare = Compose(steps)

    def __call__(self, image: Image, channel_order: ChannelOrder | None = None) -> dict:
        """Prepare one image.

        Args:
            image: A path, a PIL image, or an array (H, W, 3), (H, W) grey or of the model's channels (H, W, C), uint8,
                or of more bits if the config has ``value_range``.
            channel_order: Of an array; None for 'bgr', which the log says once.

        Returns:
            The packed sample, ``dict(inputs=(C, H, W) uint8, data_samples=DataSample)``.

        Raises:
            MissingFileError: If there is no such file.
            DataError: If the image cannot be read or prepared.
        """
        name = str(image) if isinstance(image, str | os.PathLike) else f'the {type(image).__name__}'
        if channel_order not in (None, *get_args(ChannelOrder)):
            raise ConfigError(f"channel_order={channel_order!r}: must be 'bgr' or 'rgb'")
        try:
            packed = self.prepare(self._convert_channels(self._read(image, channel_order, self.next_step)))
        except UserError:
            raise
        except Exception as err:
            raise DataError(f'{name} cannot be prepared as in validation: {type(err).__name__}: {err}') from err
        if packed is None:
            raise DataError(f'{name}: the validation pipeline returned nothing for it')
        return packed

    def read_to_draw(self, image: Image, channel_order: ChannelOrder | None = None) -> np.ndarray:
        """Read an image to draw on, (H, W, 3) RGB or (H, W, 1) grey, uint8."""
        sample = self._convert_channels(self._read(image, channel_order))
        pixels = sample['img']
        if pixels.dtype != np.uint8:
            pixels = np.atleast_3d(cv2.normalize(pixels, None, 0, 255, cv2.NORM_MINMAX)).astype(np.uint8)
        if pixels.shape[2] < 3:
            return pixels[..., :1].copy()
        return pixels[..., [2, 1, 0] if sample['channel_order'] == 'bgr' else [0, 1, 2]]

    def _read(self, image: Image, channel_order: ChannelOrder | None, step: Callable | None = None) -> dict:
        if isinstance(image, str | os.PathLike):
            if not Path(image).is_file():
                raise MissingFileError(f'{image} does not exist, or is not a file')
            sample = self.load(dict(img_path=str(image), next_step=step))
            if sample is None or sample.get('img') is None:
                raise DataError(f'{image} cannot be read as an image')
            return sample
        loader = self.load if isinstance(self.load, LoadImageFromFile) else LoadImageFromFile()
        if isinstance(image, PIL.Image.Image):
            stored = from_pillow(image).upright()
        else:
            shape, dtype = getattr(image, 'shape', ()), getattr(image, 'dtype', '')
            is_fit = isinstance(image, np.ndarray) and (dtype == np.uint8 or loader.value_range is not None)
            if not is_fit or shape[2:] not in ((), (1, ), (3, ), (self.in_channels, )):
                raise DataError('an image must be a path, a PIL image, or an array (H, W, 3) or (H, W) of uint8, got '
                                f'{type(image).__name__} {shape or ""} {dtype}')
            if channel_order is None and shape[2:] not in ((), (1, )):
                _note_order()
            stored = from_array(image, bgr=channel_order != 'rgb')
        return loader.with_loaded(dict(img_path=None), loader.convert(stored, f'({type(image).__name__})'))

    def _convert_channels(self, sample: dict) -> dict:
        image, order = sample['img'], sample.get('channel_order', 'bgr')
        channels = image.shape[2]
        if self.in_channels == 1 and channels == 3:
            to_grey = dict(bgr=cv2.COLOR_BGR2GRAY, rgb=cv2.COLOR_RGB2GRAY)[order]
            image = cv2.cvtColor(image, to_grey)[..., np.newaxis]
        elif self.in_channels == 3 and channels == 1:
            image = np.repeat(image, 3, axis=2)
        elif self.holds_arrays and channels == 3 and order == 'bgr':
            image, order = np.ascontiguousarray(image[..., ::-1]), 'rgb'
        return dict(sample, img=image, channel_order=order)


class ImageClassificationInferencer:
    """Predicts the classes of images with a trained model.

    Args:
        model: A work dir, a config file, the name of a config (:func:`.list_models`), a config, or a model that
            :func:`.get_model` built.
        pretrained: A checkpoint (file or URL); None or True for the best, else the last of the run that ``model`` is or
            that its config wrote; False for the weights that the model was built with.
        device: Where the model runs; by default the accelerator if there is one, else the CPU. A built model stays
            where it is.
        classes: Names of the classes; None for those of the checkpoint, else those of the config's dataset.
        **kwargs: Changes to ``model`` of the config, see :func:`.get_model`.

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
                 classes: Sequence[str] | None = None,
                 **kwargs: Any) -> None:
        if not isinstance(model, nn.Module):
            model = get_model(model, pretrained is None or pretrained, device, **kwargs)
        elif isinstance(pretrained, (str, os.PathLike)):
            load_weights(model, pretrained)
        if device is not None:
            model.to(device)
        self.config = getattr(model, '_config', None)
        if self.config is None:
            raise ConfigError('the model does not carry the config that prepares images; build it by get_model')
        self.model = model.eval()
        self.is_multi_label = isinstance(getattr(model, 'head', None), MultiLabelClsHead)
        meta = getattr(model, '_dataset_meta', None) or {}
        self.classes = list(classes or meta.get('classes') or ()) or None
        if self.classes is None:
            warn('neither the checkpoint nor the config names the classes; predictions are indices only')
        channels = (module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))
        self.pipeline = ValidationPipeline(self.config, getattr(model, 'in_channels', None) or next(channels, None))

    def __call__(self,
                 inputs: Image | Sequence[Image],
                 return_datasamples: bool = False,
                 batch_size: int = 1,
                 show_dir: str | os.PathLike | None = None,
                 topk: int | None = None,
                 skip_broken: bool = False,
                 channel_order: ChannelOrder | None = None) -> list[dict | DataSample | None]:
        """Predict the classes of one or several images.

        Args:
            inputs: A path, a PIL image, an array (see :class:`ValidationPipeline`), or a list of these.
            return_datasamples: Return the model's own data samples.
            batch_size: Images that go through the model at once; it does not change the result.
            show_dir: A folder for the images with their predictions drawn on them.
            topk: Also list the ``topk`` best classes.
            skip_broken: Skip an image that cannot be read instead of raising.
            channel_order: Of arrays, 'rgb' or 'bgr'; None for 'bgr', which the log says once.

        Returns:
            A dict for each image: ``pred_label``, ``pred_score`` (its probability), ``pred_class`` (its name, if it is
            known), ``pred_scores`` ((C, ) float32, all of them); with ``topk`` also ``topk``, a list of dicts of
            ``label``, ``score`` and ``class``, the best first; with ``show_dir`` also ``overlay``, the path of the
            drawing. For a model with several labels per image, the first three are lists of what it predicts, the best
            first, which may be empty. With ``skip_broken`` a broken image has ``dict(error=why)``, or None among data
            samples.

        Raises:
            MissingFileError: If an image does not exist.
            DataError: If an image is broken.
            ConfigError: If the number of class names differs from that of scores, or ``topk`` is larger than it.
        """
        images = as_list(inputs)
        prepared = (prepare(self.pipeline, image, skip_broken, channel_order) for image in images)
        pairs = self.predict_each(images, prepared, batch_size, show_dir, topk, channel_order)
        return [pair[return_datasamples] for pair in pairs]

    def predict_each(self,
                     images: Sequence[Image],
                     prepared: Iterable[dict | UserError],
                     batch_size: int = 1,
                     show_dir: str | os.PathLike | None = None,
                     topk: int | None = None,
                     channel_order: ChannelOrder | None = None) -> Iterator[tuple[dict, DataSample | None]]:
        """Yield the result and the data sample of each image as soon as its batch is predicted; none is kept.

        Args:
            prepared: For each image the packed sample, or why there is none.
            images, batch_size, show_dir, topk, channel_order: See :meth:`__call__`.
        """
        for batch in batched(zip(images, _drawing_names(images), prepared), batch_size):
            packed = [sample for _, _, sample in batch if not isinstance(sample, UserError)]
            predictions = self._predict(packed, self.model.test_step)
            for image, name, ready in batch:
                if isinstance(ready, UserError):
                    yield dict(error=str(ready)), None
                    continue
                sample = next(predictions)
                result = self._describe(sample, topk)
                if show_dir is not None:
                    drawable = self.pipeline.read_to_draw(image, channel_order)
                    result |= self._draw(drawable, sample, Path(show_dir, name))
                yield result, sample

    @torch.no_grad()
    def _predict(self, samples: Sequence[dict], step: Callable[[dict], Sequence]) -> Iterator:
        """Run packed samples through the model, those of one size together: padding would change the prediction.

        ``step`` returns what is wanted of each image of a batch, such as ``model.test_step``.
        """
        by_size = grouped((sample['inputs'].shape, index) for index, sample in enumerate(samples))
        predicted = {}
        for indices in by_size.values():
            batch = {key: [samples[i][key] for i in indices] for key in ('inputs', 'data_samples')}
            predicted.update(zip(indices, step(batch)))
        return iter([predicted[index] for index in range(len(samples))])

    def _describe(self, sample: DataSample, topk: int | None) -> dict[str, Any]:
        """Return the result; the lower index comes first among equal scores, as in the metrics."""
        scores = sample.pred_score.detach().cpu().float().numpy()
        if self.classes is not None and len(self.classes) != len(scores):
            raise ConfigError(f'`classes`: {len(self.classes)} class names ({enumerate_names(self.classes, 5)}) are '
                              f'given and the model scores {len(scores)} classes')
        check_topk(topk, len(scores))
        ranked = [dict(label=int(i), score=float(scores[i])) for i in np.argsort(-scores, kind='stable')]
        if self.classes is not None:
            ranked = [{**hit, 'class': self.classes[hit['label']]} for hit in ranked]
        result: dict[str, Any] = {f'pred_{key}': value for key, value in ranked[0].items()}
        if self.is_multi_label:
            predicted = set(sample.pred_label.tolist())
            hits = [hit for hit in ranked if hit['label'] in predicted]
            result = {f'pred_{key}': [hit[key] for hit in hits] for key in ranked[0]}
        if topk is not None:
            result['topk'] = ranked[:topk]
        return dict(result, pred_scores=scores)

    def _draw(self, image: np.ndarray, sample: DataSample, path: Path) -> dict[str, str]:
        """Draw the prediction into a file; return the paths of what was written, by kind.

        Each image has a visualizer of its own, which keeps the figure of its last image and is built quickly.
        """
        UniversalVisualizer().visualize_cls(image, sample.cpu(), classes=self.classes, draw_gt=False, out_file=path)
        return dict(overlay=str(path))

    @staticmethod
    def list_models(pattern: str | None = None) -> list[str]:
        """Return the names of the classifiers that come with ftcls; see :func:`.list_models`."""
        return list_models(pattern, task='Image Classification')


def inference_model(model: str | os.PathLike | Config | nn.Module,
                    img: Image,
                    pretrained: str | os.PathLike | bool | None = None,
                    *,
                    device: str | torch.device | None = None,
                    classes: Sequence[str] | None = None,
                    show_dir: str | os.PathLike | None = None,
                    topk: int | None = None,
                    channel_order: ChannelOrder | None = None) -> dict[str, Any]:
    """Predict the class of one image, as :class:`ImageClassificationInferencer` does.

    The result has ``pred_label``, ``pred_score``, ``pred_class``, ``pred_scores``. Give a built model for many images.
    """
    inferencer = ImageClassificationInferencer(model, pretrained, device, classes)
    return inferencer(img, show_dir=show_dir, topk=topk, channel_order=channel_order)[0]


def prepare(pipeline: ValidationPipeline,
            image: Image,
            skip_broken: bool = True,
            channel_order: ChannelOrder | None = None) -> dict | UserError:
    """Return an image's packed sample; or with ``skip_broken``, if it cannot be read, the error."""
    try:
        return pipeline(image, channel_order)
    except (DataError, MissingFileError) as err:
        if not skip_broken:
            raise
        return err


def check_topk(topk: int | None, most: int) -> None:
    """Raise a ConfigError unless ``topk`` is None or from 1 to ``most``."""
    if topk is not None and not 1 <= topk <= most:
        raise ConfigError(f'topk must be from 1 to {most}, the number of classes; got {topk}')


def batched(items: Iterable, batch_size: int) -> Iterator[list]:
    """Cut what comes into lists of ``batch_size``; raise a ConfigError unless that is at least 1."""
    if batch_size < 1:
        raise ConfigError(f'batch_size must be at least 1, got {batch_size}')
    items = iter(items)
    return iter(lambda: list(islice(items, batch_size)), [])


@cache
def _note_order() -> None:
    """Say once which channel order is assumed."""
    print_log("arrays count as BGR, OpenCV's order; give channel_order='rgb' for RGB (PIL images are RGB)", 'current')


def _drawing_names(images: Sequence[Image]) -> list[str]:
    """Name the drawings like the images; repeated names get a number."""
    names, seen = {}, Counter()
    for index, image in enumerate(images):
        name = stem = Path(image).stem if isinstance(image, str | os.PathLike) else str(index)
        while name in names:
            seen[stem] += 1
            name = f'{stem}_{seen[stem] + 1}'
        names[name] = None
    return [f'{name}.png' for name in names]
