"""No hot query reads a big table as a whole, on tables with many rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from runs import services, transitions, wake
from runs.lines import reading
from runs.lines.records import LINE, RESULT, encode, entry
from runs.lines.store import store_entries
from runs.live.snapshot import read_snapshots
from runs.models import Attempt, LogLine, Result, Run, Slot
from runs.outcomes import Outcome
from runs.recovery import reconcile, task_results
from runs.schedules import tick
from runs.states import SlotState, Status
from runs.worker import lease_store
from tests import plans
from tests.factories import make_attempt, make_run, make_worker
from tests.multiplying import minutes_ago, multiply, set_next_ids
from tests.schedules import make_schedule

pytestmark = pytest.mark.django_db

ROWS, LINES, ACTIVE = 30_000, 60_000, 30


@pytest.fixture(scope="module", autouse=True)
def filled(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Many final runs with their rows, and a few that wait or run."""
    with django_db_blocker.unblock(), patch.object(wake, "workers"):
        fill()
        yield
        call_command("flush", interactive=False, verbosity=0)


def fill() -> None:
    from django_celery_results.models import TaskResult

    worker, schedule = make_worker(), make_schedule("nightly")
    ended = make_attempt(worker=worker)
    transitions.finish(ended.key, Outcome(Status.COMPLETED))
    multiply(Run, ended.run_id, ROWS, id="id + i", name="'run ' || i", schedule_id=str(schedule.pk), slot=minutes_ago())
    multiply(Attempt, ended.pk, ROWS, id="id + i", run_id="run_id + i", task_id="'task ' || i")
    store_entries(ended.run_id, [entry(ended.key, 1, line())], [entry(ended.key, 1, result())])
    multiply(LogLine, ended.run_id, LINES, of="run_id", seq="seq + i")
    multiply(Result, ended.run_id, LINES, of="run_id", seq="seq + i")
    slot = Slot.objects.create(schedule=schedule, slot=Now(), due_at=Now(), state=SlotState.SKIPPED, reason="overlap")
    multiply(Slot, slot.pk, ROWS, id="id + i", slot=minutes_ago())
    task = TaskResult.objects.create(task_id="task")
    multiply(TaskResult, task.pk, ROWS, id="id + i", task_id="'task ' || i")
    set_next_ids("runs_run", "runs_attempt", "runs_slot", "django_celery_results_taskresult")
    for _ in range(ACTIVE):
        make_attempt(worker=worker)
        make_run()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def line() -> bytes:
    return encode(LINE, [0.0, 20, "log", "a line", None])


def result() -> bytes:
    return encode(RESULT, [0.0, "metric", "loss", 1, 0.5, None])


def admin() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("plans"))
    return client


def launch() -> None:
    services.launch("scripted")
    services.launch_many("scripted", [{}, {}])


def claim_and_end() -> None:
    attempt = transitions.claim(["runs"], make_worker(), lease_s=10, task_id="a task")
    assert attempt is not None
    assert transitions.mark(attempt.key, child_pid=1)
    assert transitions.attempt_states(attempt.worker, [attempt.key])  # type: ignore[arg-type]  # it has one
    transitions.end_attempt(attempt.key, Outcome(Status.COMPLETED))


def claim_on_a_busy_worker() -> None:
    busy = Attempt.objects.open().exclude(worker=None)[0].worker
    assert busy is not None
    assert transitions.claim(["runs"], busy, lease_s=10) is not None


def cancel() -> None:
    open_attempt = Attempt.objects.open()[0]
    transitions.request_cancel(open_attempt.run_id, by="somebody")


def flush() -> None:
    key = make_attempt().key
    entries = [entry(key, seq, line()) for seq in (1, 2)]
    for _ in range(2):  # the second time, they are there
        store_entries(key.run_id, entries, [entry(key, 1, result())])


def sweep() -> None:
    reconcile.recover()
    assert list(reconcile._due_runs())


def renew() -> None:
    """Collect the statements of the renewer, which has a connection of its own, and explain them here."""
    attempts = [attempt.key for attempt in Attempt.objects.open()]
    worker = Attempt.objects.open()[0].worker_id
    assert worker is not None
    recorder, store = Recorder(), lease_store.connect(connection.settings_dict)
    with patch.object(store, "_connected", lambda: recorder):
        store.renew(lease_store.Request(worker, [(key.run_id, key.number) for key in attempts], 10, {}), lambda: 0.0)
    assert recorder.statements
    for sql, params in recorder.statements:
        rows = connection.connection.execute(f"{plans.prefix()} {sql}", params).fetchall()
        assert plans.scans_of(sql, rows) == []


class Recorder:
    """Connection that collects what it is to execute."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, Any]] = []

    def execute(self, sql: str, params: Any = ()) -> Recorder:
        if sql.lstrip().upper().startswith(plans.EXPLAINED):
            self.statements.append((sql, params))
        return self

    def fetchall(self) -> list[Any]:
        return []


def schedules() -> None:
    tick.tick(budget_s=60)
    tick.delete_old()


def remove_task_results() -> None:
    from django_celery_results.models import TaskResult

    TaskResult.objects.filter(pk__lt=100).update(date_done=Now() - timedelta(days=1000))
    with plans.full_scans() as found:
        assert task_results.remove_old() > 0
    assert found == []


def open_pages() -> None:
    read_snapshots(list(Run.objects.filter(status__in=("pending", "running")).values_list("pk", flat=True)[:20]))


def lines_of_a_run() -> None:
    longest = LogLine.objects.order_by("-run_id")[0].run_id
    reading.before(longest)
    reading.after(longest, reading.Place(1, LINES // 2))
    reading.before(longest, wanted=reading.Wanted(level=40))
    reading.at(longest, datetime(2026, 1, 1, tzinfo=UTC))
    reading.last_place(longest)


HOT: list[Callable[[], None]] = [
    launch, claim_and_end, claim_on_a_busy_worker, cancel, flush, sweep, renew, schedules, remove_task_results,
    open_pages, lines_of_a_run,
]  # fmt: skip


@pytest.mark.parametrize("hot", HOT, ids=lambda hot: hot.__name__)
def test_a_hot_path_reads_no_big_table_as_a_whole(hot: Callable[[], None]) -> None:
    with patch.object(wake, "workers"), patch.object(wake, "waiting", return_value=0), plans.full_scans() as found:
        hot()
    assert found == []


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?p=10",
        "?status__exact=failed",
        "?status__exact=running",
        "?experiment=scripted",
        "?q=12345",
    ],
)
def test_a_list_of_runs_reads_no_big_table_as_a_whole(query: str) -> None:
    client = admin()
    with plans.full_scans() as found:
        assert client.get(f"{reverse('admin:runs_run_changelist')}{query}").status_code == 200
    assert found == []


def test_home_and_the_page_of_a_run_read_no_big_table_as_a_whole() -> None:
    client, longest = admin(), LogLine.objects.order_by("-run_id")[0].run_id
    with plans.full_scans() as found:
        for path in (reverse("admin:index"), reverse("admin:runs_run_change", args=[longest])):
            assert client.get(path).status_code == 200
    assert found == []


def test_a_full_scan_is_noticed() -> None:
    with plans.full_scans() as found:
        list(Run.objects.filter(error="nowhere"))
    assert len(found) == 1
