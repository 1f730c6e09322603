"""Lines and results of runs for tests, as they are once stored."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from runs.lines import ranges
from runs.models import Attempt, LogLine, Result, Run
from runs.states import FINAL, AttemptEnd, Level, ResultKind, Source, Status

EPOCH = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def store_lines(attempt: Attempt, seqs: Iterable[int], **values: Any) -> None:
    """Lines `line 1`, `line 2` … of an attempt, also told in its `lines_stored`."""
    seqs = list(seqs)
    made = [
        LogLine(
            **{
                "run_id": attempt.run_id,
                "attempt": attempt.number,
                "seq": seq,
                "time": EPOCH + timedelta(milliseconds=seq),
                "level": Level.INFO,
                "source": Source.LOG,
                "message": f"line {seq}",
            }
            | values
        )
        for seq in seqs
    ]
    LogLine.objects.bulk_create(made)
    attempt.lines_stored = ranges.add(attempt.lines_stored, seqs)
    attempt.save(update_fields=["lines_stored"])


def store_metric(attempt: Attempt, key: str, numbers: Iterable[float], *, first_seq: int = 1) -> None:
    """Points of a metric at steps from 0."""
    made = [
        Result(
            run_id=attempt.run_id,
            attempt=attempt.number,
            seq=first_seq + step,
            time=EPOCH,
            kind=ResultKind.METRIC,
            key=key,
            step=step,
            number=number,
        )
        for step, number in enumerate(numbers)
    ]
    _store_results(attempt, made)


def store_result(attempt: Attempt, key: str, value: Any, *, seq: int) -> None:
    made = Result(
        run_id=attempt.run_id, attempt=attempt.number, seq=seq, time=EPOCH, kind=ResultKind.RESULT, key=key, value=value
    )
    _store_results(attempt, [made])


def _store_results(attempt: Attempt, made: list[Result]) -> None:
    Result.objects.bulk_create(made)
    attempt.results_stored = ranges.add(attempt.results_stored, [result.seq for result in made])
    attempt.save(update_fields=["results_stored"])


def end_run(attempt: Attempt, status: Status = Status.COMPLETED, **values: Any) -> Run:
    """End an attempt and its run, all its lines emitted."""
    assert status in FINAL
    ended = {
        "end": AttemptEnd(status.value),
        "finished_at": datetime.now(UTC),
        "lines_emitted": ranges.count(attempt.lines_stored),
    }
    Attempt.objects.filter(pk=attempt.pk).update(**ended)
    run_values = {"status": status, "finished_at": datetime.now(UTC)} | values
    if status == Status.FAILED:
        run_values = {"failure_kind": "error", "error": "ValueError: no"} | run_values
    if status == Status.CANCELLED:
        run_values = {"cancel_requested_at": datetime.now(UTC)} | run_values
    Run.objects.filter(pk=attempt.run_id).update(**run_values)
    attempt.refresh_from_db()
    return Run.objects.get(pk=attempt.run_id)
