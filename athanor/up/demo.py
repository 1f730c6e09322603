"""The first run of a fresh machine: launched once, its lines followed in the terminal until it ends."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from django.db import DatabaseError, connections

from runs import services
from runs.exceptions import RunsError
from runs.lines.reading import Follower, before
from runs.management.screens import Plain, Screen, Terminal, status_text
from runs.models import Run

EXPERIMENT = "digits"
VIA = "up"
POLL_S = 0.25
LINES_AGAIN = 5
SEEN_WHOLE = 2**63 - 1


class Demo(threading.Thread):
    """Launches and follows the demo beside the group. `end` makes it stop looking; the run itself is not touched."""

    def __init__(self, site: str, say: Callable[[str], None], farewell: str = "") -> None:
        super().__init__(name="demo", daemon=True)
        self._site, self._say, self._farewell = site, say, farewell
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
            self._say(f"The demo cannot be shown: {error}")
        finally:
            connections.close_all()

    def _begin(self) -> Run | None:
        """The run to follow: a new one, or the demo that an earlier `up` left unfinished."""
        earlier = Run.objects.filter(launched_via=VIA).order_by("-id").first()
        if earlier is None:
            run = services.launch(EXPERIMENT, name="Hand-written digits", tags=["demo"], via=VIA)
            self._say(f"Launched the experiment {EXPERIMENT}. Its page: {self._address(run)}\n")
            return run
        if earlier.is_final:
            self._say(f"The demo ran here before (not launched again): {self._address(earlier)}")
            return None
        self._say(f"The demo that was begun earlier goes on: {self._address(earlier)}\n")
        return earlier

    def _follow(self, run: Run) -> None:
        screen: Screen = Terminal(sys.stdout) if sys.stdout.isatty() else Plain(_Lines(self._say))
        with screen:
            complete = self._show_until_final(run, screen)
        if complete:
            run.refresh_from_db()
            closing = [
                "",
                status_text(run),
                f"Its page: {self._address(run)}",
                self._farewell,
                "Ctrl-C stops everything.",
            ]
            self._say("\n".join(line for line in closing if line or line is closing[0]))

    def _show_until_final(self, run: Run, screen: Screen) -> bool:
        """True when the run is final and all its lines were shown; False when it was told to stop looking."""
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
    """Attempt → line up to which a demo that goes on was shown by an earlier `up`; a few lines are shown again."""
    shown = before(run.pk, limit=LINES_AGAIN)
    if not shown:
        return {}
    return dict.fromkeys(range(1, shown[0].attempt), SEEN_WHOLE) | {shown[0].attempt: shown[0].seq - 1}


class _Lines:
    """What `Plain` writes on: each text is a line, printed at once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.write = say

    def flush(self) -> None:
        """Nothing is held back."""
