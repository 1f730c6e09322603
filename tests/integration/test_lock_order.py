"""Order in which transactions lock a run and its attempts, and statements that a held lock blocks."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from runs import deletion, transitions
from runs.lines.buffer import Buffer, Stream
from runs.lines.flush import flush_all
from runs.lines.records import Progress
from runs.lines.store import store_entries
from runs.models import Attempt, LogLine
from runs.outcomes import Outcome
from runs.recovery.reconcile import recover
from runs.states import FailureKind, Status
from runs.supervisor.recorder import Callbacks, RunRecords
from tests.factories import make_attempt
from tests.locks import lock_held
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

LOCKS = re.compile(r'(?:^UPDATE|^DELETE FROM|^SELECT .* FROM) "(runs_run|runs_attempt)"')
UPDATES = re.compile(r'\bUPDATE "(runs_run|runs_attempt)"')
LINE = b'1:1:[1.5,20,"log","a line",null]'


def record(attempt: Attempt) -> None:
    """Write everything that an attempt may write at once."""
    records = RunRecords(attempt.key, Callbacks(store_output=lambda: _store(attempt)))
    records.progress(Progress(1, 2, "half"))
    records.checkpoint({"id": 1, "sync": False, "state": {}})
    records.mark(child_pid=7)
    records.write()


def _store(attempt: Attempt) -> None:
    store_entries(attempt.run_id, [LINE], [])


def finish(attempt: Attempt) -> None:
    assert transitions.finish(attempt.key, Outcome(Status.COMPLETED))


def release(attempt: Attempt) -> None:
    assert transitions.release(attempt.key, Outcome(Status.FAILED, FailureKind.LOST))


def reconcile(attempt: Attempt) -> None:
    assert recover().ended.keys() == {attempt.key}


def locked_tables(queries: list[dict[str, str]]) -> list[str]:
    """Return the tables of runs and attempts in the order in which their rows are locked."""
    locked: list[str] = []
    for sql in (query["sql"] for query in queries):
        match = LOCKS.match(sql)
        if sql.startswith("WITH"):  # an UPDATE that needs the rows of another one
            locked += UPDATES.findall(sql)
        elif match and (sql[0] != "S" or "UPDATE" in sql.rpartition("FOR ")[2]):
            locked.append(match[1])
    return locked


@pytest.mark.parametrize("change", [record, finish, release, reconcile])
def test_a_run_is_locked_before_its_attempts(change: Callable[[Attempt], None]) -> None:
    attempt = make_attempt(lease_s=-1)
    with CaptureQueriesContext(connection) as captured:
        change(attempt)
    assert list(dict.fromkeys(locked_tables(captured.captured_queries))) == ["runs_run", "runs_attempt"]


@pytest.mark.usefixtures("postgres_server")
def test_a_run_is_locked_before_its_attempts_are_deleted() -> None:
    attempt = make_attempt()
    finish(attempt)
    with CaptureQueriesContext(connection) as captured:
        assert deletion.erase([attempt.run_id]) == 1
    assert locked_tables(captured.captured_queries)[:2] == ["runs_run", "runs_attempt"]


def lock_row(attempt: Attempt) -> Any:
    return lock_held("SELECT 1 FROM runs_attempt WHERE id = %s FOR UPDATE", attempt.pk)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgres_server")
def test_a_locked_attempt_holds_up_neither_the_flush_nor_the_recovery_of_others(buffer: Buffer, configure: Any) -> None:
    configure(lock_wait_s=0.2)
    blocked, free = make_attempt(lease_s=-1), make_attempt(lease_s=-1)
    for attempt in (blocked, free):
        buffer.push(attempt.key, Stream.LINES, after=0, entries=[b'%d:1:[1.5,20,"log","a",null]' % attempt.number])
    with lock_row(blocked):
        assert flush_all(10).failed.keys() == {blocked.run_id}
        assert recover().ended.keys() == {free.key}
        assert LogLine.objects.filter(run=free.run).count() == 1
    assert flush_all(10).failed == {}
    assert recover().ended.keys() == {blocked.key}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("postgres_server")
def test_lines_that_wait_for_their_table_hold_no_attempt() -> None:
    """A renewal of the lease takes the attempt's row meanwhile."""
    attempt = make_attempt()
    with lock_held("LOCK TABLE runs_logline IN ACCESS EXCLUSIVE MODE"):
        writer = threading.Thread(target=_store_apart, args=(attempt,))
        writer.start()
        wait_until(_somebody_waits, timeout_s=10, what="the writer to wait")
        with transaction.atomic():
            assert Attempt.objects.select_for_update(nowait=True).filter(pk=attempt.pk).get()
    writer.join()
    assert LogLine.objects.filter(run=attempt.run).count() == 1


def _store_apart(attempt: Attempt) -> None:
    _store(attempt)
    connection.close()


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])
