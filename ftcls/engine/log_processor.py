"""How a line of the log is put together."""
from mmengine.runner import LogProcessor as MMEngineLogProcessor
from mmengine.runner import Runner

from ftcls.registry import LOG_PROCESSORS

__all__ = ['LogProcessor']


@LOG_PROCESSORS.register_module()
class LogProcessor(MMEngineLogProcessor):
    """MMEngine's, with the validation's own loss in the validation's line.

    MMEngine smooths whatever has ``loss`` in its name over the last ``window_size`` values, which for a validation are
    the earlier epochs' validations: the line of epoch 3 would show the mean of the losses of epochs 1 to 3.
    """

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
