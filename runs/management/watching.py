"""Watching a run until its end, from a terminal or a pipe."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from runs import services
from runs.lines.reading import Follower
from runs.management.base import Exit, RunsCommand, exit_of, find_run
from runs.management.screens import Plain, Screen, Silence, Terminal
from runs.models import Run
from runs.states import Status

POLL_S = 0.25
"""How often a watched run is looked at. Its lines are stored every `flush_every_s`."""


class Left(Exception):
    """Whoever watched has left; the run goes on."""


class Watcher:
    """Shows a run's lines and progress until it is final and all its lines were shown. `run_once` is one look.

    `ask` is called at Ctrl-C and says whether to cancel the run; an interrupt in it, or False, leaves it running.
    """

    def __init__(self, run_id: int, screen: Screen, *, follower: Follower | None = None) -> None:
        self.run_id = run_id
        self._screen = screen
        self._follower = follower or Follower(run_id)
        self._wait = threading.Event()

    def run_once(self) -> tuple[Run, bool]:
        """Show what has come. Returns the run, and whether that was all there will be."""
        run = find_run(self.run_id)
        read = self._follower.read()
        self._screen.show(run, read.lines)
        if not read.complete and not read.lines:
            self._wait.wait(POLL_S)
        return run, read.complete

    def watch(self, ask: Callable[[], bool]) -> Run:
        """Returns the final run. Raises Left when told to leave it running."""
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
    """Watch a run for a command: with the screen that fits its stdout; the exit code tells how it ended."""
    screen = Silence() if silent else screen_for(command)
    try:
        with screen:
            run = Watcher(run_id, screen).watch(lambda: _ask(command, run_id))
    except Left:
        ways = f"`tail_run {run_id} --follow` shows it, `cancel_run {run_id}` ends it."
        command.stderr.write(f"\nRun {run_id} goes on. {ways}", style_func=str)
        return Exit.INTERRUPTED
    return exit_of(Status(run.status))


def screen_for(command: RunsCommand) -> Screen:
    """A live bar on a terminal, plain lines elsewhere."""
    return Terminal(sys.stdout) if command.stdout.isatty() else Plain(command.stdout)


def _ask(command: RunsCommand, run_id: int) -> bool:
    """Whether the run is to be cancelled; without a terminal to ask on it is left running."""
    if not sys.stdin.isatty():
        return False
    command.stderr.write(f"\nCancel run {run_id}? [y]es, or [N]o: leave it running ", style_func=str, ending="")
    command.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def whoami() -> str:
    """Who uses the shell, for `cancel_requested_by`."""
    import getpass  # reads the environment and the password database, needed here only

    try:
        return f"{getpass.getuser()} (shell)"
    except (OSError, KeyError):
        return "shell"
