"""Helpers of the tests of recovery: short leases, and runs with evidence of who executed them."""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runs import services
from runs.lines.ranges import gaps
from runs.models import Attempt, Checkpoint, Run
from runs.states import ACTIVE, Source, Status
from tests.scripted.experiments_scripted import read_marks
from tests.stack import Process, Stack, messages
from tests.waiting import wait_until

_numbers = itertools.count(1)

LEASE_S = 4.0
SHORT = {
    "ATHANOR_RUNS_LEASE_S": f"{LEASE_S:g}",
    "ATHANOR_RUNS_HEARTBEAT_S": "0.5",
    "ATHANOR_RUNS_LEASE_MARGIN_S": "1.5",
    "ATHANOR_RUNS_RECONCILE_EVERY_S": "0.5",
    "ATHANOR_RUNS_DRAIN_S": "1",
}
"""Settings of the stack: what takes seconds in production takes less here."""
PATIENCE_S = 45.0
"""Longest wait for an effect: the machine may be busy."""


class Team:
    """Workers of one test, on a separate queue, with a system worker and a beat that many tests share."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.queue = f"q{next(_numbers)}"
        self._stack, self._folder = stack, folder
        self.workers: list[Process] = []

    def worker(self, *, slots: int = 4, **environ: str) -> Process:
        worker = self._stack.worker(f"{self.queue}-{len(self.workers)}", slots=slots, queues=self.queue, **environ)
        self.workers.append(worker)
        return worker

    def workers_at_once(self, number: int, **about: Any) -> list[Process]:
        with self._stack.at_once():
            return [self.worker(**about) for _ in range(number)]

    def launch(self, behaviour: str, **config: Any) -> Run:
        """A scripted run; `limits` and `retries` are the launch's, the rest is its configuration."""
        own = {name: config.pop(name) for name in ("limits", "retries") if name in config}
        return services.launch("scripted", configuration={"behaviour": behaviour, **config}, queue=self.queue, **own)

    def counting(self, *, count: int = 50, pause_s: float = 0.1, **config: Any) -> Run:
        """A run that counts to `count`, keeps each step in a checkpoint, and marks each in the file `marks(run)`."""
        append_to = str(self._folder / "marks-{run_id}")
        return self.launch("checkpoint", count=count, pause_s=pause_s, append_to=append_to, **config)

    def marks(self, run: Run) -> Path:
        return self._folder / f"marks-{run.pk}"

    def is_counted(self, run: Run, *, count: int = 50) -> bool:
        """Check that it completed with the result of an undisturbed run, and never ran twice at once."""
        assert (run.status, run.error) == (Status.COMPLETED, "")
        assert summary(run)["total"] == sum(range(count))
        assert overlaps(self.marks(run)) == []
        return True

    def disband(self) -> None:
        """End all its runs and workers."""
        for run in Run.objects.filter(queue=self.queue, status__in=ACTIVE):
            services.cancel(run.pk, by="the end of the test")
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                worker.send(signal.SIGCONT)
            worker.kill()
            self._stack.processes.remove(worker)


def under_way(run: Run, *, attempt: int = 1, steps: int = 3) -> Run:
    """Return the run once an attempt has taken some steps and saved the last checkpoint."""

    def kept() -> bool:
        checkpoint = Checkpoint.objects.filter(run=run, attempt=attempt).first()
        return checkpoint is not None and checkpoint.number >= steps

    wait_until(kept, timeout_s=PATIENCE_S, what=f"a checkpoint of attempt {attempt} of {run}")
    run.refresh_from_db()
    return run


def taken_over(run: Run, attempt: int = 2) -> Run:
    """Return the run once that attempt has a stored line."""
    wait_until(
        lambda: run.lines.filter(attempt=attempt).exists(), timeout_s=PATIENCE_S, what=f"attempt {attempt} of {run}"
    )
    run.refresh_from_db()
    return run


def has_said(run: Run, text: str, *, attempt: int | None = None, timeout_s: float = PATIENCE_S) -> Run:
    """Return the run once `text` is among its stored lines."""
    filters = {} if attempt is None else {"attempt": attempt}
    wait_until(
        lambda: text in messages(run, **filters), timeout_s=timeout_s, what=f"{text!r} of attempt {attempt} of {run}"
    )
    run.refresh_from_db()
    return run


def summary(run: Run) -> dict[str, Any]:
    """Return the experiment's summary."""
    assert isinstance(run.summary, dict)
    return run.summary


def attempts(run: Run) -> list[Attempt]:
    return list(run.attempts.select_related("worker").order_by("number"))


def ends(run: Run) -> list[str]:
    """Return the end of each attempt."""
    return [attempt.end for attempt in attempts(run)]


def overlaps(marks: Path) -> list[dict[str, Any]]:
    """Marks of executions that began while another of the same run was alive: there must be none."""
    return [mark for mark in read_marks(marks) if mark["mark"] == "overlap"]


def starts(marks: Path) -> list[int]:
    """Return the executed attempts, in order."""
    return [mark["attempt"] for mark in read_marks(marks) if mark["mark"] == "start"]


def own_lines(run: Run, attempt: int) -> list[str]:
    """Return the lines that the experiment logged in one attempt, in order."""
    return messages(run, source=Source.LOG, attempt=attempt)


def is_whole(attempt: Attempt) -> bool:
    """Every line that an attempt is known to have emitted is stored, once: the counts agree and no seq is missing."""
    stored = attempt.run.lines.filter(attempt=attempt.number)
    seqs = list(stored.order_by("seq").values_list("seq", flat=True))
    emitted = len(seqs) if attempt.lines_emitted is None else attempt.lines_emitted
    return seqs == list(range(1, emitted + 1)) and not gaps(attempt.lines_stored, emitted)


def alive(pids: Iterable[int | None]) -> list[int]:
    """Those of the pids that are still processes."""
    return [pid for pid in pids if pid is not None and Path(f"/proc/{pid}").exists() and not _is_zombie(pid)]


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True
