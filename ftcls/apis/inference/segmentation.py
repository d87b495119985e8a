"""Predicting masks of images, prepared exactly as in validation."""
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ftcls.structures import DataSample
from ftcls.utils import ConfigError
from ftcls.visualization import overlay_mask
from .inferencer import ImageClassificationInferencer

__all__ = ['ImageSegmentationInferencer']

# Steps after which resizing a mask does not fit it to the image again.
_MOVES = re.compile('Crop|Pad|Flip|Rotat|Shear|Trans[lp]|Augm|Affine|Perspective|Elastic|Zoom|RandomResize|ScaleJitter')


class ImageSegmentationInferencer(ImageClassificationInferencer):
    """Predicts the foreground of images with a trained segmentor.

    Called like :class:`ImageClassificationInferencer` (without ``topk``), it returns for each image a dict of
    ``foreground`` (share of the pixels, 0 to 1), ``pred_mask`` ((H, W) uint8, 0 or 1) and ``pred_prob`` ((H, W)
    float32), both of the size of the image. With ``show_dir`` it writes ``<name>_mask.png`` (0 and 255) and
    ``<name>_overlay.png``, and names them as ``mask`` and ``overlay``.

    Raises:
        ConfigError: If the validation pipeline changes the shape of an image by more than resizing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for step in self.pipeline.prepare.transforms:
            name = type(step).__name__
            if _MOVES.search(name):
                raise ConfigError(f'the validation pipeline has {name}, after which a mask does not fit the image; '
                                  'remove it (images of all sizes are accepted), or resize instead')

    def _describe(self, sample: DataSample, topk: int | None) -> dict[str, Any]:
        """Resize the prediction to the size of the image."""
        prob = sample.pred_prob.detach().cpu().float().numpy()
        mask = sample.pred_mask.detach().cpu().numpy()
        height, width = sample.metainfo.get('ori_shape', prob.shape)[:2]
        if prob.shape != (height, width):
            prob = cv2.resize(prob, (width, height), interpolation=cv2.INTER_LINEAR)
            mask = (prob > self.model.head.threshold).astype(np.uint8)
        return dict(foreground=float(mask.mean()), pred_mask=mask, pred_prob=prob)

    def _draw(self, image: np.ndarray, sample: DataSample, path: Path) -> dict[str, str]:
        mask = self._describe(sample, None)['pred_mask']
        path.parent.mkdir(parents=True, exist_ok=True)
        overlay = overlay_mask(image, mask)[..., ::-1]
        files = {name: path.with_name(f'{path.stem}_{name}.png') for name in ('mask', 'overlay')}
        for file, pixels in zip(files.values(), (mask * np.uint8(255), overlay)):
            file.write_bytes(cv2.imencode('.png', pixels)[1].tobytes())
        return {name: str(file) for name, file in files.items()}
