"""Freed memory that is kept: whether fresh pages are made for each large block or not."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# In a process of its own: what an allocator has learned stays.
SCRIPT = """
import resource
from mainbus.wire import heap

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    before = faults()
    for _ in range(10):
        blocks = [b"x" * (1 << 20) for _ in range(4)]
        del blocks
    return faults() - before

def pages():
    return (4 << 20) // resource.getpagesize()

heap.expect(8 << 20)
heap.expect(1000)
work()
print(work() < pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is about glibc's allocator")
def test_large_blocks_are_made_of_pages_that_were_freed() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
