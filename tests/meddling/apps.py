"""Break the app that the environment names.

MEDDLING_WATCH=1: the supervisor of each first attempt fails by a fault of its own after a second.
MEDDLING_STALL=file: once the file exists, the worker's consumer asks for no message any more, as after some outages;
then file.done is made.
MEDDLING_STARVE=file: once the file exists, one thread of the worker keeps the interpreter lock for STARVED_S, so that
no other thread of it does anything; then file.done is made.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from celery.signals import worker_ready
from django.apps import AppConfig

from tests.waiting import wait_until

STARVED_S = 14.0


class Meddling(AppConfig):
    name = "tests.meddling"

    def ready(self) -> None:
        if os.environ.get("MEDDLING_WATCH"):
            _break_the_watch_of_first_attempts()
        if stall := os.environ.get("MEDDLING_STALL"):
            worker_ready.connect(lambda sender, **_: _stall_once(Path(stall), sender), weak=False)
        if starve := os.environ.get("MEDDLING_STARVE"):
            worker_ready.connect(lambda **_: _starve_once(Path(starve)), weak=False)


def _break_the_watch_of_first_attempts() -> None:
    from runs.supervisor.watch import Watch  # Django is ready now

    turn = Watch.run_once

    def fail(self: Any) -> None:
        turn(self)
        if self._window.key.number == 1 and time.monotonic() - self._spawned_at > 1.0:
            raise RuntimeError("a fault of the supervisor's own")

    Watch.run_once = fail  # type: ignore[method-assign]


def _stall_once(file: Path, consumer: Any) -> None:
    def stall() -> None:
        consumer.task_consumer.cancel()
        file.with_suffix(".done").touch()

    def wait() -> None:
        wait_until(file.exists, timeout_s=3600, what=str(file))
        consumer.call_soon(stall)  # by the consumer's own thread: else its connection may break, and it hears again

    threading.Thread(target=wait, daemon=True).start()


def _starve_once(file: Path) -> None:
    def starve() -> None:
        wait_until(file.exists, timeout_s=3600, what=str(file))
        usual, until = sys.getswitchinterval(), time.monotonic() + STARVED_S
        sys.setswitchinterval(3600)
        while time.monotonic() < until:
            pass
        sys.setswitchinterval(usual)
        file.with_suffix(".done").touch()

    threading.Thread(target=starve, daemon=True).start()
