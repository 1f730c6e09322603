"""Screens for watching a run: silent, plain lines, or lines above a live progress bar.

Lines are printed as data: control characters are made visible, so that no line can control the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TextIO

from django.utils import timezone
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from runs import formatting
from runs.lines.records import Line
from runs.models import Run
from runs.serializers import facts_of, is_served
from runs.states import Level, Source, Status

_STYLES = {Level.DEBUG: "dim", Level.WARNING: "yellow", Level.ERROR: "red", Level.CRITICAL: "bold red"}


def line_text(line: Line) -> str:
    """Format a line as `12:00:01.123 warning  message  key=value`, with its source unless that is `ctx.log`."""
    pairs = (line.metadata or {}).items()
    metadata = "".join(f"  {key}={formatting.pretty(value, indent=None)}" for key, value in pairs)
    source = "" if line.source == Source.LOG else f"[{line.source}] "
    level = f"{formatting.level_name(line.level):<8}"
    return formatting.printable(f"{formatting.clock(line.time)} {level} {source}{line.message}{metadata}")


def status_text(run: Run) -> str:
    """Format the status of a run and its error: `Run 7 (digits): failed. Failed after 2 s.`"""
    sentence = formatting.status_sentence(facts_of(run, is_served=is_served(run)), timezone.now())
    error = formatting.error_beside(run.error, sentence)
    head = f"Run {run.pk} ({run.name or run.experiment}): {run.status}. {sentence}"
    return formatting.printable(f"{head}\n  {error}" if error else head)


def end_lines(run: Run) -> Iterator[str]:
    """Format the status of an ended run, and the traceback of the last attempt of a failed one."""
    yield status_text(run)
    attempt = run.attempts.order_by("-number").first()
    if run.status == Status.FAILED and attempt is not None:
        yield from (f"  {formatting.printable(line)}" for line in attempt.traceback.splitlines())


class Screen(Protocol):
    """Shows a run while it is watched; used as a context manager."""

    def __enter__(self) -> Screen: ...
    def __exit__(self, *exc_info: object) -> None: ...
    def show(self, run: Run, lines: Sequence[Line]) -> None: ...
    def pause(self) -> None:
        """Stop drawing until the next `show`."""


class Silence:
    """Shows nothing, for --json."""

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exc_info: object) -> None: ...
    def show(self, run: Run, lines: Sequence[Line]) -> None: ...
    def pause(self) -> None: ...


class Plain:
    """Prints each line, and a sentence when the status changes unless `lines_only`."""

    def __init__(self, stdout: Any, *, render: Callable[[Line], str] = line_text, lines_only: bool = False) -> None:
        self._stdout = stdout
        self._render = render
        self._lines_only = lines_only
        self._printed_status = ""

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exc_info: object) -> None: ...

    def show(self, run: Run, lines: Sequence[Line]) -> None:
        for line in lines:
            self._stdout.write(self._render(line))
        if run.status != self._printed_status and not run.is_final and not self._lines_only:
            self._printed_status = run.status
            self._stdout.write(status_text(run))
        self._stdout.flush()

    def pause(self) -> None: ...


class Terminal:
    """Prints lines above a progress bar."""

    def __init__(self, stdout: TextIO) -> None:
        self._console = Console(file=stdout, highlight=False, markup=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task("", total=None, words="")
        self._live = Live(self._progress, console=self._console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def show(self, run: Run, lines: Sequence[Line]) -> None:
        self._live.start()
        for line in lines:
            self._console.print(Text(line_text(line), style=_STYLES.get(Level(line.level), "")), soft_wrap=True)
        words = formatting.progress_words(run.progress_current, run.progress_total, run.progress_message)
        self._progress.update(
            self._task,
            description=f"run {run.pk} {'cancelling' if run.cancel_requested_at else run.status}",
            completed=run.progress_current or 0,
            total=run.progress_total,
            words=formatting.printable(words),
        )

    def pause(self) -> None:
        self._live.stop()
