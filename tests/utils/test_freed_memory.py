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
    new = [after - before for before, after in zip(faults, faults[1:])]
    # in most rounds: what else the process allocates may take a part of the buffer
    assert sorted(new)[3] < 0.1 * 2**26 / resource.getpagesize()
