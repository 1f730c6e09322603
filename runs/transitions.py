"""The only writer of a run's status. Each change is one guarded UPDATE; zero rows updated means that somebody else was
first.

After a crash between any two statements the database is as before the function or as after it: each is one transaction.
The clock is the database's. A function that returns False or None changed nothing, and its caller gives way.
"""

from __future__ import annotations

import logging
import random
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from itertools import takewhile
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Coalesce, Now

from experiments.retry import Retry
from runs.conf import runs_settings
from runs.lines.ranges import high_water
from runs.losses import Caution, caution
from runs.models import Attempt, Run, Worker
from runs.states import AttemptEnd, AttemptKey, FailureKind, Status

logger = logging.getLogger(__name__)

ENDED_BY_MAX_CHARS = 200
"""Of `Attempt.ended_by`. It holds the name of who asked for a cancel, and a few words."""
_claiming = threading.Lock()
"""Held by a worker process for each claim: whether a run shares the worker is decided by what the worker runs."""

LOSSES_READ = 16
"""Newest attempts that are looked at for losses in a row."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended, and the run if it has no other. `pending` is an attempt that was handed back."""

    status: Status
    failure_kind: FailureKind | None = None
    error: str = ""
    traceback: str = ""
    summary: Any = None
    ended_by: str = ""
    exit_status: int | None = None
    signal: int | None = None
    excused: bool = False
    """A loss that is not counted: other runs were lost with it, or it had not started."""

    @property
    def attempt_end(self) -> AttemptEnd:
        if self.failure_kind == FailureKind.LOST:
            return AttemptEnd.LOST
        return AttemptEnd.RELEASED if self.status == Status.PENDING else AttemptEnd(self.status.value)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an attempt at its end, besides how it ended: column → value of `Attempt`."""

    values: dict[str, Any] = field(default_factory=dict)


def from_now(seconds: float) -> Any:
    """That many seconds after the database's now (before it, if negative), as an expression."""
    return Now() + timedelta(seconds=seconds)


def claim(queues: Sequence[str], worker: Worker, *, lease_s: float, task_id: str = "") -> Attempt | None:
    """Claim the first due run of `queues` (priority, then age) for a new attempt; None if there is none.

    Safe to call from any number of workers at once: PostgreSQL skips rows that others are claiming, SQLite has one
    writer. A run that was lost repeatedly has the worker to itself, see `runs.losses`.
    """
    with _claiming, transaction.atomic():
        run = _first_due(queues, worker)
        if run is None:
            return None
        claimed = Run.objects.filter(pk=run.pk, status=Status.PENDING, attempt=run.attempt).update(
            status=Status.RUNNING,
            attempt=F("attempt") + 1,
            started_at=Coalesce("started_at", Now()),
            not_before=None,
            alone_s=None,
        )
        if not claimed:
            return None
        Attempt.objects.create(
            run_id=run.pk,
            number=run.attempt + 1,
            worker=worker,
            task_id=task_id,
            lease_expires_at=from_now(lease_s),
            alone_until=None if run.alone_s is None else from_now(run.alone_s),
        )
    return Attempt.objects.select_related("run").get(run_id=run.pk, number=run.attempt + 1)


def _first_due(queues: Sequence[str], worker: Worker) -> Run | None:
    open_attempts = Attempt.objects.filter(worker=worker, finished_at=None)
    if open_attempts.filter(alone_until__gt=Now()).exists():
        return None
    due = Run.objects.filter(status=Status.PENDING, queue__in=queues).filter(
        Q(not_before=None) | Q(not_before__lte=Now())
    )
    if open_attempts.exists():
        due = due.filter(Q(alone_s=None) | Q(not_before__lte=from_now(-runs_settings().lost_wait_s)))
    if connection.features.has_select_for_update_skip_locked:
        due = due.select_for_update(skip_locked=True)
    return due.order_by("-priority", "id").only("pk", "attempt", "alone_s").first()


@dataclass(frozen=True, slots=True)
class AttemptNews:
    """The state of an attempt that is still its worker's own."""

    cancel_requested_by: str | None
    """None: nobody asked to cancel the run."""
    inspection_asked: bool
    """Somebody wants to know where it is now."""
    lines_stored: int
    """All lines up to this seq are in the database."""
    results_stored: int


def news(worker: Worker, keys: Iterable[AttemptKey]) -> dict[AttemptKey, AttemptNews]:
    """Read the state of the attempts that a worker supervises. Changes nothing.

    An attempt that is missing from the answer has been taken over or ended: its child must be killed.
    """
    run_ids = {key.run_id for key in keys}
    if not run_ids:
        return {}
    rows = Attempt.objects.filter(worker=worker, finished_at=None, run_id__in=run_ids).values_list(
        "run_id",
        "number",
        "run__cancel_requested_at",
        "run__cancel_requested_by",
        "inspection_asked_at",
        "lines_stored",
        "results_stored",
    )
    return {
        AttemptKey(run_id, number): AttemptNews(
            None if cancel_at is None else by, inspection_at is not None, high_water(lines), high_water(results)
        )
        for run_id, number, cancel_at, by, inspection_at, lines, results in rows
    }


