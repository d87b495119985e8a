"""Large buffers that are freed stay with the process."""
import platform
import resource

import pytest
import torch

from ftcls.utils.processes import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_freed_pages_are_used_again() -> None:
    keep_freed_memory()
    faults = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
    for _ in range(8):
        torch.ones(2**24)  # 64 MiB
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    assert faults[-1] - faults[-4] < 0.1 * 2**26 / resource.getpagesize()
