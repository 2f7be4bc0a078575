"""Memory is given back to the system, and little of it kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

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


# Threads that need memory at the same time; and a large block that has been freed, which would let the next into the heap.
_HEAPS = """
import ctypes, sys, threading
from binmon.core import memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.fopen.restype, libc.malloc_info.argtypes, libc.fclose.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
if sys.argv[1] == "little":
    assert memory.keep_little()
together = threading.Barrier(8)

def work():
    together.wait()
    block = libc.malloc(1_000)
    together.wait()
    libc.free(block)

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.free(libc.malloc(20_000_000))
large = libc.malloc(10_000_000)
file = libc.fopen(sys.argv[2].encode(), b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(binmon.core.memory._set is None, reason="only glibc can")
@pytest.mark.parametrize("how", ["little", "as usual"])
def test_few_heaps_and_no_large_block_in_them(tmp_path: Path, how: str) -> None:
    subprocess.run([sys.executable, "-c", _HEAPS, how, str(tmp_path / "told.xml")], timeout=60, check=True)
    told = ElementTree.parse(tmp_path / "told.xml").getroot()
    heaps = len(told.findall("heap"))
    mapped = max(int(total.get("size", 0)) for total in told.findall("total[@type='mmap']"))
    if how == "little":
        assert heaps <= 2
        assert mapped >= 10_000_000
    else:  # what it is that is overruled
        assert heaps > 2
        assert mapped < 10_000_000


def test_where_nothing_can_be_set_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binmon.core.memory, "_set", None)
    assert not binmon.core.memory.keep_little()
