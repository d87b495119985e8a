"""How a line of the log is put together."""
import re

from mmengine.runner import LogProcessor as MMEngineLogProcessor
from mmengine.runner import Runner

from ftcls.registry import LOG_PROCESSORS
from .hooks.record import lr_text

__all__ = ['LogProcessor']


@LOG_PROCESSORS.register_module()
class LogProcessor(MMEngineLogProcessor):
    """MMEngine's, with the range of the learning rates in training's lines, and the validation's own loss in its line.

    MMEngine shows the rate of the first parameter group only, so that a classifier's tenfold rate never shows. Here
    ``lr: 1.0000e-03..1.0000e-02`` are the lowest and the highest of the groups that are trained; what is written to
    ``scalars.json`` are MMEngine's numbers.

    MMEngine smooths whatever has ``loss`` in its name over the last ``window_size`` values, which for a validation are
    the earlier epochs' validations: the line of epoch 3 would show the mean of the losses of epochs 1 to 3.
    """

    def get_log_after_iter(self, runner: Runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        """Return the scalars and the line of an iteration."""
        scalars, line = super().get_log_after_iter(runner, batch_idx, mode)
        if mode == 'train':
            rates = f'lr: {lr_text(runner.optim_wrapper, self.num_digits)}'
            line = re.sub(r'(?:\bbase_lr: \S+ )?\blr: \S+', rates, line, count=1)
        return scalars, line

    def get_log_after_epoch(self,
                            runner: Runner,
                            batch: int,
                            mode: str,
                            with_non_scalar: bool = False) -> tuple[dict, str]:
        """Return the scalars and the line of a validation or test that has just ended."""
        window, self.window_size = self.window_size, 1
        try:
            return super().get_log_after_epoch(runner, batch, mode, with_non_scalar)
        finally:
            self.window_size = window
