"""Shift Python's wall clock by the seconds in a file, which chaos writes while the process runs.

Monotonic clocks, and those of servers, are unchanged. The file is `$CHAOS_CLOCKS/<role>`; the role of a process is the
name of the file that it creates when it is ready.
"""

from __future__ import annotations

import datetime
import mmap
import os
import struct
import time
from datetime import datetime as _real_datetime
from pathlib import Path
from typing import Any

_real_time, _real_time_ns = time.time, time.time_ns
_seconds = struct.Struct("d")


class _Meta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _real_datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _real_datetime)


def _shift(shared: mmap.mmap) -> None:
    """Replace the wall clock's functions for all modules that are imported later."""

    def off() -> float:
        return float(_seconds.unpack_from(shared)[0])

    class ShiftedDatetime(_real_datetime, metaclass=_Meta):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return _real_datetime.now(tz) + datetime.timedelta(seconds=off())

        @classmethod
        def utcnow(cls) -> Any:
            return _real_datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=off())

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    time.time = lambda: _real_time() + off()
    time.time_ns = lambda: _real_time_ns() + int(off() * 1e9)
    datetime.datetime = ShiftedDatetime  # type: ignore[misc]


def install() -> None:
    """Shift the clock of this process if it has a role in a throwaway stack."""
    folder, ready = os.environ.get("CHAOS_CLOCKS"), os.environ.get("ATHANOR_READY_FILE")
    if not (folder and ready):
        return
    path = Path(folder) / Path(ready).name
    if not path.exists():
        path.write_bytes(_seconds.pack(0.0))
    with path.open("rb") as file:
        _shift(mmap.mmap(file.fileno(), _seconds.size, access=mmap.ACCESS_READ))
