"""Flushing on a real Redis and a real database, whose parts fail one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import OperationalError, connection

from runs.exceptions import BufferUnavailable
from runs.lines import flush as flushing
from runs.lines.buffer import Buffer, CancelRequested, StoredUpTo, Stream
from runs.lines.flush import Flush, flush_all, flush_run
from runs.lines.store import Stored, store_entries
from runs.models import Attempt, LogLine, Result
from runs.states import AttemptKey
from tests.factories import make_attempt
from tests.servers import PostgresServer, RedisServer
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


def entries(first: int, last: int, *, number: int = 1) -> list[bytes]:
    return [b'%d:%d:[1.0,20,"log","%d",null]' % (number, seq, seq) for seq in range(first, last + 1)]


def push(buffer: Buffer, key: AttemptKey, first: int, last: int) -> None:
    pushed = buffer.push(key, Stream.LINES, after=first - 1, entries=entries(first, last, number=key.number))
    assert pushed.accepted


def stored(attempt: Attempt) -> list[str]:
    found = LogLine.objects.filter(run_id=attempt.run_id).order_by("attempt", "seq")
    return list(found.values_list("message", flat=True))


def test_a_flush_stores_everything_in_batches_and_leaves_nothing(
    buffer: Buffer, configure: Callable[..., None]
) -> None:
    configure(flush_batch=3)
    attempt = make_attempt()
    push(buffer, attempt.key, 1, 10)
    buffer.push(attempt.key, Stream.RESULTS, after=0, entries=[b'1:1:[1.0,"metric","loss",1,0.5]'])
    assert flush_run(attempt.run_id) == 11
    assert stored(attempt) == [str(seq) for seq in range(1, 11)]
    assert Result.objects.get(run_id=attempt.run_id).number == 0.5
    assert buffer.dirty() == []
    assert buffer.lock(attempt.run_id), "the lock was given back"


def test_what_is_stored_is_announced(buffer: Buffer) -> None:
    attempt = make_attempt()
    heard = buffer.notices(0.05)
    assert next(heard) is None
    push(buffer, attempt.key, 1, 3)
    flush_run(attempt.run_id)
    assert next(notice for notice in heard if notice) == StoredUpTo(attempt.key, 3, 0)
    buffer.flag_cancel(1)
    assert next(notice for notice in heard if notice) == CancelRequested(1)


def test_a_run_that_another_flusher_is_at_is_left_alone(buffer: Buffer) -> None:
    attempt = make_attempt()
    push(buffer, attempt.key, 1, 3)
    assert Flush(attempt.run_id).lock()
    assert flush_run(attempt.run_id) == 0
    assert flush_all(1).entries == 0
    assert len(buffer.head(attempt.run_id, Stream.LINES, 10)) == 3


def test_the_entries_of_a_deleted_run_are_removed(buffer: Buffer) -> None:
    attempt = make_attempt()
    push(buffer, attempt.key, 1, 3)
    run_id = attempt.run_id
    attempt.run.delete()
    flush_all(1)
    assert buffer.dirty() == []
    assert buffer.head(run_id, Stream.LINES, 10) == []


def test_a_flusher_that_lost_its_lock_trims_nothing(buffer: Buffer, redis_server: RedisServer) -> None:
    attempt = make_attempt()
    push(buffer, attempt.key, 1, 3)
    slow = Flush(attempt.run_id)
    slow.lock()
    slow.read()
    with redis_server.client() as client:
        client.flushall()  # its lock as well
    push_again = buffer.push(attempt.key, Stream.LINES, after=0, entries=entries(1, 5), reset=True)
    assert push_again.accepted
    slow.store()
    assert not slow.trim()
    assert flush_run(attempt.run_id) == 5
    assert stored(attempt) == ["1", "2", "3", "4", "5"]


def test_a_round_takes_all_runs_and_one_that_fails_stops_no_other(
    buffer: Buffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = [make_attempt() for _ in range(3)]
    for attempt in attempts:
        push(buffer, attempt.key, 1, 2)
    bad = attempts[1].run_id
    real = store_entries

    def store(run_id: int, lines: list[bytes], results: list[bytes]) -> Stored:
        if run_id == bad:
            raise RuntimeError("a bug")
        return real(run_id, lines, results)

    monkeypatch.setattr(flushing, "store_entries", store)
    report = flush_all(5)
    assert (report.runs, report.entries, report.failed) == (2, 4, {bad: "a bug"})
    monkeypatch.undo()
    assert flush_all(5).entries == 2


def test_a_round_keeps_to_its_budget(buffer: Buffer, configure: Callable[..., None]) -> None:
    configure(flush_batch=1)
    for _ in range(3):
        push(buffer, make_attempt().key, 1, 50)
    report = flush_all(0)
    assert report.entries == 0
    assert "budget" in report.stopped
    assert len(buffer.dirty()) == 3


def test_without_a_database_nothing_leaves_redis(buffer: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = make_attempt()
    push(buffer, attempt.key, 1, 3)

    def away(*_: object) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(flushing, "store_entries", away)
    assert flush_all(1).stopped == "the database is away"
    monkeypatch.undo()
    assert flush_all(1).entries == 3, "the lock was given back"
    assert stored(attempt) == ["1", "2", "3"]


def test_without_redis_a_round_says_so(redis_server: RedisServer, buffer: Buffer) -> None:
    redis_server.stop()
    assert "Redis cannot" in flush_all(1).stopped
    with pytest.raises(BufferUnavailable):
        flush_run(1)


@pytest.mark.django_db(transaction=True)
def test_a_restarted_postgresql_gets_everything(buffer: Buffer, postgres_server: PostgresServer) -> None:
    attempt = make_attempt()
    push(buffer, attempt.key, 1, 3)
    postgres_server.kill()
    assert flush_all(1).stopped
    connection.close()
    postgres_server.start()
    assert flush_all(1).entries == 3
    assert stored(attempt) == ["1", "2", "3"]


@pytest.mark.django_db(transaction=True)
def test_two_flushers_and_a_writer_at_once_lose_and_double_nothing(
    buffer: Buffer, configure: Callable[..., None]
) -> None:
    configure(flush_batch=100)
    attempt = make_attempt()
    written = threading.Event()

    def flush() -> None:
        while not written.is_set() or buffer.dirty():
            flush_run(attempt.run_id)
        connection.close()

    flushers = [threading.Thread(target=flush) for _ in range(2)]
    for thread in flushers:
        thread.start()
    for first in range(1, 5001, 50):
        push(buffer, attempt.key, first, first + 49)
    written.set()
    wait_until(lambda: not any(thread.is_alive() for thread in flushers), timeout_s=60, what="the flushers")
    assert stored(attempt) == [str(seq) for seq in range(1, 5001)]
    attempt.refresh_from_db()
    assert attempt.lines_stored == [[1, 5000]]
