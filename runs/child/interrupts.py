"""Interrupts: SIGUSR1 raises RunCancelled in the main thread, wherever the experiment is.

It is raised only while `run` executes, so that code of Athanor is never interrupted, and again at each signal, in case
the experiment swallows one. In an `async` run, the main task is cancelled instead, unless it is executing.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, TypeVar

from experiments.exceptions import RunCancelled
from runs.child.control import Control

T = TypeVar("T")


class Interrupts:
    """Interrupts of a child, which has one of these. For the main thread."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._task: asyncio.Task[Any] | None = None
        self.count = 0
        """Number of interrupts so far."""

    def install(self) -> None:
        signal.signal(signal.SIGUSR1, self._interrupt)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function that may be interrupted. An earlier interrupt is raised at once.

        Interrupts are raised only while this frame is on the stack, so none can interrupt code of Athanor just
        before or after it.
        """
        if self.count:
            raise RunCancelled("The run was cancelled before it started.")
        return function()

    def run_async(self, awaitable: Awaitable[Any]) -> Any:
        """Run an `async` experiment to its end. A cancelled main task becomes RunCancelled."""

        async def main() -> Any:
            self._task = asyncio.current_task()
            try:
                return await awaitable
            finally:
                self._task = None

        try:
            return asyncio.run(main())
        except asyncio.CancelledError as error:
            if self.count:
                raise RunCancelled("The run was interrupted.") from error
            raise

    def _interrupt(self, _: int, frame: FrameType | None) -> None:
        self.count += 1
        self._control.set_cancelled()
        if not self._is_called_from(frame):
            return
        if (task := self._task) is not None:
            loop = task.get_loop()
            if asyncio.current_task(loop) is not task:
                loop.call_soon_threadsafe(task.cancel)
                return
        raise RunCancelled("The run was interrupted.")

    def _is_called_from(self, frame: FrameType | None) -> bool:
        """Return True if `call` is this frame or one above it."""
        call = Interrupts.call.__code__
        while frame is not None and frame.f_code is not call:
            frame = frame.f_back
        return frame is not None
