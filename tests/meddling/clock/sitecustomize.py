"""Shift Python's wall clock by CLOCK_OFF_S seconds, in processes with this folder on PYTHONPATH.

It is imported by the interpreter before anything else. Monotonic clocks, and the clocks of servers, are left alone.
"""

from __future__ import annotations

import datetime
import os
import time

_real_datetime, _real_time, _real_time_ns = datetime.datetime, time.time, time.time_ns
_off_s = float(os.environ.get("CLOCK_OFF_S", "0"))


class _Meta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _real_datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _real_datetime)


class _ShiftedDatetime(_real_datetime, metaclass=_Meta):  # type: ignore[valid-type, misc]
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return _real_datetime.now(tz) + datetime.timedelta(seconds=_off_s)

    @classmethod
    def utcnow(cls) -> datetime.datetime:
        return _real_datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=_off_s)

    @classmethod
    def today(cls) -> datetime.datetime:
        return cls.now()


time.time = lambda: _real_time() + _off_s
time.time_ns = lambda: _real_time_ns() + int(_off_s * 1e9)
datetime.datetime = _ShiftedDatetime  # type: ignore[misc]
