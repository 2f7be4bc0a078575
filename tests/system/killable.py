"""``binmon run`` in a process that takes orders on standard input: each line is the name of a thread in which an exception
is raised from outside, wherever it is just then. ``python killable.py -c config.yaml``.

The product knows nothing of this. The exception comes by ``PyThreadState_SetAsyncExc``, which raises it between two steps
of the interpreter. In a few places of the standard library no exception can ever come by itself, and one from outside would
leave a lock taken for good (between taking a condition's lock and the block that gives it back, say): there it waits for
the thread to go on. A wait for a condition, a socket, the disk is not among them.
"""

from __future__ import annotations

import ctypes
import linecache
import sys
import threading
import time
from types import FrameType

from binmon.cli.main import main

_AGAIN_S = 5.0  # one that the thread took for something else and lived on
_SWITCH_S = 0.05
# files of the standard library in which a lock may be held that nobody would give back
_LOCKING = ("threading.py", "queue.py", "contextlib.py", "logging/__init__.py", "weakref.py", "_weakrefset.py")
_WAITS = "waiter.acquire("


class Killed(Exception):
    """Came from outside."""


def may_be_hit(frame: FrameType | None) -> bool:
    """Whether an exception of the thread's own might come where it is now."""
    if frame is None:
        return False
    name = frame.f_code.co_filename
    if name.endswith("/threading.py") and frame.f_code.co_name == "wait":
        return _WAITS in linecache.getline(name, frame.f_lineno)
    return not name.endswith(_LOCKING)


def kill(name: str) -> None:
    """Raise Killed in the thread called ``name``, until it has ended."""
    thread = next((one for one in threading.enumerate() if one.name == name), None)
    if thread is None or thread.ident is None:
        return
    next_s = 0.0
    while thread.is_alive():
        if time.monotonic() < next_s:
            time.sleep(0.001)
            continue
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)  # so that nothing happens between the look and the blow
        time.sleep(0.002)
        if may_be_hit(sys._current_frames().get(thread.ident)):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Killed))
            next_s = time.monotonic() + _AGAIN_S
        sys.setswitchinterval(interval_s)


def obey() -> None:
    """Take names until standard input ends."""
    for line in sys.stdin:
        kill(line.strip())


if __name__ == "__main__":
    threading.Thread(target=obey, name="killer", daemon=True).start()
    sys.exit(main(["run", *sys.argv[1:], "--log-format", "json"]))
