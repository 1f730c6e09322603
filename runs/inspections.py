"""Inspect a running run: the Python stack traces of its threads and its process tree. The run continues."""

from __future__ import annotations

import logging
import threading
import time
from typing import TypedDict

from django.db import transaction

from runs import audit, transitions
from runs.exceptions import BufferUnavailable, RunNotFound
from runs.lines.buffer import buffer
from runs.models import Attempt, Run
from runs.outcomes import ProcessRow
from runs.states import Act

logger = logging.getLogger(__name__)

ANSWER_EVERY_S = 0.1
"""Pause between two queries for the answer."""


class Inspection(TypedDict):
    """Stored as `Attempt.inspection` by the supervisor, on request and before a limit ends the run."""

    at: str
    """ISO 8601, by the clock of the worker."""
    why: str
    """`asked`, or the limit that was reached: `stalled`, `timeout` or `memory`."""
    stacks: str
    """Python stacks of all threads of the experiment's process, as faulthandler writes them; empty if it did not
    answer in time."""
    processes: list[ProcessRow]
    """Parents before children."""
    lines_emitted: int
    """Number of lines until then."""


def inspect(run_id: int, *, timeout_s: float = 5.0) -> Inspection | None:
    """Capture the Python stack traces and the process tree of a running run. The run continues.

    Blocks until its supervisor has answered, at most `timeout_s`. Returns None if the run is not executed, or if the
    answer is late; a late answer is kept on the attempt. Raises RunNotFound.
    """
    if not Run.objects.filter(pk=run_id).exists():
        raise RunNotFound(run_id)
    with transaction.atomic():
        key = transitions.request_inspection(run_id)
        audit.record(Act.INSPECT, kind="run", key=run_id)
    if key is None:
        return None
    try:
        buffer().request_inspection(run_id)
    except BufferUnavailable as error:
        logger.info("Run %s: its worker reads the request for a stack trace from the database: %s", run_id, error)
    attempts = Attempt.objects.filter(run_id=run_id, number=key.number)
    deadline, pause = time.monotonic() + timeout_s, threading.Event()
    while time.monotonic() < deadline:
        attempt = attempts.only("inspection", "inspection_asked_at").first()
        if attempt is None or attempt.inspection_asked_at is None:
            return attempt.inspection if attempt else None
        pause.wait(ANSWER_EVERY_S)
    return None
