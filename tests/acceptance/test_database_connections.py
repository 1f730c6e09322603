"""Connections of a worker to PostgreSQL: as many for thirty sleeping runs as for one."""

from __future__ import annotations

import pytest
from django.db import connection

from runs.models import Attempt
from tests.recovery import Team
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif("config.getoption('--database') != 'postgresql'", reason="SQLite has no server"),
]

RUNS = 30
SHARED_MAX = 5
"""Four writers (`database_writers_max`) and a claim."""
THREADS = 4
"""Threads and processes of a worker with a connection of their own: poller, recorder, listener, renewer."""


def server_connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def test_sleeping_runs_hold_no_connections(team: Team) -> None:
    before = server_connections()
    team.worker(slots=RUNS)
    runs = [team.launch("hang") for _ in range(RUNS)]
    started = Attempt.objects.open().filter(run__in=runs, started_at__isnull=False)
    wait_until(lambda: started.count() == RUNS, timeout_s=90, what="the starts of all runs")
    assert server_connections() - before <= SHARED_MAX + THREADS < RUNS
