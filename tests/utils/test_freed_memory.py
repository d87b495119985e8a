"""Large buffers that are freed stay with the process; what is there already is no garbage."""
import gc
import json
import platform
import subprocess
import sys
import weakref

import pytest

from ftcls.utils.processes import frozen_garbage

# In a process of its own: the heap of one that has run for long may not be in one piece.
_CODE = """
import json, multiprocessing, pathlib, resource, torch
from ftcls.utils.processes import keep_freed_memory
keep_freed_memory()
faults = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
for _ in range(8):
    torch.ones(2**24)  # 64 MiB
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
pages = [int(pathlib.Path('/proc/self/statm').read_text().split()[1])]
worker = multiprocessing.get_context('fork').Process()
worker.start()
worker.join()
pages.append(int(pathlib.Path('/proc/self/statm').read_text().split()[1]))
print(json.dumps([resource.getpagesize(), pages, *faults]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_freed_pages_are_used_again_but_not_shared_with_workers() -> None:
    done = subprocess.run([sys.executable, '-c', _CODE], capture_output=True, text=True, check=True)
    size, (before, after), *faults = json.loads(done.stdout)
    assert faults[-1] - faults[-4] < 0.1 * 2**26 / size
    assert before - after > 0.9 * 2**26 / size


def test_the_outermost_of_nested_freezes_counts() -> None:
    with frozen_garbage():
        garbage = type('Garbage', (), {})()
        garbage.itself, known = garbage, weakref.ref(garbage)
        del garbage
        with frozen_garbage():
            pass
        assert gc.get_freeze_count() > 10_000 and known() is not None
        gc.collect()
        assert known() is None
    assert gc.get_freeze_count() == 0
