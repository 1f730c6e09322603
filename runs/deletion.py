"""Deletion of finished runs with their lines, results, files and buffered entries.

A run may have millions of lines, so rows are deleted by ranges of their primary key, each in its own transaction. The
run's row is deleted last: after a crash the run still exists, with fewer rows, and the deletion can be repeated.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import Max

from runs import audit
from runs.exceptions import BufferUnavailable
from runs.folders import run_folder
from runs.lines.buffer import buffer
from runs.models import Artifact, Attempt, Checkpoint, LogLine, Result, Run, Slot
from runs.states import FINAL, Act

logger = logging.getLogger(__name__)

CHUNK = 20_000
"""Number of seqs deleted in one transaction."""


def erase(run_ids: Iterable[int]) -> int:
    """Delete those of the runs that are final. Return how many. May be repeated. Blocks until done."""
    return sum(_erase(run_id) for run_id in run_ids)


def _erase(run_id: int) -> bool:
    if not Run.objects.filter(pk=run_id, status__in=FINAL).exists():
        return False
    shutil.rmtree(run_folder(run_id), ignore_errors=True)
    for number in Attempt.objects.filter(run_id=run_id).values_list("number", flat=True):
        _erase_output(LogLine, run_id, number)
        _erase_output(Result, run_id, number)
    with transaction.atomic():
        Run.objects.select_for_update().filter(pk=run_id).order_by("pk").first()  # before its attempts, as everywhere
        for model in (LogLine, Result, Artifact, Checkpoint, Attempt):
            _raw_delete(model.objects.filter(run_id=run_id))
        Run.objects.filter(origin_id=run_id).update(origin=None)
        Slot.objects.filter(run_id=run_id).update(run=None)
        if _raw_delete(Run.objects.filter(pk=run_id)):
            audit.record(Act.DELETE, kind="run", key=run_id)
    try:
        buffer().discard(run_id)
    except BufferUnavailable as error:
        logger.warning("Deleted run %s; the next flush removes its buffered entries from Redis: %s", run_id, error)
    return True


def _erase_output(model: type[LogLine] | type[Result], run_id: int, attempt: int) -> None:
    rows = model.objects.filter(run_id=run_id, attempt=attempt)
    last = rows.aggregate(last=Max("seq"))["last"] or 0
    for upto in range(CHUNK, last + CHUNK, CHUNK):
        _raw_delete(rows.filter(seq__lte=upto))


def _raw_delete(rows: Any) -> int:
    """Delete without loading the rows, as the cascade would."""
    return int(rows._raw_delete(rows.db))
