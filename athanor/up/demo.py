"""Demo run of a new installation: launched once, with its lines shown in the terminal until it ends."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from django.db import DatabaseError, connections

from experiments import catalog
from runs import services
from runs.exceptions import RunsError
from runs.lines.reading import Follower, before
from runs.management.screens import Plain, Screen, Terminal, status_text
from runs.models import Run

EXPERIMENT = "digits"
VIA = "up"
POLL_S = 0.25
REPEATED_LINES = 5
ALL_LINES = 2**63 - 1


class Demo(threading.Thread):
    """Thread that launches the demo and shows its lines. `end` stops the thread; it does not affect the run."""

    def __init__(self, site: str, echo: Callable[[str], None], closing: str = "") -> None:
        super().__init__(name="demo", daemon=True)
        self._site, self._echo, self._closing = site, echo, closing
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()
        if self.is_alive():
            self.join(timeout=5)

    def run(self) -> None:
        try:
            if run := self._begin():
                self._follow(run)
        except (RunsError, DatabaseError, OSError) as error:
            self._echo(f"Cannot show the demo run: {error}")
        finally:
            connections.close_all()
            catalog.rest()  # `up` runs for days and needs no catalog any more

    def _begin(self) -> Run | None:
        """Return the run to follow: a new one, or the unfinished demo of an earlier `up`. None if the demo is final."""
        earlier = Run.objects.filter(launched_via=VIA).order_by("-id").first()
        if earlier is None:
            run = services.launch(EXPERIMENT, name="Handwritten digits", tags=["demo"], via=VIA)
            self._echo(f"Launched the demo experiment {EXPERIMENT}: {self._address(run)}\n")
            return run
        if earlier.is_final:
            self._echo(f"The demo has already run: {self._address(earlier)}")
            return None
        self._echo(f"Continuing the demo: {self._address(earlier)}\n")
        return earlier

    def _follow(self, run: Run) -> None:
        screen: Screen = Terminal(sys.stdout) if sys.stdout.isatty() else Plain(_Lines(self._echo))
        with screen:
            complete = self._show_until_final(run, screen)
        if complete:
            run.refresh_from_db()
            texts = [
                "",
                status_text(run),
                f"Run page: {self._address(run)}",
                self._closing,
                "Press Ctrl-C to stop everything.",
            ]
            self._echo("\n".join(line for line in texts if line or line is texts[0]))

    def _show_until_final(self, run: Run, screen: Screen) -> bool:
        """Return True when the run is final and all its lines were shown, False when `end` was called first."""
        follower = Follower(run.pk, seen=_all_but_the_last(run))
        while not self._ended.is_set():
            lines, complete = follower.read()
            run.refresh_from_db()
            screen.show(run, lines)
            if complete:
                return True
            if not lines:
                self._ended.wait(POLL_S)
        return False

    def _address(self, run: Run) -> str:
        return f"{self._site}{run.get_absolute_url()}"


def _all_but_the_last(run: Run) -> dict[int, int]:
    """Map each attempt to the last line that an earlier `up` showed, less a few lines that are repeated for context."""
    shown = before(run.pk, limit=REPEATED_LINES)
    if not shown:
        return {}
    return dict.fromkeys(range(1, shown[0].attempt), ALL_LINES) | {shown[0].attempt: shown[0].seq - 1}


class _Lines:
    """Text stream for `Plain`: each text is a line and is printed at once."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self.write = echo

    def flush(self) -> None:
        """Do nothing: no text is buffered."""
