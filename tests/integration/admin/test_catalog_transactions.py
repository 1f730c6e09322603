"""No code of an author's runs within a transaction, which would hold rows, and SQLite's one writer, for as long."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from experiments import catalog
from experiments.catalog.local import LocalBackend
from experiments.exceptions import CatalogUnavailable
from experiments.models import Instance
from runs import services
from runs.exceptions import ScheduleRefused
from runs.models import Schedule
from tests.pages import finished
from tests.schedules import aged, database_now, make_schedule, states, tick

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]

SCHEDULE_FORM = {
    "name": "made",
    "experiment": "scripted",
    "configuration": "{}",
    "kind": "interval",
    "every_s": "60",
    "time_zone": "UTC",
    "overlap": "skip",
    "catch_up": "latest",
    "catch_up_window_s": "1h",
    "pause_after_failures": "0",
    "limits": "{}",
}


class Watching(LocalBackend):
    """Notes how deep in transactions each question is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.depths: list[int] = []
        self.is_loading = False

    def validate(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_loading:
            raise CatalogUnavailable("Experiments are still being loaded.")
        self.depths.append(len(connection.atomic_blocks))
        return super().validate(*args, **kwargs)

    def configure(self, *args: Any, **kwargs: Any) -> Any:
        self.depths.append(len(connection.atomic_blocks))
        return super().configure(*args, **kwargs)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Watching:
    watching = Watching()
    monkeypatch.setattr(catalog, "_backend", watching)
    return watching


def backfill(schedule: Schedule, _client: Client) -> object:
    now = database_now()
    return services.backfill_schedule(schedule.pk, now - timedelta(minutes=5), now, by="ada")


def post(name: str, values: dict[str, str], *arguments: int) -> Callable[[Schedule, Client], object]:
    return lambda _, client: client.post(reverse(f"admin:{name}", args=arguments), values)


VERBS: dict[str, Callable[[Schedule, Client], object]] = {
    "tick": lambda schedule, _: tick(),
    "create": lambda schedule, _: make_schedule("another"),
    "change": lambda schedule, _: services.change_schedule(schedule.pk, priority=3),
    "change its time": lambda schedule, _: services.change_schedule(schedule.pk, every_s=30),
    "pause": lambda schedule, _: services.pause_schedule(schedule.pk, by="ada"),
    "trigger": lambda schedule, _: services.trigger_schedule(schedule.pk, by="ada"),
    "backfill": backfill,
    "launch": lambda schedule, _: services.launch("scripted"),
    "rerun": lambda schedule, _: services.rerun(finished().pk),
    "retry": lambda schedule, _: services.retry(finished().pk),
    "schedule form": post("runs_schedule_add", SCHEDULE_FORM),
    "instance form": post("experiments_instance_add", {"experiment": "scripted", "name": "one", "priority": "0"}),
    "launch form": lambda schedule, client: client.post(reverse("admin:runs_run_launch") + "?experiment=scripted", {}),
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_configuration_is_validated_within_a_transaction(verb: str, backend: Watching, admin_client: Client) -> None:
    schedule, outside = aged(make_schedule(), seconds=70), len(connection.atomic_blocks)
    backend.depths.clear()

    VERBS[verb](schedule, admin_client)

    assert set(backend.depths) == {outside}


def test_forms_that_validate_outside_of_a_transaction_save(backend: Watching, admin_client: Client) -> None:
    for verb in ("schedule form", "instance form"):
        VERBS[verb](Schedule(), admin_client)

    assert Schedule.objects.filter(name="made").exists()
    assert Instance.objects.filter(name="one").exists()


def test_slots_wait_for_experiments_that_are_being_loaded_and_are_launched_then(backend: Watching) -> None:
    schedule = aged(make_schedule(), seconds=70)

    backend.is_loading = True
    tick()
    assert states(schedule) == []
    backend.is_loading = False
    tick()

    assert states(schedule) == ["launched"]


def test_a_schedule_that_changed_after_its_launch_was_made_ready_is_left_for_the_next_tick(
    backend: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = aged(make_schedule(), seconds=70)
    validate = backend.validate

    def changing(*args: Any, **kwargs: Any) -> Any:
        Schedule.objects.filter(pk=schedule.pk).update(priority=5)
        return validate(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(backend, "validate", changing)
        tick()
    assert states(schedule) == []
    tick()

    assert schedule.runs.get().priority == 5


@pytest.mark.parametrize("is_loading", [True, False])
def test_another_timetable_is_refused_where_due_slots_would_be_lost(backend: Watching, is_loading: bool) -> None:
    schedule = aged(make_schedule(), seconds=70)
    validate = backend.validate
    asked: list[object] = []

    def loading_later(*args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        backend.is_loading = is_loading and len(asked) > 1
        return validate(*args, **kwargs)

    backend.validate = loading_later  # type: ignore[method-assign]
    if not is_loading:
        services.change_schedule(schedule.pk, every_s=30)
        assert states(schedule) == ["launched"]
        return
    with pytest.raises(ScheduleRefused, match="are due"):
        services.change_schedule(schedule.pk, every_s=30)
    assert Schedule.objects.get(pk=schedule.pk).every_s == 60