def mark(key: AttemptKey, **values: Any) -> bool:
    """Set columns of an attempt while it is open and the newest of its run. Times are given as `Now()` or by the
    caller.
    """
    return bool(
        Attempt.objects.filter(run_id=key.run_id, number=key.number, finished_at=None, run__attempt=key.number).update(
            **values
        )
    )


def is_open(key: AttemptKey) -> bool:
    """Whether an attempt is under way; within a transaction it stays what it is until the transaction's end."""
    held = Attempt.objects.filter(run_id=key.run_id, number=key.number, finished_at=None)
    return held.select_for_update(no_key=True).exists()


def finish(key: AttemptKey, ending: Ending, facts: Facts | None = None) -> bool:
    """End the run and its attempt. False, and nothing is changed, unless the run is still running this very attempt.

    A failed or completed run keeps its cancel request, if there was one, as a fact beside its true end.
    """
    with transaction.atomic():
        run_values: dict[str, Any] = {
            "status": ending.status,
            "failure_kind": ending.failure_kind or "",
            "error": ending.error,
            "summary": ending.summary,
            "finished_at": Now(),
        }
        if ending.status == Status.CANCELLED:
            run_values["cancel_requested_at"] = Coalesce("cancel_requested_at", Now())
        if not _running(key).update(**run_values):
            return False
        _close(key, ending, facts)
    return True


def release(
    key: AttemptKey,
    ending: Ending,
    facts: Facts | None = None,
    *,
    pause_s: float = 0.0,
    alone_s: float | None = None,
) -> bool:
    """Make a running run pending for its next attempt, which starts after `pause_s` at the earliest, and has its worker
    to itself for `alone_s`.

    False unless it is still running this very attempt. A run whose cancel was requested is not handed back: the caller
    finishes it as cancelled.
    """
    not_before = from_now(pause_s) if pause_s > 0 else None
    with transaction.atomic():
        released = (
            _running(key)
            .filter(cancel_requested_at=None)
            .update(status=Status.PENDING, not_before=not_before, alone_s=alone_s)
        )
        if not released:
            return False
        _close(key, ending, facts)
    return True


class Settled(StrEnum):
    """What became of a run whose attempt ended."""

    FINAL = "final"
    AGAIN = "again"
    """It is pending, for its next attempt."""
    SUPERSEDED = "superseded"
    """Nothing was changed: somebody else was first."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How an attempt is entered, and whether its run has another."""

    ending: Ending
    again: bool
    pause_s: float = 0.0
    """Before the next attempt."""
    alone_s: float | None = None
    """How long that has its worker to itself."""

    def with_caution(self, caution: Caution) -> Decision:
        """Return this decision with the restrictions on a run that was lost."""
        return replace(self, pause_s=max(self.pause_s, caution.pause_s), alone_s=caution.alone_s)


def settle(key: AttemptKey, ending: Ending, facts: Facts | None = None, *, after_s: float = 0.0) -> Settled:
    """End an attempt, and with it the run unless that has another: the one place where this is decided, see `decide`.

    `after_s` is the pause that a handed-back run asks for.
    """
    ending = _put_off_within_reason(key, ending)
    for _ in range(2):  # a cancel may be asked for between the look and the guarded update
        run = Run.objects.filter(pk=key.run_id).first()
        if run is None:
            return Settled.SUPERSEDED
        cancel_by = None if run.cancel_requested_at is None else run.cancel_requested_by
        policy, before = _policy(run, ending.failure_kind), _failures(run, key, ending)
        decision = decide(ending, cancel_by, policy, before, after_s=after_s, chance=random.random())  # noqa: S311
        if not decision.again:
            return Settled.FINAL if finish(key, decision.ending, facts) else Settled.SUPERSEDED
        decision = decision.with_caution(_caution(run, ending))
        if release(key, decision.ending, facts, pause_s=decision.pause_s, alone_s=decision.alone_s):
            return Settled.AGAIN
    return Settled.SUPERSEDED


def decide(
    ending: Ending, cancel_by: str | None, policy: Retry, before: int, *, after_s: float = 0.0, chance: float = 0.5
) -> Decision:
    """Pure. `policy` is that of the ending's failure kind, `before` how many earlier attempts failed that way.

    A run whose cancel was asked for (`cancel_by` is not None) has no further attempt: if it was handed back or lost it
    is cancelled, and any other failure is its end.
    """
    handed_back = ending.status == Status.PENDING
    if cancel_by is not None and (handed_back or ending.failure_kind == FailureKind.LOST):
        ended_by = f"Cancelled by {cancel_by}" if cancel_by else "Cancelled"
        return Decision(replace(ending, status=Status.CANCELLED, failure_kind=None, ended_by=ended_by), again=False)
    if handed_back:
        return Decision(ending, again=True, pause_s=after_s)
    if ending.status == Status.FAILED and cancel_by is None and before < policy.times:
        return Decision(ending, again=True, pause_s=policy.pause_s(before + 1, chance))
    return Decision(ending, again=False)


