"""Content of a run's page, read from the database. Reads only."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django_celery_results.models import TaskResult

from experiments.catalog import masked
from runs import formatting
from runs.admin.charts import Chart, chart
from runs.lines import curves, ranges
from runs.models import Artifact, Attempt, Run, Worker
from runs.recovery import failure_report
from runs.serializers import facts_of, lines_emitted, missing_lines
from runs.services import Whereis, whereis
from runs.states import AttemptEnd, Status

INLINE_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What a browser may show; anything else is downloaded."""
ARTIFACTS_MAX = 200
AGAIN = {
    "Retry": "New run with the same configuration and seed. Resumes from the last checkpoint.",
    "Rerun": "New run with the same configuration and seed. Starts from scratch.",
    "Reproduce": "Same as Rerun; the results are then compared with those of this run.",
}
CAPTURE_REASONS = {
    "asked": "on request",
    "stalled": "at the stall limit",
    "timeout": "at the time limit",
    "start_timeout": "at the start limit",
    "memory": "at the memory limit",
    "cancel": "during the cancel",
    "drain": "while the worker was stopping",
    "lease_lost": "when the lease was lost",
}
"""Reason for which stack traces were captured → words."""


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
    report: str
    """The failure report as JSON."""
    report_sentences: list[str]
    last_lines: list[str]
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
    sentence = formatting.status_sentence(facts_of(run, is_served=is_served(run)), now)
    fraction = formatting.fraction(run.progress_current, run.progress_total)
    emitted, stored = emitted_and_stored(attempts)
    start = attempts[-1].progress_start if attempts else None
    rate = formatting.rate(run.status, run.progress_current, start, run.progress_at or now)
    return Head(
        sentence=sentence,
        error=formatting.error_beside(run.error, sentence),
        fraction=fraction,
        width=f"{100 * (fraction or 0):.1f}",
        percent=formatting.percent(fraction),
        words=formatting.progress_words(run.progress_current, run.progress_total, run.progress_message),
        pace=formatting.pace(rate),
        remaining=formatting.time_left(rate, run.progress_current, run.progress_total),
        lines=formatting.completeness(stored, emitted, is_final=run.is_final),
        is_complete=emitted == stored,
        where=whereis(run.pk) if run.status == Status.RUNNING else None,
        can_cancel=not run.is_final and run.cancel_requested_at is None,
        cancelling=cancel_steps(run, attempts[-1] if attempts else None),
    )


@dataclass(frozen=True, slots=True)
class Again:
    """One way to launch a run again."""

    label: str
    explanation: str
    address: str
    is_link: bool = False
    """It leads to a form; the others launch at once."""


def ways_to_launch_again(run: Run) -> list[Again]:
    """The most likely one first."""
    ways = []
    if run.is_final:
        ways = [
            Again(label, explanation, reverse(f"admin:runs_run_{label.lower()}", args=[run.pk]))
            for label, explanation in AGAIN.items()
            if label != "Reproduce" or run.status == Status.COMPLETED
        ]
        ways.sort(key=lambda way: (way.label == "Retry") == (run.status == Status.COMPLETED))
    form = f"{reverse('admin:runs_run_launch')}?run={run.pk}"
    return [
        *ways,
        Again("Launch with changes", "Opens the launch form with the values of this run.", form, is_link=True),
    ]


def is_served(run: Run) -> bool:
    """False for a pending run of a queue that no live worker listens to."""
    return run.status != Status.PENDING or run.queue in Worker.objects.served_queues()


def emitted_and_stored(attempts: Sequence[Attempt]) -> tuple[int | None, int]:
    """Lines of all attempts; emitted is None while it is unknown for one of them."""
    emitted = [lines_emitted(attempt) for attempt in attempts]
    total = None if None in emitted else sum(count for count in emitted if count is not None)
    return total, sum(ranges.count(attempt.lines_stored) for attempt in attempts)


