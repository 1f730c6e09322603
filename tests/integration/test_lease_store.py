"""Renewal of leases in the real database: renewed attempts, and that it never waits."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from runs import transitions
from runs.forkserver.clock import lease_clock
from runs.models import Attempt, Worker
from runs.outcomes import Outcome
from runs.states import FailureKind, Status
from runs.worker.lease_store import LeaseStore, Renewal, Request, Unavailable, connect
from tests.factories import make_attempt, make_worker
from tests.locks import lock_held
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

LOST = Outcome(Status.FAILED, FailureKind.LOST)


@pytest.fixture
def store() -> Iterator[LeaseStore]:
    store = connect(connection.settings_dict)
    yield store
    store._close()  # type: ignore[attr-defined]  # of both kinds


def renew(store: LeaseStore, worker: Worker, *attempts: Attempt, **counts: int) -> Renewal:
    keys = [(attempt.run_id, attempt.number) for attempt in attempts]
    return store.renew(Request(worker.pk, keys, 60.0, counts), lease_clock)


def key(attempt: Attempt) -> tuple[int, int]:
    return attempt.run_id, attempt.number


def left(attempt: Attempt) -> timedelta:
    """Return the remaining seconds of its lease."""
    attempt.refresh_from_db()
    return attempt.lease_expires_at - timezone.now()


def test_a_renewal_moves_the_lease_of_what_is_asked_for_alone(store: LeaseStore) -> None:
    worker = make_worker()
    mine, orphan, other = make_attempt(worker=worker, lease_s=5), make_attempt(worker=worker, lease_s=5), make_attempt()
    renewal = renew(store, worker, mine, other)
    assert renewal.renewed == renewal.open == {key(mine)}
    assert timedelta(seconds=55) < left(mine) < timedelta(seconds=65)
    assert left(orphan) < timedelta(seconds=6)


def test_what_was_taken_over_is_not_renewed(store: LeaseStore) -> None:
    worker = make_worker()
    attempt = make_attempt(worker=worker)
    transitions.release(attempt.key, LOST)
    assert renew(store, worker, attempt).open == set()


def test_an_expired_lease_that_nobody_took_over_is_renewed(store: LeaseStore) -> None:
    worker = make_worker()
    attempt = make_attempt(worker=worker, lease_s=-5)
    assert renew(store, worker, attempt).renewed == {key(attempt)}
    assert not Attempt.objects.filter(pk=attempt.pk, lease_expires_at__lt=timezone.now()).exists()


def test_the_worker_s_row_says_that_it_lives_and_what_it_has_done(store: LeaseStore) -> None:
    worker = make_worker(heartbeat_at=timezone.now() - timedelta(hours=1))
    renew(store, worker, claims=3, idle_wakes=4)
    worker.refresh_from_db()
    assert (worker.claims, worker.idle_wakes) == (3, 4)
    assert timezone.now() - worker.heartbeat_at < timedelta(seconds=5)


@pytest.mark.usefixtures("postgres_server")
def test_a_locked_attempt_holds_up_no_other(store: LeaseStore) -> None:
    worker = make_worker()
    locked, free = make_attempt(worker=worker, lease_s=5), make_attempt(worker=worker, lease_s=5)
    with lock_held(f"SELECT 1 FROM runs_attempt WHERE id = {locked.pk} FOR UPDATE"):
        renewal = renew(store, worker, locked, free)
    assert (renewal.renewed, renewal.open) == ({key(free)}, {key(locked), key(free)})
    assert renew(store, worker, locked).renewed == {key(locked)}


@pytest.mark.usefixtures("postgres_server")
@pytest.mark.parametrize("table", ["runs_logline", "runs_result", "runs_run", "runs_checkpoint"])
def test_a_table_that_a_renewal_does_not_need_may_be_locked(store: LeaseStore, table: str) -> None:
    worker = make_worker()
    attempt = make_attempt(worker=worker)
    with lock_held(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"):
        assert renew(store, worker, attempt).renewed == {key(attempt)}


@pytest.mark.usefixtures("postgres_server")
def test_a_locked_worker_s_row_holds_up_no_lease(store: LeaseStore) -> None:
    worker = make_worker()
    attempt = make_attempt(worker=worker)
    with lock_held(f"SELECT 1 FROM runs_worker WHERE id = {worker.pk} FOR UPDATE"):
        assert renew(store, worker, attempt).renewed == {key(attempt)}


def test_a_database_that_nobody_can_write_to_is_unavailable_for_a_bounded_time(
    store: LeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker()
    attempt = make_attempt(worker=worker, lease_s=5)
    with _everything_locked():
        with pytest.raises(Unavailable):
            renew(store, worker, attempt)
        assert left(attempt) < timedelta(seconds=6) if connection.vendor == "sqlite" else True
    assert renew(store, worker, attempt).renewed == {key(attempt)}


def _everything_locked() -> Any:
    if connection.vendor == "postgresql":
        return lock_held("LOCK TABLE runs_attempt IN SHARE MODE")
    return _sqlite_locked(str(connection.settings_dict["NAME"]))


@contextmanager
def _sqlite_locked(path: str) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


def _write_all_the_time(stop: threading.Event, written: list[int]) -> None:
    while not stop.is_set():
        with transaction.atomic():
            Worker.objects.update(slots=len(written) % 9 + 1)
        written.append(1)
    connection.close()


def test_a_renewal_goes_before_writers_that_never_rest(store: LeaseStore) -> None:
    """On SQLite they ask for the one write lock again and again; each renewal takes its turn at once."""
    worker = make_worker()
    attempt = make_attempt(worker=worker)
    stop, written = threading.Event(), list[int]()
    writers = [threading.Thread(target=_write_all_the_time, args=(stop, written)) for _ in range(16)]
    for writer in writers:
        writer.start()
    try:
        wait_until(lambda: len(written) > 20, timeout_s=30, what="the writers")
        took = []
        for _ in range(20):
            began = lease_clock()
            assert renew(store, worker, attempt).renewed == {key(attempt)}
            took.append(lease_clock() - began)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert max(took) < 1.0
