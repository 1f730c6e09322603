"""The interrupt: SIGUSR1 raises RunCancelled in the main thread, in the middle of whatever the experiment does.

Only while `run` executes, so that nothing of ours is ever interrupted; again at each signal, should the experiment
swallow one. An `async` run has its main task cancelled instead, unless that task is the one executing.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any

from experiments.exceptions import RunCancelled
from runs.control import Control


class Interrupts:
    """One per child; used in the main thread."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._is_running = False
        self._task: asyncio.Task[Any] | None = None
        self.happened = False

    def install(self) -> None:
        signal.signal(signal.SIGUSR1, self._interrupt)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """The block may be interrupted. An interrupt that came before it is raised at its start."""
        self._is_running = True
        try:
            if self._control.cancelled and self.happened:
                raise RunCancelled("The run was cancelled before it began.")
            yield
        finally:
            self._is_running = False

    def end(self) -> None:
        """From now on nothing is interrupted, also if an interrupt came just at the end of the block."""
        self._is_running = False

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
            if self.happened:
                raise RunCancelled("The run was interrupted.") from error
            raise

    def _interrupt(self, *_: Any) -> None:
        self.happened = True
        self._control.set_cancelled()
        if not self._is_running:
            return
        task = self._task
        if task is not None:
            loop = task.get_loop()
            if asyncio.current_task(loop) is not task:
                loop.call_soon_threadsafe(task.cancel)
                return
        raise RunCancelled("The run was interrupted.")