def is_all_stored(attempts: Sequence[Attempt]) -> bool:
    """False while lines that an attempt emitted are still on their way to the database."""
    return all(
        attempt.lines_emitted is None or ranges.count(attempt.lines_stored) >= attempt.lines_emitted
        for attempt in attempts
    )


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
        ended=attempt.get_end_display() if attempt.end else "Cancelling" if run.is_cancelling else "Running",
        kind=attempt.end or ("cancelling" if run.is_cancelling else "running"),
        facts=attempt_facts(attempt),
        steps=steps(run, attempt),
        lines=stored_lines(attempt),
        task=task,
        provenance=[(key.replace("_", " "), formatting.cell(value)) for key, value in provenance.items()],
        packages=sorted(
            (formatting.printable(str(name)), str(version))
            for name, version in attempt.provenance.get("packages", {}).items()
        ),
        report=formatting.pretty(attempt.certificate) if attempt.certificate else "",
        report_sentences=[
            formatting.printable(sentence) for sentence in failure_report.sentences(attempt.certificate or {})
        ],
        last_lines=[
            formatting.printable(f"{formatting.clock(line['time'])} {line['message']}")
            for line in (attempt.certificate or {}).get("last_lines", [])
        ],
        stacks=formatting.printable((attempt.certificate or {}).get("stacks", "")),
        inspection=inspection_view(attempt),
    )


def inspection_view(attempt: Attempt) -> InspectionView | None:
    """The newest stack traces that were captured."""
    kept = attempt.inspection
    if not kept:
        return None
    why = str(kept.get("why", ""))
    return InspectionView(
        at=formatting.printable(local_time(str(kept.get("at", "")))),
        why=formatting.printable(CAPTURE_REASONS.get(why, why)),
        stacks=formatting.printable(kept.get("stacks", "")) or "The process did not answer in time.",
        processes=[formatting.printable(line) for line in failure_report.processes(kept.get("processes", []))],
    )


def local_time(iso: str) -> str:
    """An ISO time in the server's time zone; the text itself where it is none."""
    try:
        return formatting.date_time(datetime.fromisoformat(iso))
    except (ValueError, OverflowError):
        return iso


def stored_lines(attempt: Attempt) -> str:
    """Number of stored lines, and the gaps."""
    counted = formatting.completeness(
        ranges.count(attempt.lines_stored), lines_emitted(attempt), is_final=attempt.finished_at is not None
    )
    return "; ".join(part for part in (counted, formatting.missing(missing_lines(attempt))) if part)


def attempt_facts(attempt: Attempt) -> list[tuple[str, str]]:
    worker = attempt.worker
    facts = [
        ("Worker", f"{worker.name} (pid {worker.pid})" if worker else ""),
        ("Process", str(attempt.child_pid or "")),
        ("Start", formatting.start(attempt.restored) if attempt.started_at or attempt.restored else ""),
        ("Exit status", exit_status(attempt)),
        ("Signal", formatting.signal_name(attempt.signal)),
        ("Ended by", attempt.ended_by),
        ("Peak memory", formatting.size(attempt.peak_memory_bytes) if attempt.peak_memory_bytes is not None else ""),
        ("CPU time", formatting.duration(attempt.cpu_seconds) if attempt.cpu_seconds is not None else ""),
    ]
    return [(name, formatting.printable(value)) for name, value in facts if value]


def exit_status(attempt: Attempt) -> str:
    """Empty where a status of 0 would say that a failed attempt succeeded: its process ended well, its run did not."""
    if attempt.exit_status is None or (attempt.exit_status == 0 and attempt.end != AttemptEnd.COMPLETED):
        return ""
    return str(attempt.exit_status)


