"""State of a process that a fork would share or lose: threads, descriptors, devices, shared memory, processes, signals.

The import of an experiment may change it. Then no run can be forked from the process that imported it. For Linux.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.signal_names import signal_name
from runs.child.remains import counted

THREADS_END_S = 1.0
"""Longest wait for the end of threads that a fork ends."""

_SELF = Path("/proc/self")
_DEVICES = ("/dev/nvidia", "/dev/dri/", "/dev/kfd", "/dev/accel", "/dev/davinci")
_HARMLESS = frozenset({"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """State of this process at one moment."""

    descriptors: dict[int, str]
    """Descriptor → target."""
    shared: frozenset[str]
    """Memory that stays shared after a fork, and mapped devices."""
    handlers: dict[int, Any]
    """Signal → handler."""
    finalizers: frozenset[Any]
    """Objects with a cleanup at the end of the process."""

    @classmethod
    def now(cls) -> Surroundings:
        handlers = {int(number): signal.getsignal(number) for number in signal.valid_signals()}
        registry: dict[Any, Any] = weakref.finalize._registry  # type: ignore[attr-defined]  # no public name
        return cls(_descriptors(), frozenset(_shared()), handlers, frozenset(registry))

    def problem_since(self) -> str:
        """Return why this process is no longer fit to be forked, as the end of a sentence. Empty if it is fit."""
        now = Surroundings.now()
        return (
            self._opened(now)
            or self._mapped(now)
            or _processes()
            or _threads()
            or self._handled(now)
            or self._finalized(now)
        )

    def _opened(self, now: Surroundings) -> str:
        targets = [target for fd, target in now.descriptors.items() if self.descriptors.get(fd) != target]
        opened = sorted(target for target in targets if target not in _HARMLESS)
        if devices := [target for target in opened if target.startswith(_DEVICES)]:
            return f"opened {counted('device', devices)}"
        return f"left {counted('file or socket', opened)} open" if opened else ""

    def _mapped(self, now: Surroundings) -> str:
        mapped = sorted(now.shared - self.shared)
        if devices := [target for target in mapped if target.startswith(_DEVICES)]:
            return f"opened {counted('device', devices)}"
        return f"mapped shared memory ({mapped[0] or 'anonymous'})" if mapped else ""

    def _handled(self, now: Surroundings) -> str:
        names = [signal_name(number) for number, handler in now.handlers.items() if self.handlers[number] != handler]
        if names:
            return f"installed a handler for {', '.join(names)}"
        return "started a timer" if any(signal.getitimer(signal.ITIMER_REAL)) else ""

    def _finalized(self, now: Surroundings) -> str:
        """Find a temporary folder: the first run that ends would remove it."""
        tempfile = sys.modules.get("tempfile")
        cleanup = getattr(getattr(tempfile, "TemporaryDirectory", None), "_cleanup", None)
        for finalizer in now.finalizers - self.finalizers:
            details = finalizer.peek()
            if details is not None and details[1] == cleanup:
                return "created a temporary folder"
        return ""


def _descriptors() -> dict[int, str]:
    targets = {}
    for name in os.listdir(_SELF / "fd"):  # noqa: PTH208  # names only
        with suppress(OSError):  # the descriptor of the listing itself
            targets[int(name)] = str((_SELF / "fd" / name).readlink())
    return targets


def _shared() -> Iterator[str]:
    for line in (_SELF / "maps").read_text(errors="replace").splitlines():
        span, rights, _, _, _, *path = line.split(maxsplit=5)
        target = path[0] if path else ""
        if rights.startswith("rw") and rights.endswith("s"):
            yield target or f"anonymous {span}"
        elif target.startswith(_DEVICES):
            yield target


def _processes() -> str:
    children = [pid for task in (_SELF / "task").iterdir() for pid in (task / "children").read_text().split()]
    return f"started {counted('process', children)}" if children else ""


def _threads() -> str:
    """Find threads. Those of OpenBLAS do not count: it ends them before each fork, and starts them again on use."""
    own = threading.main_thread()
    if names := [thread.name for thread in threading.enumerate() if thread is not own]:
        return f"started {counted('thread', names)}"
    if _count_threads() == 1:
        return ""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + THREADS_END_S
    while (count := _count_threads()) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)  # a joined thread is listed for a moment longer
    return f"started {count - 1} thread{'s' * (count > 2)} of a library" if count > 1 else ""


def _count_threads() -> int:
    return len(os.listdir(_SELF / "task"))  # noqa: PTH208  # names only
