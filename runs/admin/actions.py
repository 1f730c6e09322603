"""Cancel, retry, rerun and tag from the admin: one run from its page, many from the list.

`runs.services` records each in the audit log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator

from runs import services
from runs.exceptions import LaunchRefused, RunNotFinal, RunNotFound, TagsRefused
from runs.models import Run
from runs.states import Status

MANY = 1_000
"""Maximum number of runs of one action."""


@dataclass
class Outcome:
    """Result of an action."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def show(self, request: HttpRequest, run_id: int | None = None) -> None:
        """Show it as messages, with counts unless it is about a single run."""
        if self.counts:
            counted = (f"{count:,} {what}" for what, count in self.counts.items())
            text = ", ".join(self.counts if run_id else counted)
            messages.success(request, f"Run {run_id}: {text}." if run_id else f"{text[:1].upper()}{text[1:]}.")
        for problem in self.problems[:5]:
            messages.warning(request, Truncator(problem).chars(500))
        if len(self.problems) > 5:
            messages.warning(request, f"{len(self.problems) - 5:,} more were refused.")


def chosen(request: HttpRequest, queryset: QuerySet[Run]) -> list[int]:
    """Return the ids of the selected runs, oldest first. If there are more than MANY, a message says so."""
    ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: MANY + 1])
    if len(ids) > MANY:
        messages.warning(
            request, f"Only the {MANY:,} oldest selected runs were processed. Repeat the action for the others."
        )
    return ids[:MANY]


def permitted(request: HttpRequest, run_ids: Iterable[int], outcome: Outcome) -> list[int]:
    """Return the runs that the access rules let the user cancel or tag, and record a problem for each other one."""
    ids = list(run_ids)
    allowed = set(Run.objects.cancellable_by(request.user).filter(pk__in=ids).values_list("pk", flat=True))
    refused = "the access rules do not let you change this run"
    outcome.problems += [f"Run {run_id}: {refused}" for run_id in ids if run_id not in allowed]
    return [run_id for run_id in ids if run_id in allowed]


def cancel(request: HttpRequest, run_ids: Iterable[int]) -> Outcome:
    outcome = Outcome()
    for run_id in permitted(request, run_ids, outcome):
        try:
            status = services.cancel(run_id, by=request.user.get_username())
        except RunNotFound as error:
            outcome.problems.append(str(error))
            continue
        if status == Status.RUNNING:
            outcome.counts["cancelling"] += 1
        elif status == Status.CANCELLED:
            outcome.counts["cancelled"] += 1
        else:
            outcome.counts["had already finished"] += 1
            continue
    return outcome


def again(
    request: HttpRequest, run_ids: Iterable[int], verb: Callable[..., Run], word: str
) -> tuple[Outcome, list[Run]]:
    """Retry or rerun. Returns the result and the new runs. A refused run does not stop the others."""
    outcome, made = Outcome(), []
    for run_id in run_ids:
        try:
            made.append(verb(run_id, by=request.user, via="admin"))
        except (LaunchRefused, RunNotFinal, RunNotFound) as error:
            outcome.problems.append(f"Run {run_id}: {error}")
        else:
            outcome.counts[word] += 1
    return outcome, made


def inspect(request: HttpRequest, run_id: int, timeout_s: float) -> None:
    """Capture the stack trace of a run; a message says whether its worker answered."""
    inspection = services.inspect(run_id, timeout_s=timeout_s)
    if inspection is None:
        messages.warning(
            request, f"No stack trace of run {run_id}: it is not running, or its worker did not respond in time."
        )
    else:
        messages.success(request, f"Captured the stack trace of run {run_id}. See its newest attempt.")


def tag(request: HttpRequest, run_ids: Iterable[int], text: str) -> Outcome:
    """Add the tags in `text`, and remove those with a minus before them."""
    outcome = Outcome()
    words = [word.strip() for word in text.split(",") if word.strip().lstrip("-")]
    if not words:
        outcome.problems.append("Enter tags beside the action, separated by commas.")
        return outcome
    added, removed = [w for w in words if w[0] != "-"], [w[1:] for w in words if w[0] == "-"]
    for run_id in permitted(request, run_ids, outcome):
        try:
            is_changed = services.tag(run_id, add=added, remove=removed)
        except TagsRefused as error:
            outcome.problems.append(f"Run {run_id}: {error}")
            continue
        outcome.counts["tagged" if is_changed else "already had these tags"] += 1
    return outcome