def steps(run: Run, attempt: Attempt) -> list[Step]:
    """Every moment of the attempt in order, each with the time since the one before."""
    cancel_at = run.cancel_requested_at
    during = (
        cancel_at and cancel_at >= attempt.claimed_at and not (attempt.finished_at and cancel_at > attempt.finished_at)
    )
    moments = [
        ("Launched", run.created_at if attempt.number == 1 else None),
        ("Claimed by the worker", attempt.claimed_at),
        ("Experiment started", attempt.started_at),
        ("Cancel requested", cancel_at if during else None),
        ("Cancel seen by the experiment", attempt.cancel_seen_at),
        ("Interrupted", attempt.interrupted_at),
        ("SIGTERM", attempt.terminated_at),
        ("SIGKILL", attempt.killed_at),
        ("All processes exited", attempt.gone_at),
        ("Finished, logs saved" if is_all_stored([attempt]) else "Finished", attempt.finished_at),
    ]
    happened = sorted(((label, at) for label, at in moments if at is not None), key=lambda moment: moment[1])
    befores = [None, *(at for _, at in happened)]
    return [
        Step(label, at, f"+ {formatting.duration((at - before).total_seconds())}" if before else "")
        for (label, at), before in zip(happened, befores, strict=False)
    ]


def cancel_steps(run: Run, attempt: Attempt | None) -> list[CancelStep]:
    """Steps of a cancel in progress: those that happened, and when the others are due."""
    asked_at = run.cancel_requested_at
    if run.status != Status.RUNNING or asked_at is None or attempt is None:
        return []
    limits = run.effective_limits()
    interrupt_at = attempt.interrupted_at or asked_at + timedelta(seconds=limits.interrupt_after_s)
    terminate_at = attempt.terminated_at or interrupt_at + timedelta(seconds=limits.cancel_grace_s)
    kill_at = attempt.killed_at or terminate_at + timedelta(seconds=limits.kill_grace_s)
    return [
        CancelStep("Cancel requested", asked_at, happened=True),
        CancelStep("Interrupt", interrupt_at, attempt.interrupted_at is not None),
        CancelStep("SIGTERM", terminate_at, attempt.terminated_at is not None),
        CancelStep("SIGKILL to all processes", kill_at, attempt.killed_at is not None),
    ]


def command(run: Run, attempts: Sequence[Attempt]) -> str:
    """Command that reproduces the run from a shell."""
    provenance = attempts[-1].provenance if attempts else {}
    words = ["./manage.py launch_run", shlex.quote(run.experiment)]
    for key, value in masked(run.experiment, run.configuration).items():
        words.append(f"-c {shlex.quote(f'{key}={formatting.exact_json(value)}')}")
    lines = [" ".join([*words, f"--seed {run.seed}"])]
    if commit := provenance.get("git_commit"):
        lines.insert(
            0,
            f"git checkout {commit}" + ("  # plus uncommitted changes" * bool(provenance.get("git_dirty"))),
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
    """The same values as indented JSON."""
    notice: str
    """Which keys are not shown."""
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
        notice=curves.keys_notice(run.pk),
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
    """Properties of a run, without the empty ones."""
    by = run.launched_by.get_username() if run.launched_by else ""
    found = [
        ("Launched", formatting.date_time(run.created_at)),
        ("By", by),
        ("Via", run.launched_via),
        ("Waited", formatting.duration(formatting.between(run.created_at, run.started_at)) if run.started_at else ""),
        ("Ran", formatting.duration(formatting.between(run.started_at, run.finished_at)) if run.finished_at else ""),
        ("Attempts", str(run.attempt)),
        ("Queue", f"{run.queue}, priority {run.priority}"),
        ("Seed", str(run.seed)),
        ("Scheduled for", formatting.date_time(run.slot)),
        ("Tags", ", ".join(run.tags)),
    ]
    return [(name, formatting.printable(value)) for name, value in found if value]


def limits(run: Run) -> list[tuple[str, str]]:
    """The limits in force."""
    shown = run.effective_limits()
    steps = (
        f"interrupt after {shown.interrupt_after_s:g} s, SIGTERM {shown.cancel_grace_s:g} s later,"
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
