"""Predictions drawn on images of a validation or a test."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ftcls.registry import HOOKS
from ftcls.structures import DataSample
from ftcls.utils import ConfigError
from ftcls.utils.arguments import check_arguments
from ftcls.utils.types import PositiveInt

__all__ = ['VisualizationHook']


@HOOKS.register_module()
class VisualizationHook(Hook):
    """Draw some images with the true and the predicted class, in each validation and in the test.

    The drawings go to the backends of the visualizer, ``vis_data/vis_image`` of the run. mmpretrain draws the channels
    in the order in which they were loaded; here the colors are those of the image.

    Args:
        enable: Whether to draw.
        interval: Draw the images number 0, ``interval``, 2 * ``interval`` … of the data that the main process has.
        show: Open a window with each of them.
        out_dir: Write them to this folder instead, as ``<name of the image>_<epoch>.png``.
        **kwargs: Further arguments of :meth:`.UniversalVisualizer.visualize_cls`, for example ``draw_score``.

    Raises:
        ConfigError: Before the first step, if the visualizer cannot draw classes.

    Example:
        >>> VisualizationHook(enable=True, interval=100, out_dir='drawn', draw_score=False).interval
        100
    """

    def __init__(self,
                 enable: bool = False,
                 interval: PositiveInt = 5000,
                 show: bool = False,
                 out_dir: str | None = None,
                 **kwargs: Any) -> None:
        from ftcls.visualization.visualizer import UniversalVisualizer
        check_arguments(UniversalVisualizer.visualize_cls, kwargs, 'VisualizationHook')
        self.enable, self.interval, self.out_dir = enable, interval, out_dir
        self._style = dict(kwargs, show=show)

    def before_run(self, runner: Runner) -> None:
        """Check that there is a visualizer of classes."""
        if self.enable and not hasattr(runner.visualizer, 'visualize_cls'):
            raise ConfigError(f'VisualizationHook: the visualizer {type(runner.visualizer).__name__} draws no classes; '
                              "set visualizer=dict(type='UniversalVisualizer', vis_backends=[…])")

    def after_val_iter(self,
                       runner: Runner,
                       batch_idx: int,
                       data_batch: Mapping[str, Any] | None = None,
                       outputs: Sequence[DataSample] | None = None) -> None:
        """Draw those images of a batch of the validation whose turn it is."""
        step = runner.epoch if isinstance(runner.train_loop, EpochBasedTrainLoop) else runner.iter
        self._draw(runner, runner.val_dataloader, batch_idx, data_batch, outputs, step)

    def after_test_iter(self,
                        runner: Runner,
                        batch_idx: int,
                        data_batch: Mapping[str, Any] | None = None,
                        outputs: Sequence[DataSample] | None = None) -> None:
        """Draw those images of a batch of the test whose turn it is."""
        self._draw(runner, runner.test_dataloader, batch_idx, data_batch, outputs, 0)

    def _draw(self, runner: Runner, loader: DataLoader, batch_idx: int, data_batch: Mapping[str, Any],
              outputs: Sequence[DataSample], step: int) -> None:
        first, inputs = batch_idx * (loader.batch_size or len(outputs)), data_batch['inputs']
        if inputs[0].ndim == 4:  # several views of each image
            inputs = inputs[0]
        for number in range(-first % self.interval, len(outputs), self.interval) if self.enable else ():
            image, sample = inputs[number], outputs[number]
            if image.shape[0] == 3 and sample.get('channel_order') in (None, 'bgr'):
                image = image.flip(0)
            name = Path(sample.get('img_path') or str(first + number)).name
            out_file = self.out_dir and f'{self.out_dir}/{name}_{step}.png'
            image = image.permute(1, 2, 0).cpu().numpy()
            runner.visualizer.visualize_cls(image, sample, out_file=out_file, name=name, step=step, **self._style)
