"""Invariants, checked after the faults. Each check reads database, journals and process table, and yields failures.

A SIGKILL of a worker may lose the lines of its attempt that Redis does not have yet: the pipe dies with its reader. So
an attempt that ended under supervision must have every line that its journal proves. A lost attempt must have its first
lines without gaps, at least up to the last seq that was sampled in Redis since a wipe. An acknowledged checkpoint is
never lost, and no result before it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from athanor.chaos import journal
from athanor.chaos.journal import Execution
from athanor.chaos.probe import METRIC, expected
from athanor.chaos.sampling import state_of
from athanor.chaos.stage import BY, Stage
from runs.folders import run_folder
from runs.forkserver import machine
from runs.forkserver.marks import ATTEMPT_MARK
from runs.lines import ranges as ranges_of
from runs.lines.buffer import Stream
from runs.models import Attempt, LogLine, Result, Run
from runs.states import AttemptKey, Source, Status


@dataclass(slots=True)
class Invariant:
    """One invariant, with its failures."""

    name: str
    text: str
    checked: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.broken


@dataclass(slots=True)
class Evidence:
    """All recorded data of one run."""

    run: Run
    attempts: list[Attempt]
    executions: dict[int, Execution]
    lines: dict[int, list[tuple[int, str, str]]]
    """Attempt → (seq, source, message) in the order of seq."""
    results: dict[int, list[tuple[int, int | None]]]
    """Attempt → (seq, step)."""


def evidence_of(run: Run) -> Evidence:
    lines: dict[int, list[tuple[int, str, str]]] = defaultdict(list)
    results: dict[int, list[tuple[int, int | None]]] = defaultdict(list)
    rows = LogLine.objects.filter(run=run).order_by("attempt", "seq")
    for attempt, seq, source, message in rows.values_list("attempt", "seq", "source", "message"):
        lines[attempt].append((seq, source, message))
    points = Result.objects.filter(run=run, key=METRIC).order_by("attempt", "seq")
    for attempt, seq, step in points.values_list("attempt", "seq", "step"):
        results[attempt].append((seq, step))
    folder = run_folder(run.pk) / "work"
    attempts = list(Attempt.objects.filter(run=run).order_by("number"))
    return Evidence(run, attempts, journal.read(folder), lines, results)


Check = Callable[[Evidence], Iterator[str]]


def ended(evidence: Evidence) -> Iterator[str]:
    if not evidence.run.is_final:
        yield f"it is {evidence.run.status} in attempt {evidence.run.attempt}"
    if open_ := [attempt.number for attempt in evidence.attempts if attempt.finished_at is None]:
        yield f"attempts {open_} are open"


def ended_rightly(evidence: Evidence) -> Iterator[str]:
    """Check that it did not fail, since another attempt recovers from any fault, and was cancelled on request only."""
    run = evidence.run
    if run.status == Status.FAILED:
        yield f"it failed ({run.failure_kind}): {run.error}"
    if run.status == Status.CANCELLED and run.schedule_id is None and run.cancel_requested_by != BY:
        yield f"it was cancelled, and {run.cancel_requested_by or 'nobody'} requested it"


def one_execution(evidence: Evidence) -> Iterator[str]:
    lived_until = float("-inf")
    for number, execution in sorted(evidence.executions.items()):
        if execution.overlaps:
            yield f"attempt {number} began while processes of another one were alive"
        if len(execution.begun_at) > 1:
            yield f"attempt {number} was executed {len(execution.begun_at)} times"
        if execution.begun_at and min(execution.begun_at) < lived_until:
            yield f"attempt {number} began while an earlier one was still writing"
        lived_until = max(lived_until, execution.last_at)
    if unknown := evidence.executions.keys() - {attempt.number for attempt in evidence.attempts}:
        yield f"attempts {sorted(unknown)} were executed but are not in the database"


def lines_in_order(evidence: Evidence) -> Iterator[str]:
    for number, lines in evidence.lines.items():
        yield from _gaps(f"the lines of attempt {number}", [seq for seq, _, _ in lines])
        own = [int(message.split()[1]) for _, source, message in lines if source == Source.LOG]
        yield from _gaps(f"the own lines of attempt {number}", own)
    for number, points in evidence.results.items():
        yield from _gaps(f"the results of attempt {number}", [seq for seq, _ in points])
        steps = [step for _, step in points]
        first = evidence.executions[number].restored if number in evidence.executions else 0
        if steps != list(range(first, first + len(steps))):
            yield f"the results of attempt {number} are of steps {steps[:20]}, from {first}"


def lines_complete(evidence: Evidence) -> Iterator[str]:
    """Check attempts that ended under supervision."""
    for attempt in evidence.attempts:
        if attempt.lines_emitted is None or attempt.results_emitted is None:
            continue
        number = attempt.number
        lines, points = evidence.lines.get(number, []), evidence.results.get(number, [])
        for what, stored, emitted in (
            ("lines", len(lines), attempt.lines_emitted),
            ("results", len(points), attempt.results_emitted),
        ):
            if stored != emitted:
                yield f"attempt {number}: {stored} of {emitted} {what} are stored"
        execution = evidence.executions.get(number)
        if execution is None:
            continue
        own = sum(source == Source.LOG for _, source, _ in lines)
        if not execution.lines_min <= own <= execution.lines_max:
            yield f"attempt {number} logged {execution.lines_min} to {execution.lines_max} lines, and {own} are stored"
        if not execution.results_min <= len(points) <= execution.results_max:
            expected_count = f"{execution.results_min} to {execution.results_max}"
            yield f"attempt {number} logged {expected_count} results, and {len(points)} are stored"


def ranges_true(evidence: Evidence) -> Iterator[str]:
    """Check that the lines and results that an attempt records as stored are stored."""
    for attempt in evidence.attempts:
        for what, rows, ranges in (
            ("lines", evidence.lines.get(attempt.number, []), attempt.lines_stored),
            ("results", evidence.results.get(attempt.number, []), attempt.results_stored),
        ):
            if len(rows) != ranges_of.count(ranges):
                yield f"attempt {attempt.number} counts its stored {what} as {ranges}, and there are {len(rows)}"


def same_result(evidence: Evidence) -> Iterator[str]:
    run = evidence.run
    if run.status != Status.COMPLETED:
        return
    steps = int(run.configuration["steps"])
    if run.summary != (undisturbed := expected(run.seed, steps)):
        yield f"its summary is {run.summary}, undisturbed it is {undisturbed}"
    missing = set(range(steps)) - {step for points in evidence.results.values() for _, step in points}
    if missing:
        yield f"no attempt has results of steps {sorted(missing)[:20]}"


def checkpoints_kept(evidence: Evidence) -> Iterator[str]:
    kept = 0
    for number, execution in sorted(evidence.executions.items()):
        if execution.begun_at and execution.restored < kept:
            yield f"attempt {number} continued from step {execution.restored}, after a checkpoint of step {kept}"
        kept = max(kept, execution.kept)


PER_RUN: Sequence[tuple[str, str, Check]] = (
    ("ended", "every run has an end", ended),
    ("ended_rightly", "no run failed, none was cancelled without a request", ended_rightly),
    ("one_execution", "no run had two live executions", one_execution),
    ("in_order", "no line or result is duplicated, out of order or missing in between", lines_in_order),
    ("complete", "every line and result of supervised attempts is stored", lines_complete),
    ("counted", "lines and results that attempts record as stored are stored", ranges_true),
    ("same_result", "results equal those of an undisturbed run", same_result),
    ("checkpoints", "no acknowledged checkpoint was lost", checkpoints_kept),
)


def check_runs(stage: Stage) -> list[Invariant]:
    """Check all invariants of single runs, and those of the samples."""
    by_name = {name: Invariant(name, text) for name, text, _ in PER_RUN}
    taken, no_process, final = (
        Invariant("taken", "nothing that Redis had is lost, except by a wipe or kill of Redis"),
        Invariant("no_process", "no process of a run remains"),
        Invariant("final", "no final state ever changed"),
    )
    marked = _marked_processes(str(stage.var))
    for run in stage.runs().order_by("id").iterator(chunk_size=50):
        evidence = evidence_of(run)
        for name, _, check in PER_RUN:
            by_name[name].checked += 1
            by_name[name].broken += [f"run {run.pk}: {text}" for text in check(evidence)]
        _check_taken(stage, evidence, taken)
        _check_processes(evidence, marked.get(run.pk, []), no_process)
        before = stage.samples.ends.get(run.pk)
        final.checked += before is not None
        if before is not None and before != state_of(run):
            final.broken.append(f"run {run.pk} was {before.status}, and is {run.status} in attempt {run.attempt}")
    final.broken += stage.samples.changes
    agreed = Invariant("agreed", "at all times exactly the running runs have an open attempt")
    agreed.checked, agreed.broken = stage.samples.rounds, stage.samples.disagreements
    return [*by_name.values(), taken, no_process, final, agreed]


def _check_taken(stage: Stage, evidence: Evidence, taken: Invariant) -> None:
    for attempt in evidence.attempts:
        for stream, ranges in ((Stream.LINES, attempt.lines_stored), (Stream.RESULTS, attempt.results_stored)):
            sampled = stage.samples.taken.get((AttemptKey(evidence.run.pk, attempt.number), stream))
            if sampled is not None:
                taken.checked += 1
                if (stored := ranges_of.high_water(ranges)) < sampled:
                    where = f"run {evidence.run.pk}, attempt {attempt.number}"
                    taken.broken.append(f"{where}: Redis had {stream} up to {sampled}, stored are those up to {stored}")


def _check_processes(evidence: Evidence, marked: list[int], no_process: Invariant) -> None:
    for execution in evidence.executions.values():
        for pid, started in execution.processes:
            no_process.checked += 1
            now = machine.started(pid)
            if now is not None and abs(now - started) < 0.5:
                no_process.broken.append(
                    f"run {evidence.run.pk}: process {pid} of attempt {execution.attempt} is alive"
                )
    no_process.broken += [f"run {evidence.run.pk}: process {pid} has its mark" for pid in marked]


def _marked_processes(var: str) -> dict[int, list[int]]:
    """Return run → living processes of this stack with its mark."""
    by_run: dict[int, list[int]] = defaultdict(list)
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError, ValueError):
            environ = process.environ()
            mark = environ.get(ATTEMPT_MARK, "")
            is_ours = environ.get("ATHANOR_VAR") == var and process.pid != os.getpid()
            if mark and is_ours and process.status() not in machine.DEAD_STATES:
                by_run[int(mark.partition(".")[0])].append(process.pid)
    return by_run


def _gaps(what: str, numbers: Sequence[int]) -> Iterator[str]:
    """Yield the first difference of `numbers` from 1, 2, 3 …"""
    for expected_number, number in enumerate(numbers, 1):
        if number != expected_number:
            yield f"{what} have {number} where {expected_number} is due"
            return
