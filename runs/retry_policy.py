"""Retry policy: decide whether a run has another attempt after one ended, and when it starts.

Reads the database; `runs.transitions` writes. The rules themselves are `choose` and `runs.losses`, which are pure.
"""

from __future__ import annotations

import logging
import random
import sys
from dataclasses import dataclass, replace
from itertools import takewhile

from django.db.models.functions import Now

from experiments.retry import Retry
from runs.conf import runs_settings
from runs.losses import Caution, caution
from runs.models import Attempt, Run
from runs.outcomes import Outcome
from runs.states import AttemptEnd, AttemptKey, FailureKind, Status

logger = logging.getLogger(__name__)

LOSSES_READ = 16
"""Number of newest attempts that are checked for losses in a row."""


@dataclass(frozen=True, slots=True)
class NextStep:
    """Outcome to store for an attempt, and whether its run has another attempt."""

    outcome: Outcome
    again: bool
    pause_s: float = 0.0
    """Pause before the next attempt."""
    alone_s: float | None = None
    """Time that the next attempt has its worker to itself."""

    def with_caution(self, caution: Caution) -> NextStep:
        """Return this step with the restrictions on a run that was lost."""
        return replace(self, pause_s=max(self.pause_s, caution.pause_s), alone_s=caution.alone_s)


def next_step(run: Run, key: AttemptKey, outcome: Outcome) -> NextStep:
    """Choose the next step of `run` when its attempt ends with `outcome`."""
    outcome = _limit_postponements(key, outcome)
    cancel_by = None if run.cancel_requested_at is None else run.cancel_requested_by
    policy, before = _policy(run, outcome.failure_kind), _failures(run, key, outcome)
    step = choose(outcome, cancel_by, policy, before, chance=random.random())  # noqa: S311
    return step.with_caution(_caution(run, outcome)) if step.again else step


def choose(outcome: Outcome, cancel_by: str | None, policy: Retry, before: int, *, chance: float = 0.5) -> NextStep:
    """Choose the next step. `policy` is that of the failure kind, `before` the number of earlier failures of that kind.

    A run with a cancel request (`cancel_by` is not None) has no further attempt: if it was released or lost it is
    cancelled, and any other failure is final.
    """
    is_released = outcome.status == Status.PENDING
    if cancel_by is not None and (is_released or outcome.failure_kind == FailureKind.LOST):
        ended_by = f"Cancelled by {cancel_by}" if cancel_by else "Cancelled"
        return NextStep(replace(outcome, status=Status.CANCELLED, failure_kind=None, ended_by=ended_by), again=False)
    if is_released:
        return NextStep(outcome, again=True, pause_s=outcome.retry_after_s)
    if outcome.status == Status.FAILED and cancel_by is None and before < policy.times:
        return NextStep(outcome, again=True, pause_s=policy.pause_s(before + 1, chance))
    return NextStep(outcome, again=False)


def _limit_postponements(key: AttemptKey, outcome: Outcome) -> Outcome:
    """Return the outcome, or a failure if the experiment called `ctx.retry_later` too often.

    Releases for another reason, such as a drain, have `ended_by` set and do not count.
    """
    if outcome.status != Status.PENDING or outcome.ended_by:
        return outcome
    earlier = Attempt.objects.filter(run_id=key.run_id, number__lt=key.number, end=AttemptEnd.RELEASED, ended_by="")
    if (times := earlier.count()) < runs_settings().retry_later_max:
        return outcome
    error = f"Asked to be retried later more than {times:,} times (retry_later_max): {outcome.error}"
    return replace(outcome, status=Status.FAILED, failure_kind=FailureKind.ERROR, error=error)


def _policy(run: Run, kind: FailureKind | None) -> Retry:
    """Return the policy that was stored at launch. Ignore an invalid one: the run must be able to end."""
    stored = run.retries.get(kind.value) if kind is not None and isinstance(run.retries, dict) else None
    if isinstance(stored, dict):
        try:
            return Retry.model_validate({name: stored[name] for name in stored if name in Retry.model_fields})
        except ValueError as error:
            logger.warning("Run %s: ignoring its invalid retry policy for `%s`: %s", run.pk, kind, error)
    if kind == FailureKind.LOST and run.on_lost == "retry":
        return Retry(times=max(run.max_attempts - 1, 0))
    return Retry()


def _failures(run: Run, key: AttemptKey, outcome: Outcome) -> int:
    """Count the earlier attempts that failed with the same kind. Excused losses do not count, up to `lost_excused_max`
    of them; a further one ends the run.
    """
    if outcome.failure_kind is None:
        return 0
    earlier = Attempt.objects.filter(run=run, number__lt=key.number, failure_kind=outcome.failure_kind)
    if not outcome.excused:
        return earlier.filter(excused=False).count()
    return 0 if earlier.filter(excused=True).count() < runs_settings().lost_excused_max else sys.maxsize


def _caution(run: Run, outcome: Outcome) -> Caution:
    """Return the restrictions on the next attempt after losses in a row, this one included."""
    if outcome.failure_kind != FailureKind.LOST:
        return Caution()
    newest = Attempt.objects.filter(run=run).order_by("-number").annotate(now=Now())[:LOSSES_READ]
    lost = takewhile(lambda row: row.finished_at is None or row.end == AttemptEnd.LOST, newest)
    ends = ((row.claimed_at, row.finished_at or row.now) for row in lost)  # type: ignore[attr-defined]  # annotated above
    return caution([(end - claimed_at).total_seconds() for claimed_at, end in ends], runs_settings())
