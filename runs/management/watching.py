"""Watch a run until it ends, on a terminal or in a pipe."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from runs import audit, services
from runs.lines.reading import Follower
from runs.management.base import Exit, RunsCommand, exit_of, find_run
from runs.management.screens import Plain, Screen, Silence, Terminal
from runs.models import Run
from runs.states import Status

POLL_S = 0.25
"""Pause between two queries of a watched run."""


class Left(Exception):
    """The user stopped watching; the run continues."""


class Watcher:
    """Shows the log lines and the progress of a run until it is final and every line was shown.

    `ask` is called on Ctrl-C and returns whether to cancel the run. A second interrupt, or False, leaves it running.
    """

    def __init__(self, run_id: int, screen: Screen, *, follower: Follower | None = None) -> None:
        self.run_id = run_id
        self._screen = screen
        self._follower = follower or Follower(run_id)
        self._wait = threading.Event()

    def run_once(self) -> tuple[Run, bool]:
        """Show new lines. Returns the run, and whether it is final and complete."""
        run = find_run(self.run_id)
        read = self._follower.read()
        self._screen.show(run, read.lines)
        if not read.complete and not read.lines:
            self._wait.wait(POLL_S)
        return run, read.complete

    def watch(self, ask: Callable[[], bool]) -> Run:
        """Return the final run. Raises Left if the user leaves it running."""
        complete = False
        while not complete:
            try:
                run, complete = self.run_once()
            except KeyboardInterrupt:
                self._interrupted(ask)
        return run if run.is_final else find_run(self.run_id)

    def _interrupted(self, ask: Callable[[], bool]) -> None:
        self._screen.pause()
        try:
            wants_cancel = ask()
        except (KeyboardInterrupt, EOFError):
            wants_cancel = False
        if not wants_cancel:
            raise Left
        services.cancel(self.run_id, by=whoami())


def watch(command: RunsCommand, run_id: int, *, silent: bool = False) -> Exit:
    """Watch a run on the screen that fits the command's stdout. Returns the exit code for how the run ended."""
    screen = Silence() if silent else screen_for(command)
    try:
        with screen:
            run = Watcher(run_id, screen).watch(lambda: _ask(command, run_id))
    except Left:
        ways = f"Follow it with `tail_run {run_id} --follow`, cancel it with `cancel_run {run_id}`."
        command.stderr.write(f"\nRun {run_id} continues. {ways}", style_func=str)
        return Exit.INTERRUPTED
    return exit_of(Status(run.status))


def screen_for(command: RunsCommand) -> Screen:
    """Choose a live progress bar on a terminal, plain lines elsewhere."""
    return Terminal(sys.stdout) if command.stdout.isatty() else Plain(command.stdout)


def _ask(command: RunsCommand, run_id: int) -> bool:
    """Ask whether to cancel the run. Without a terminal the answer is no."""
    if not sys.stdin.isatty():
        return False
    command.stderr.write(f"\nCancel run {run_id}? [y/N] ", style_func=str, ending="")
    command.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def whoami() -> str:
    """Name the user of this shell, for `cancel_requested_by`."""
    return f"{audit.unix_user()} (shell)"
