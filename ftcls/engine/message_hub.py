"""Where the values that are logged are kept."""
import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub

__all__ = ['LightMessageHub']


class LightMessageHub(MessageHub):
    """MMEngine's, which adds a value to a history in constant time, and one on a GPU when the history is read.

    MMEngine (0.10.7) copies the whole history for each value, and waits for the GPU to compute it.
    """

    @classmethod
    def of(cls, hub: MessageHub) -> 'LightMessageHub':
        """Turn a hub into a light one, in place: MMEngine finds the current hub by its own class."""
        hub.__class__, hub._waiting = cls, {}
        return hub

    def update_scalar(self, key: str, value: float | torch.Tensor, count: int = 1, resumed: bool = True) -> None:
        """Add a value to the history of ``key``."""
        history = self._log_scalars.get(key)
        if isinstance(value, torch.Tensor) and value.device.type != 'cpu' and count == 1 and resumed:
            self._waiting.setdefault(key, []).append(value.detach())
        elif history is None:
            super().update_scalar(key, value, count, resumed)
        else:
            history._log_history = _appended(history._log_history, self._get_valid_value(value))
            history._count_history = _appended(history._count_history, count)

    def get_scalar(self, key: str) -> HistoryBuffer:
        """Return the history of ``key``."""
        for value in self._waiting.pop(key, ()):
            self.update_scalar(key, value.item())
        return self._log_scalars[key]

    @property
    def log_scalars(self) -> dict[str, HistoryBuffer]:
        """All histories by key."""
        for key in list(self._waiting):
            self.get_scalar(key)
        return self._log_scalars

    def state_dict(self) -> dict:
        """Return what a checkpoint keeps."""
        self.log_scalars  # noqa: B018
        return super().state_dict()


def _appended(values: np.ndarray, value: float) -> np.ndarray:
    """Return values with one more, in a larger array that has room for the next ones."""
    kind, count, room = np.result_type(values, value), len(values), values.base
    if room is None or len(room) == count or room.dtype != kind:
        room = np.empty(count + max(count, 64), kind)
        room[:count] = values
    room[count] = value
    return room[:count + 1]