def _put_off_within_reason(key: AttemptKey, ending: Ending) -> Ending:
    """The ending, or an error where an experiment asks for another attempt for ever. One that was handed back for
    another's sake, as by a drain, says who ended it, and is not counted.
    """
    if ending.status != Status.PENDING or ending.ended_by:
        return ending
    earlier = Attempt.objects.filter(run_id=key.run_id, number__lt=key.number, end=AttemptEnd.RELEASED, ended_by="")
    if (times := earlier.count()) < runs_settings().retry_later_max:
        return ending
    why = f"It put itself off {times:,} times before, which is the most (retry_later_max): {ending.error}"
    return replace(ending, status=Status.FAILED, failure_kind=FailureKind.ERROR, error=why)


def _policy(run: Run, kind: FailureKind | None) -> Retry:
    """What was said of this kind at launch. What cannot be read, by whatever version or hand it was written, counts as
    unsaid: a run that could not be settled would be stuck for ever.
    """
    said = run.retries.get(kind.value) if kind is not None and isinstance(run.retries, dict) else None
    if isinstance(said, dict):
        try:
            return Retry.model_validate({name: said[name] for name in said if name in Retry.model_fields})
        except ValueError as error:
            logger.warning("Run %s: its retries after `%s` cannot be read: %s", run.pk, kind, error)
    if kind == FailureKind.LOST and run.on_lost == "retry":
        return Retry(times=max(run.max_attempts - 1, 0))
    return Retry()


def _failures(run: Run, key: AttemptKey, ending: Ending) -> int:
    """Earlier attempts that failed that way and count. A loss that is excused counts for none, and the one after
    `lost_excused_max` of them for all.
    """
    if ending.failure_kind is None:
        return 0
    earlier = Attempt.objects.filter(run=run, number__lt=key.number, failure_kind=ending.failure_kind)
    if not ending.excused:
        return earlier.filter(excused=False).count()
    return 0 if earlier.filter(excused=True).count() < runs_settings().lost_excused_max else sys.maxsize


def _caution(run: Run, ending: Ending) -> Caution:
    """Restrictions on the next attempt after the last ones, this one included, were lost in a row."""
    if ending.failure_kind != FailureKind.LOST:
        return Caution()
    newest = Attempt.objects.filter(run=run).order_by("-number").annotate(now=Now())[:LOSSES_READ]
    lost = takewhile(lambda row: row.finished_at is None or row.end == AttemptEnd.LOST, newest)
    return caution([((row.finished_at or row.now) - row.claimed_at).total_seconds() for row in lost], runs_settings())


def forsake(error: str) -> list[int]:
    """Fail as lost every running run of which no attempt is open; returns their ids. No transition leaves such a run
    behind: it comes from a restored backup, or from a hand in the database.
    """
    open_attempts = Attempt.objects.filter(run_id=OuterRef("pk"), finished_at=None)
    forsaken = Run.objects.filter(~Exists(open_attempts), status=Status.RUNNING)
    ending = {"status": Status.FAILED, "failure_kind": FailureKind.LOST, "error": error, "finished_at": Now()}
    return [run_id for run_id in forsaken.values_list("pk", flat=True) if forsaken.filter(pk=run_id).update(**ending)]


def request_cancel(run_id: int, *, by: str) -> Status | None:
    """Cancel a pending run at once, or ask for the cancel of a running one. Returns the status that the run then has.

    None if there is no such run. Asking again changes nothing.
    """
    asked = {"cancel_requested_at": Coalesce("cancel_requested_at", Now()), "cancel_requested_by": by}
    with transaction.atomic():
        if Run.objects.filter(pk=run_id, status=Status.PENDING).update(
            status=Status.CANCELLED, finished_at=Now(), **asked
        ):
            return Status.CANCELLED
        Run.objects.filter(pk=run_id, status=Status.RUNNING, cancel_requested_at=None).update(**asked)
    status = Run.objects.filter(pk=run_id).values_list("status", flat=True).first()
    return None if status is None else Status(status)


def request_inspection(run_id: int) -> AttemptKey | None:
    """Ask where a running run is now; the attempt that will answer, or None if the run is not executed now."""
    asked = Attempt.objects.filter(run_id=run_id, finished_at=None)
    asked.update(inspection_asked_at=Now())
    attempt = asked.only("run_id", "number").first()
    return attempt.key if attempt else None


def _running(key: AttemptKey) -> Any:
    return Run.objects.filter(pk=key.run_id, status=Status.RUNNING, attempt=key.number)


def _close(key: AttemptKey, ending: Ending, facts: Facts | None) -> None:
    closed = Attempt.objects.filter(run_id=key.run_id, number=key.number, finished_at=None).update(
        end=ending.attempt_end,
        finished_at=Now(),
        failure_kind=ending.failure_kind or "",
        error=ending.error,
        traceback=ending.traceback,
        ended_by=ending.ended_by[:ENDED_BY_MAX_CHARS],
        exit_status=ending.exit_status,
        signal=ending.signal,
        excused=ending.excused,
        **(facts.values if facts else {}),
    )
    if not closed:
        raise RuntimeError(f"Attempt {key} is closed although its run is still running it.")
