"""What a run's page shows, gathered from the rows and put into words. Reads only."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django_celery_results.models import TaskResult

from experiments.catalog import masked
from runs import formatting
from runs.admin.charts import Chart, chart
from runs.lines import curves, ranges
from runs.models import Artifact, Attempt, Run
from runs.recovery import failure_report
from runs.serializers import facts_of, lines_emitted, missing_lines
from runs.services import Whereis, whereis
from runs.states import Status

INLINE_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What a browser may show; anything else is downloaded."""
ARTIFACTS_MAX = 200
LEVELS = ("info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Step:
    """One moment of a timeline."""

    label: str
    at: datetime
    took: str
    """Since the step before it."""


@dataclass(frozen=True, slots=True)
class InspectionView:
    at: str
    why: str
    stacks: str
    processes: list[str]


@dataclass(frozen=True, slots=True)
class AttemptView:
    row: Attempt
    error: str
    traceback: str
    ended: str
    kind: str
    facts: list[tuple[str, str]]
    steps: list[Step]
    lines: str
    task: TaskResult | None
    provenance: list[tuple[str, str]]
    packages: list[tuple[str, str]]
    certificate: str
    known: list[str]
    """The certificate in words."""
    last_words: list[str]
    stacks: str
    inspection: InspectionView | None


@dataclass(frozen=True, slots=True)
class CancelStep:
    """One step on the way from a cancel request to its end."""

    label: str
    at: datetime
    """When it happened, or when it is due."""
    happened: bool


@dataclass(frozen=True, slots=True)
class Head:
    """Status, reason, progress."""

    sentence: str
    error: str
    fraction: float | None
    width: str
    """Of the bar, of 100."""
    percent: str
    words: str
    pace: str
    remaining: str
    lines: str
    is_complete: bool
    where: Whereis | None
    can_cancel: bool
    cancelling: list[CancelStep]


def head(run: Run, attempts: Sequence[Attempt]) -> Head:
    now = timezone.now()
    sentence = formatting.status_sentence(facts_of(run), now)
    fraction = formatting.fraction(run.progress_current, run.progress_total)
    emitted, stored = emitted_and_stored(attempts)
    return Head(
        sentence=sentence,
        error=formatting.error_beside(run.error, sentence),
        fraction=fraction,
        width=f"{100 * (fraction or 0):.1f}",
        percent=formatting.percent(fraction),
        words=formatting.progress_words(run.progress_current, run.progress_total, run.progress_message),
        pace=formatting.pace(run.status, run.progress_current, run.started_at, run.progress_at or now),
        remaining=formatting.remaining(run.status, fraction, run.started_at, run.progress_at or now),
        lines=formatting.completeness(stored, emitted),
        is_complete=emitted is not None and emitted == stored,
        where=whereis(run.pk) if run.status == Status.RUNNING else None,
        can_cancel=not run.is_final and run.cancel_requested_at is None,
        cancelling=cancel_steps(run, attempts[-1] if attempts else None),
    )


def emitted_and_stored(attempts: Sequence[Attempt]) -> tuple[int | None, int]:
    """Lines of all attempts; emitted is None while one of them has not said how many."""
    emitted = [lines_emitted(attempt) for attempt in attempts]
    known = None if None in emitted else sum(count for count in emitted if count is not None)
    return known, sum(ranges.count(attempt.lines_stored) for attempt in attempts)


def attempt_views(run: Run, attempts: Sequence[Attempt]) -> list[AttemptView]:
    """Newest first. One query for the tasks of all of them."""
    ids = [attempt.task_id for attempt in attempts if attempt.task_id]
    tasks = {
        task.task_id: task for task in TaskResult.objects.filter(task_id__in=ids).defer("result", "traceback", "meta")
    }
    return [attempt_view(run, attempt, tasks.get(attempt.task_id)) for attempt in reversed(attempts)]


def attempt_view(run: Run, attempt: Attempt, task: TaskResult | None) -> AttemptView:
    provenance = {key: value for key, value in attempt.provenance.items() if key != "packages"}
    return AttemptView(
        row=attempt,
        error=formatting.printable(attempt.error),
        traceback=formatting.printable(attempt.traceback),
        ended=attempt.get_end_display() if attempt.end else "Under way",
        kind=attempt.end or "running",
        facts=attempt_facts(attempt),
        steps=steps(run, attempt),
        lines=stored_lines(attempt),
        task=task,
        provenance=[(key.replace("_", " "), formatting.cell(value)) for key, value in provenance.items()],
        packages=sorted(
            (formatting.printable(str(name)), str(version))
            for name, version in attempt.provenance.get("packages", {}).items()
        ),
        certificate=formatting.pretty(attempt.certificate) if attempt.certificate else "",
        known=[formatting.printable(word) for word in failure_report.words(attempt.certificate or {})],
        last_words=[
            formatting.printable(f"{formatting.clock(line['time'])} {line['message']}")
            for line in (attempt.certificate or {}).get("last_lines", [])
        ],
        stacks=formatting.printable((attempt.certificate or {}).get("stacks", "")),
        inspection=inspection_view(attempt),
    )


def inspection_view(attempt: Attempt) -> InspectionView | None:
    """The answer to the last "where is it now?"."""
    kept = attempt.inspection
    if not kept:
        return None
    return InspectionView(
        at=str(kept.get("at", "")),
        why="it had been silent for long" if kept.get("why") == "stalled" else "somebody asked",
        stacks=formatting.printable(kept.get("stacks", "")) or "The process did not answer in time.",
        processes=[formatting.printable(line) for line in failure_report.processes(kept.get("processes", []))],
    )


def stored_lines(attempt: Attempt) -> str:
    """How many of its lines are stored, and which are not."""
    counted = formatting.completeness(ranges.count(attempt.lines_stored), lines_emitted(attempt))
    return "; ".join(part for part in (counted, formatting.missing(missing_lines(attempt))) if part)


def attempt_facts(attempt: Attempt) -> list[tuple[str, str]]:
    worker = attempt.worker
    facts = [
        ("Worker", f"{worker.name} (pid {worker.pid})" if worker else ""),
        ("Process", str(attempt.child_pid or "")),
        ("Start", formatting.start(attempt.restored) if attempt.started_at or attempt.restored else ""),
        ("Exit status", "" if attempt.exit_status is None else str(attempt.exit_status)),
        ("Signal", formatting.signal_name(attempt.signal)),
        ("Ended by", attempt.ended_by),
        ("Most memory", formatting.size(attempt.peak_memory_bytes) if attempt.peak_memory_bytes is not None else ""),
        ("CPU time", formatting.duration(attempt.cpu_seconds) if attempt.cpu_seconds is not None else ""),
    ]
    return [(name, formatting.printable(value)) for name, value in facts if value]


def steps(run: Run, attempt: Attempt) -> list[Step]:
    """Everything of the attempt that has a time, in order; the first is since the launch (or the attempt before)."""
    cancel_at = run.cancel_requested_at
    during = (
        cancel_at and cancel_at >= attempt.claimed_at and not (attempt.finished_at and cancel_at > attempt.finished_at)
    )
    moments = [
        ("Launched", run.created_at if attempt.number == 1 else None),
        ("Claimed by the worker", attempt.claimed_at),
        ("The experiment began", attempt.started_at),
        ("Cancel was asked for", cancel_at if during else None),
        ("The experiment saw it", attempt.cancel_seen_at),
        ("Interrupted", attempt.interrupted_at),
        ("SIGTERM", attempt.terminated_at),
        ("SIGKILL", attempt.killed_at),
        ("No process was left", attempt.gone_at),
        ("Ended, everything stored", attempt.finished_at),
    ]
    happened = sorted(((label, at) for label, at in moments if at is not None), key=lambda moment: moment[1])
    befores = [None, *(at for _, at in happened)]
    return [
        Step(label, at, f"+ {formatting.duration((at - before).total_seconds())}" if before else "")
        for (label, at), before in zip(happened, befores, strict=False)
    ]


def cancel_steps(run: Run, attempt: Attempt | None) -> list[CancelStep]:
    """Of a running run whose end is asked for: what was done, and what comes next and when."""
    asked_at = run.cancel_requested_at
    if run.status != Status.RUNNING or asked_at is None or attempt is None:
        return []
    limits = run.effective_limits()
    interrupt_at = attempt.interrupted_at or asked_at + timedelta(seconds=limits.interrupt_after_s)
    terminate_at = attempt.terminated_at or interrupt_at + timedelta(seconds=limits.cancel_grace_s)
    kill_at = attempt.killed_at or terminate_at + timedelta(seconds=limits.kill_grace_s)
    return [
        CancelStep("told", asked_at, happened=True),
        CancelStep("interrupted", interrupt_at, attempt.interrupted_at is not None),
        CancelStep("SIGTERM", terminate_at, attempt.terminated_at is not None),
        CancelStep("SIGKILL to all its processes", kill_at, attempt.killed_at is not None),
    ]


def command(run: Run, attempts: Sequence[Attempt]) -> str:
    """What does the same again from a shell."""
    provenance = attempts[-1].provenance if attempts else {}
    words = ["./manage.py launch_run", shlex.quote(run.experiment)]
    for key, value in masked(run.experiment, run.configuration).items():
        words.append(f"-c {shlex.quote(f'{key}={formatting.exact_json(value)}')}")
    lines = [" ".join([*words, f"--seed {run.seed}"])]
    if commit := provenance.get("git_commit"):
        lines.insert(
            0,
            f"git checkout {commit}" + ("  # and changes that were not committed" * bool(provenance.get("git_dirty"))),
        )
    return formatting.printable("\n".join(lines))


@dataclass(frozen=True, slots=True)
class ArtifactView:
    row: Artifact
    size: str
    is_image: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """Metrics, results, artifacts."""

    charts: list[Chart]
    values: list[tuple[str, str, str]]
    tree: str
    """The same values and the summary as indented JSON."""
    summary: list[tuple[str, str]]
    artifacts: list[ArtifactView]


def outcome(run: Run) -> Outcome:
    found, values = curves.read(run.pk)
    artifacts = run.artifacts.order_by("-attempt", "name")[:ARTIFACTS_MAX]
    return Outcome(
        charts=[chart(curve) for curve in found],
        values=[
            (
                formatting.printable(value.key),
                "" if value.step is None else str(value.step),
                formatting.cell(value.value),
            )
            for value in values
        ],
        tree=formatting.pretty({value.key: value.value for value in values}) if values else "",
        summary=summary(run.summary),
        artifacts=[
            ArtifactView(artifact, formatting.size(artifact.size_bytes), artifact.content_type in INLINE_IMAGES)
            for artifact in artifacts
        ],
    )


def outcome_token(run: Run, attempts: Sequence[Attempt]) -> str:
    """Changes whenever `outcome` may have: cheap to ask for on each look at the page."""
    stored = sum(ranges.count(attempt.results_stored) for attempt in attempts)
    return f"{stored}.{run.artifacts.count()}.{run.status}"


def summary(value: Any) -> list[tuple[str, str]]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [(formatting.printable(str(key)), formatting.cell(item)) for key, item in value.items()]
    return [("returned", formatting.cell(value))]


def configuration(run: Run) -> str:
    return formatting.pretty(masked(run.experiment, run.configuration))


def facts(run: Run) -> list[tuple[str, str]]:
    """The plain facts of a run, those that are empty left out."""
    by = run.launched_by.get_username() if run.launched_by else ""
    found = [
        ("Launched", f"{run.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("By", by),
        ("Via", run.launched_via),
        ("Waited", formatting.duration(formatting.between(run.created_at, run.started_at)) if run.started_at else ""),
        ("Ran", formatting.duration(formatting.between(run.started_at, run.finished_at)) if run.finished_at else ""),
        ("Attempts", str(run.attempt)),
        ("Queue", f"{run.queue}, priority {run.priority}"),
        ("Seed", str(run.seed)),
        ("For the slot", f"{run.slot:%Y-%m-%d %H:%M:%S} UTC" if run.slot else ""),
        ("Tags", ", ".join(run.tags)),
    ]
    return [(name, formatting.printable(value)) for name, value in found if value]


def limits(run: Run) -> list[tuple[str, str]]:
    """The limits in force."""
    shown = run.effective_limits()
    steps = (
        f"interrupted after {shown.interrupt_after_s:g} s, SIGTERM {shown.cancel_grace_s:g} s later,"
        f" SIGKILL {shown.kill_grace_s:g} s after that"
    )
    return [
        ("Time", formatting.duration(shown.timeout_s) if shown.timeout_s else "no limit"),
        ("Silence", formatting.duration(shown.stall_timeout_s) if shown.stall_timeout_s else "no limit"),
        ("Memory", _memory_limit(run, shown.memory_limit_bytes)),
        ("Cancel", steps),
    ]


def _memory_limit(run: Run, own: int | None) -> str:
    """The run's own limit, or the default that its newest attempt was given."""
    if own:
        return formatting.size(own)
    default = run.attempts.order_by("-number").values_list("memory_limit_bytes", flat=True).first()
    return f"{formatting.size(default)}, the default of its worker" if default else "no limit of its own"
