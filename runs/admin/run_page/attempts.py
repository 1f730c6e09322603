"""Attempts on a run's page: facts, steps, failure report and stack traces of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django_celery_results.models import TaskResult

from runs import formatting
from runs.admin.run_page.head import is_all_stored
from runs.lines import ranges
from runs.models import Attempt, Run
from runs.recovery import failure_report
from runs.serializers import missing_lines
from runs.states import AttemptEnd

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
"""Reason for which stack traces were captured → text on the page."""


@dataclass(frozen=True, slots=True)
class Step:
    """Step in the life of an attempt."""

    label: str
    at: datetime
    took: str
    """Time since the step before it."""


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
    """Failure report as JSON."""
    report_sentences: list[str]
    last_lines: list[str]
    stacks: str
    inspection: InspectionView | None


def attempt_views(run: Run, attempts: Sequence[Attempt]) -> list[AttemptView]:
    """List the attempts, newest first, with one query for the Celery tasks of all of them."""
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
        report_sentences=[*map(formatting.printable, failure_report.sentences(attempt.certificate or {}))],
        last_lines=[
            formatting.printable(f"{formatting.clock(line['time'])} {line['message']}")
            for line in (attempt.certificate or {}).get("last_lines", [])
        ],
        stacks=formatting.printable((attempt.certificate or {}).get("stacks", "")),
        inspection=inspection_view(attempt),
    )


def inspection_view(attempt: Attempt) -> InspectionView | None:
    """Show the newest stack traces that were captured."""
    inspection = attempt.inspection
    if not inspection:
        return None
    why = str(inspection.get("why", ""))
    return InspectionView(
        at=formatting.printable(local_time(str(inspection.get("at", "")))),
        why=formatting.printable(CAPTURE_REASONS.get(why, why)),
        stacks=formatting.printable(inspection.get("stacks", "")) or "The process did not answer in time.",
        processes=[formatting.printable(line) for line in failure_report.processes(inspection.get("processes", []))],
    )


def local_time(iso: str) -> str:
    """Format an ISO time in the server's time zone. Text that is not a time is returned as it is."""
    try:
        return formatting.date_time(datetime.fromisoformat(iso))
    except (ValueError, OverflowError):
        return iso


def stored_lines(attempt: Attempt) -> str:
    """Format the number of stored lines, and the gaps."""
    count = formatting.completeness(
        ranges.count(attempt.lines_stored), attempt.lines_emitted, is_final=attempt.finished_at is not None
    )
    return "; ".join(part for part in (count, formatting.missing(missing_lines(attempt))) if part)


def attempt_facts(attempt: Attempt) -> list[tuple[str, str]]:
    worker = attempt.worker
    facts = [
        ("Worker", f"{worker.name} (pid {worker.pid})" if worker else ""),
        ("Process", str(attempt.child_pid or "")),
        ("Start", formatting.start(attempt.restored) if attempt.started_at or attempt.restored else ""),
        ("Process start", str(attempt.provenance.get("start", ""))),
        ("Exit status", exit_status(attempt)),
        ("Signal", formatting.signal_name(attempt.signal)),
        ("Ended by", attempt.ended_by),
        ("Peak memory", formatting.size(attempt.peak_memory_bytes) if attempt.peak_memory_bytes is not None else ""),
        ("CPU time", formatting.duration(attempt.cpu_seconds) if attempt.cpu_seconds is not None else ""),
    ]
    return [(name, formatting.printable(value)) for name, value in facts if value]


def exit_status(attempt: Attempt) -> str:
    """Format the exit status. Empty for a status of 0 of an attempt that did not complete, where it would mislead."""
    if attempt.exit_status is None or (attempt.exit_status == 0 and attempt.end != AttemptEnd.COMPLETED):
        return ""
    return str(attempt.exit_status)


def steps(run: Run, attempt: Attempt) -> list[Step]:
    """List the steps of the attempt in order, each with the time since the one before."""
    cancel_at = run.cancel_requested_at
    during = (
        cancel_at and cancel_at >= attempt.claimed_at and not (attempt.finished_at and cancel_at > attempt.finished_at)
    )
    moments = [
        ("Launched", run.created_at if attempt.number == 1 else None),
        ("Claimed by the worker", attempt.claimed_at),
        ("Experiment started", attempt.started_at),
        ("Cancel requested", cancel_at if during else None),
        ("Cancel received by the experiment", attempt.cancel_seen_at),
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
