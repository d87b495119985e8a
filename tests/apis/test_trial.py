"""What is tried before the first step leaves the process as it was, whatever goes wrong."""
import threading
from pathlib import Path

import pytest
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer

from ftcls.apis.trial import config_errors
from ftcls.utils import ConfigError


def test_other_threads_go_on_after_an_error(tmp_path: Path) -> None:
    """MMEngine keeps its lock where the constructor of a visualizer raises; a server logs from other threads."""
    twice = [dict(type='LocalVisBackend')] * 2
    with pytest.raises(ConfigError, match='visualizer: .*LocalVisBackend'), config_errors('visualizer'):
        Visualizer.get_instance('twice', vis_backends=twice, save_dir=str(tmp_path))
    thread = threading.Thread(target=MMLogger.get_current_instance, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
