"""What must hold after all. Each check reads what is left (database, journals, process table) and says what is broken.

What a SIGKILL of a worker may cost is what its attempt had said and Redis had not yet taken: the pipe dies with its
reader. So of an attempt that ended under supervision everything is stored that its journal proves to have been said,
and of one that was lost a beginning without gaps, which reaches at least as far as Redis, while it was not wiped, was
seen to have it. A kept checkpoint is never lost, and no result that was given before it.
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
from athanor.chaos.sampling import told_by
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
    """One thing that must hold, and where it does not."""

    name: str
    text: str
    checked: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.broken


@dataclass(slots=True)
class Evidence:
    """Everything that is known of one run."""

    run: Run
    attempts: list[Attempt]
    executions: dict[int, Execution]
    lines: dict[int, list[tuple[int, str, str]]]
    """Attempt → (seq, source, message) in the order of seq."""
    results: dict[int, list[tuple[int, int | None]]]
    """Attempt → (seq, step)."""


def gathered(run: Run) -> Evidence:
    lines: dict[int, list[tuple[int, str, str]]] = defaultdict(list)
    results: dict[int, list[tuple[int, int | None]]] = defaultdict(list)
    found = LogLine.objects.filter(run=run).order_by("attempt", "seq")
    for attempt, seq, source, message in found.values_list("attempt", "seq", "source", "message"):
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
    """Everything that was done to it is mended by another attempt: it fails never, and is cancelled on request only."""
    run = evidence.run
    if run.status == Status.FAILED:
        yield f"it failed ({run.failure_kind}): {run.error}"
    if run.status == Status.CANCELLED and run.schedule_id is None and run.cancel_requested_by != BY:
        yield f"it was cancelled, and {run.cancel_requested_by or 'nobody'} asked for it"


def one_execution(evidence: Evidence) -> Iterator[str]:
    lived_until = float("-inf")
    for number, execution in sorted(evidence.executions.items()):
        if execution.overlaps:
            yield f"attempt {number} began while processes of another one lived"
        if len(execution.begun_at) > 1:
            yield f"attempt {number} was executed {len(execution.begun_at)} times"
        if execution.begun_at and min(execution.begun_at) < lived_until:
            yield f"attempt {number} began while an earlier one still wrote"
        lived_until = max(lived_until, execution.last_at)
    if unknown := evidence.executions.keys() - {attempt.number for attempt in evidence.attempts}:
        yield f"attempts {sorted(unknown)} were executed, and the database does not know of them"


def lines_in_order(evidence: Evidence) -> Iterator[str]:
    for number, lines in evidence.lines.items():
        yield from _gaps(f"the lines of attempt {number}", [seq for seq, _, _ in lines])
        own = [int(message.split()[1]) for _, source, message in lines if source == Source.LOG]
        yield from _gaps(f"what attempt {number} said", own)
    for number, points in evidence.results.items():
        yield from _gaps(f"the results of attempt {number}", [seq for seq, _ in points])
        steps = [step for _, step in points]
        first = evidence.executions[number].restored if number in evidence.executions else 0
        if steps != list(range(first, first + len(steps))):
            yield f"the results of attempt {number} are of steps {steps[:20]}, from {first}"


def lines_complete(evidence: Evidence) -> Iterator[str]:
    """Of attempts that ended under supervision."""
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
        if not execution.said <= own <= execution.saying:
            yield f"attempt {number} said {execution.said} to {execution.saying} lines, and {own} are stored"
        if not execution.results_said <= len(points) <= execution.results_saying:
            said = f"{execution.results_said} to {execution.results_saying}"
            yield f"attempt {number} gave {said} results, and {len(points)} are stored"


def ranges_true(evidence: Evidence) -> Iterator[str]:
    """What an attempt says to be stored is stored."""
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
    if run.summary != (wanted := expected(run.seed, steps)):
        yield f"its summary is {run.summary}, undisturbed it is {wanted}"
    missing = set(range(steps)) - {step for points in evidence.results.values() for _, step in points}
    if missing:
        yield f"no attempt has results of steps {sorted(missing)[:20]}"


def checkpoints_kept(evidence: Evidence) -> Iterator[str]:
    kept = 0
    for number, execution in sorted(evidence.executions.items()):
        if execution.begun_at and execution.restored < kept:
            yield f"attempt {number} went on from step {execution.restored}, and step {kept} was kept before"
        kept = max(kept, execution.kept)


PER_RUN: Sequence[tuple[str, str, Check]] = (
    ("ended", "every run has an end", ended),
    ("ended_rightly", "no run failed, none was cancelled unasked", ended_rightly),
    ("one_execution", "no run had two live executions", one_execution),
    ("in_order", "no line or result is doubled, out of order, or behind a gap", lines_in_order),
    ("complete", "of supervised attempts every line and result is stored", lines_complete),
    ("counted", "what attempts know to be stored is stored", ranges_true),
    ("same_result", "results equal those of an undisturbed run", same_result),
    ("checkpoints", "no kept checkpoint was lost", checkpoints_kept),
)


def check_runs(stage: Stage) -> list[Invariant]:
    """Every invariant of single runs, and what was seen meanwhile."""
    found = {name: Invariant(name, text) for name, text, _ in PER_RUN}
    taken, gone, final = (
        Invariant("taken", "nothing that Redis had taken, and was not made to forget, is lost"),
        Invariant("no_process", "no process of a run is left"),
        Invariant("final", "no end ever changed"),
    )
    marked = _marked_processes(str(stage.var))
    for run in stage.runs().order_by("id").iterator(chunk_size=50):
        evidence = gathered(run)
        for name, _, check in PER_RUN:
            found[name].checked += 1
            found[name].broken += [f"run {run.pk}: {text}" for text in check(evidence)]
        _check_taken(stage, evidence, taken)
        _check_gone(evidence, marked.get(run.pk, []), gone)
        before = stage.samples.ends.get(run.pk)
        final.checked += before is not None
        if before is not None and before != told_by(run):
            final.broken.append(f"run {run.pk} was {before.status}, and is {run.status} in attempt {run.attempt}")
    final.broken += stage.samples.changes
    agreed = Invariant("agreed", "exactly the runs that are running have an open attempt, at any moment")
    agreed.checked, agreed.broken = stage.samples.rounds, stage.samples.disagreements
    return [*found.values(), taken, gone, final, agreed]


def _check_taken(stage: Stage, evidence: Evidence, taken: Invariant) -> None:
    for attempt in evidence.attempts:
        for stream, ranges in ((Stream.LINES, attempt.lines_stored), (Stream.RESULTS, attempt.results_stored)):
            seen = stage.samples.taken.get((AttemptKey(evidence.run.pk, attempt.number), stream))
            if seen is not None:
                taken.checked += 1
                if (stored := ranges_of.high_water(ranges)) < seen:
                    where = f"run {evidence.run.pk}, attempt {attempt.number}"
                    taken.broken.append(f"{where}: Redis had {stream} up to {seen}, stored are those up to {stored}")


def _check_gone(evidence: Evidence, marked: list[int], gone: Invariant) -> None:
    for execution in evidence.executions.values():
        for pid, started in execution.processes:
            gone.checked += 1
            now = machine.started(pid)
            if now is not None and abs(now - started) < 0.5:
                gone.broken.append(f"run {evidence.run.pk}: process {pid} of attempt {execution.attempt} lives")
    gone.broken += [f"run {evidence.run.pk}: process {pid} bears its mark" for pid in marked]


def _marked_processes(var: str) -> dict[int, list[int]]:
    """Run → living processes of this stack with its mark."""
    found: dict[int, list[int]] = defaultdict(list)
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError, ValueError):
            environ = process.environ()
            mark = environ.get(ATTEMPT_MARK, "")
            is_ours = environ.get("ATHANOR_VAR") == var and process.pid != os.getpid()
            if mark and is_ours and process.status() not in machine.DEAD_STATES:
                found[int(mark.partition(".")[0])].append(process.pid)
    return found


def _gaps(what: str, numbers: Sequence[int]) -> Iterator[str]:
    """What keeps `numbers` from being 1, 2, 3 …"""
    for wanted, number in enumerate(numbers, 1):
        if number != wanted:
            yield f"{what} have {number} where {wanted} is due"
            return
