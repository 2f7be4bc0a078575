"""Memory is given back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

import binmon.core.memory

# small blocks, of which the newest stays: the C library cannot give any back by itself
_SCRIPT = """
import ctypes
from binmon.core import memory

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(60_000) for _ in range(1_000)]
for block in blocks:
    ctypes.memset(block, 1, 60_000)
for block in blocks[:-1]:
    libc.free(block)
before = resident()
memory.give_back()
print(before - resident())
"""


@pytest.mark.skipif(binmon.core.memory._trim is None, reason="only glibc can")
def test_what_is_free_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) > 40_000  # KiB


def test_where_the_library_cannot_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binmon.core.memory, "_trim", None)
    binmon.core.memory.give_back()
