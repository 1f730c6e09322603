"""Connections that a worker's threads share: used again, bounded, and replaced when they fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections

from runs.worker.connections import SharedConnections

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shared() -> Iterator[SharedConnections]:
    made = SharedConnections(2)
    yield made
    made.close()


def in_thread(work: Callable[[], object]) -> object:
    """Call `work` in a thread without a connection of its own. Return its result; it leaves no connection open."""
    results: list[object] = []

    def run() -> None:
        results.append(work())
        assert connections.all(initialized_only=True) == []

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return results[0]


def query(shared: SharedConnections) -> int:
    """Use a lent connection. Return which one it was."""
    with shared.lend(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return id(connections[DEFAULT_DB_ALIAS].connection)


def fail(shared: SharedConnections) -> None:
    with shared.lend():
        query(shared)
        lent: Any = connections[DEFAULT_DB_ALIAS]
        with pytest.raises(OperationalError), lent.wrap_database_errors:
            raise lent.Database.OperationalError("the server is gone")


def test_threads_use_one_connection_after_another(shared: SharedConnections) -> None:
    assert len({in_thread(lambda: query(shared)) for _ in range(5)}) == 1


def test_no_more_than_the_maximum_is_kept(shared: SharedConnections) -> None:
    together = threading.Barrier(5)

    def use() -> None:
        with shared.lend(), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            together.wait(30)

    threads = [threading.Thread(target=use) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(shared._idle) == 2


def test_a_thread_with_a_connection_uses_its_own(shared: SharedConnections) -> None:
    connection.ensure_connection()
    assert query(shared) == id(connection.connection)


def test_a_connection_that_failed_is_not_used_again(shared: SharedConnections) -> None:
    in_thread(lambda: fail(shared))
    assert shared._idle == []
    assert in_thread(lambda: query(shared))


def test_after_the_end_none_is_kept(shared: SharedConnections) -> None:
    in_thread(lambda: query(shared))
    shared.close()
    assert in_thread(lambda: query(shared))
    assert shared._idle == []
