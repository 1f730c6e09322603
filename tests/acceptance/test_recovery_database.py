"""Database killed, or unavailable for longer than a lease, while runs log: nothing is lost or duplicated.

On SQLite somebody holds its only write lock for that time.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from runs.models import Run
from runs.states import Source, Status
from tests.conftest import POSTGRES
from tests.recovery import PATIENCE_S, SHORT, Team, alive, attempts, ends, has_said, is_whole, under_way
from tests.servers import PostgresServer
from tests.stack import Stack, ended
from tests.waiting import wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

OUTAGE_S = 60.0
RATE = 10_000
"""Lines a second."""


@pytest.fixture(scope="module")
def steady(ground_of_module: Path) -> Iterator[Team]:
    """A worker that every test of this module uses: it has to live through all of them."""
    with Stack(ground_of_module, **SHORT) as stack:
        team = Team(stack, ground_of_module)
        with stack.at_once():
            stack.system()
            stack.beat()
            team.worker()
        yield team


@contextlib.contextmanager
def database_away(config: pytest.Config) -> Iterator[None]:
    """Nobody can write within the block. The tests' own connection is closed."""
    connection.close()
    if POSTGRES in config.stash:
        config.stash[POSTGRES].stop()
        yield
        config.stash[POSTGRES].start()
        return
    name = str(connection.settings_dict["NAME"])
    with contextlib.closing(sqlite3.connect(name, isolation_level=None, timeout=30)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield
        holder.execute("ROLLBACK")


def elapsed(seconds: float) -> None:
    """Returns after that time."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, timeout_s=seconds + 5, what="time to pass")


def numbers(run: Run, attempt: int) -> list[int]:
    """Return the numbers of the lines `line <n>` of an attempt."""
    found = run.lines.filter(attempt=attempt, source=Source.LOG).order_by("seq").values_list("message", flat=True)
    return [int(message.split()[1]) for message in found]


def test_an_outage_longer_than_the_lease_under_ten_thousand_lines_a_second(
    steady: Team, pytestconfig: pytest.Config
) -> None:
    run = has_said(steady.launch("metered", count=10 * RATE, lines=RATE, hold_s=600), "line 5000")
    (first,) = attempts(run)
    with database_away(pytestconfig):
        wait_until(lambda: alive([first.child_pid]) == [], timeout_s=10, what="the end of the child before its lease")
        elapsed(OUTAGE_S)
    ended(run, timeout_s=4 * PATIENCE_S)
    assert (run.status, ends(run)) == (Status.COMPLETED, ["lost", "completed"])
    first, second = attempts(run)
    assert is_whole(first)
    assert is_whole(second)
    said = numbers(run, 1)
    assert said == list(range(len(said)))
    assert numbers(run, 2) == list(range(10 * RATE))


def test_an_outage_shorter_than_the_lease_is_not_noticed(steady: Team, pytestconfig: pytest.Config) -> None:
    run = under_way(steady.counting(count=60))
    with database_away(pytestconfig):
        elapsed(1.0)
    assert steady.is_counted(ended(run), count=60)
    assert (ends(run), is_whole(attempts(run)[0])) == (["completed"], True)


def test_nobody_is_judged_by_a_lease_that_could_not_be_renewed(steady: Team, pytestconfig: pytest.Config) -> None:
    """Both workers could not renew. Each ends its own attempt when the database is back; the reconciler ends none."""
    run = under_way(steady.counting(count=200))
    with database_away(pytestconfig):
        elapsed(8.0)
    wait_until(lambda: ends(run)[0] == "lost", timeout_s=PATIENCE_S, what="the end of its first attempt")
    (first, *_) = attempts(run)
    assert first.certificate is not None
    assert first.certificate["written_by"] == "supervisor"
    assert is_whole(first)


def test_postgresql_is_killed(steady: Team, postgres_server: PostgresServer) -> None:
    run: Any = under_way(steady.counting(count=60))
    connection.close()
    postgres_server.kill()
    postgres_server.start()
    assert steady.is_counted(ended(run, timeout_s=PATIENCE_S), count=60)
    assert all(is_whole(attempt) for attempt in attempts(run))
