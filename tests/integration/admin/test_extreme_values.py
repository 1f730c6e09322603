"""Every page answers for every value that can be stored, and says what it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from experiments.jsonvalues import pack_leniently
from experiments.models import Instance
from runs.models import Artifact, Attempt, Run
from runs.states import Status
from tests.factories import make_attempt, make_run
from tests.output import end_run, store_lines, store_metric, store_result
from tests.pages import page_of
from tests.schedules import make_schedule

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": [value]}
    return value


VALUES: dict[str, Any] = {
    "huge integer": 10**400,
    "huge negative integer": -(10**400),
    "largest integer that Python prints": 10**4299,
    "smallest number": 5e-324,
    "largest number": 1.7e308,
    "lone surrogate": "\ud800",
    "surrogate in a key": {"\udfff": "\ud800"},
    "control characters": "".join(map(chr, range(1, 32))) + "\x7f\x85\u2028\u202e",
    "markup": "</script><b>{{ 7|add:7 }}{% now %}",
    "empty name": {"": {"": ""}},
    "name of 200 characters": {"n" * 200: "v" * 200},
    "deep nesting": nested(400),
    "long list": list(range(20_000)),
    "many keys": {f"key {n}": n for n in range(3_000)},
    "long text": "x" * 1_000_000,
    "nonfinite as text": ["nan", "inf", "-inf"],
    "mixed types": {"a": [None, True, 1.5, "b", {}], "b": [], "c": {}},
    "null": None,
}


def value_of(name: str) -> Any:
    """Return the value as the database can hold it: PostgreSQL refuses half a surrogate pair, which is packed."""
    value = VALUES[name]
    return (
        pack_leniently(value, max_bytes=10_000) if connection.vendor == "postgresql" and "surrogate" in name else value
    )


def configuration_with(value: Any) -> dict[str, Any]:
    """A launch refuses a configuration that is nested as deeply."""
    return {"behaviour": "ok", "x": "x" if value is VALUES["deep nesting"] else value}


@pytest.fixture(params=VALUES)
def run(request: pytest.FixtureRequest) -> Run:
    """A failed run that has the value in every place that can hold it."""
    value = value_of(request.param)
    name = value if isinstance(value, str) else request.param
    text = name[:190].encode("utf-8", "replace").decode().replace("\0", "")
    attempt = make_attempt(
        make_run(name=text, configuration=configuration_with(value), tags=[text], limits={"memory_limit_bytes": None})
    )
    store_lines(attempt, [1], message=text, metadata={"value": value, text: 1})
    store_result(attempt, text or "empty", value, seq=1)
    store_result(attempt, "", value, seq=2)
    store_metric(attempt, "m" * 200, [1.0, 1.7e308, -1.7e308, 5e-324], first_seq=3)
    Artifact.objects.create(
        run=attempt.run, attempt=1, name=text, path="x", content_type="text/plain", size_bytes=2**62, sha256=""
    )
    Attempt.objects.filter(pk=attempt.pk).update(
        error=text,
        traceback=text,
        certificate={"x": value, "stacks": text},
        inspection={"at": text, "stacks": text, "processes": []},
        provenance={"host": value, "packages": {text: text}},
        peak_memory_bytes=2**62,
        cpu_seconds=1.7e308,
    )
    progress = {"progress_current": 1.7e308, "progress_total": 5e-324, "progress_message": text}
    return end_run(attempt, Status.FAILED, error=text, summary={"x": value, "": value}, **progress)


def addresses(run: Run) -> Iterator[str]:
    for name in ("change", "live", "lines", "metrics", "history"):
        yield page_of(run, name)
    for form in ("txt", "jsonl"):
        yield reverse("admin:runs_run_download", args=[run.pk, form])
    yield reverse("admin:runs_run_line", args=[run.pk, 1, 1])
    yield reverse("admin:index")
    yield reverse("admin:runs_run_home")
    yield reverse("admin:runs_run_changelist") + "?columns=config.x,result.x,result.&sort=result.x"
    yield reverse("admin:runs_run_rows") + f"?ids={run.pk}"
    yield reverse("admin:runs_run_launch") + f"?run={run.pk}"
    yield reverse("admin:runs_run_compare") + f"?runs={run.pk},{other().pk}"
    yield reverse("admin:runs_run_compare") + f"?runs={run.pk},{other().pk}&format=csv"
    yield reverse("admin:runs_run_compare_metrics") + f"?runs={run.pk},{other().pk}"
    yield reverse("admin:search") + "?s=run"


def other() -> Run:
    return make_run()


def test_every_page_of_a_run_answers(admin_client: Client, run: Run) -> None:
    for address in addresses(run):
        answer = admin_client.get(address)
        assert answer.status_code == 200, address
        content = b"".join(answer) if answer.streaming else answer.content
        content.decode()
        if answer["Content-Type"].startswith("application/json"):
            assert b"NaN" not in content, address
            assert b"Infinity" not in content, address


@pytest.mark.parametrize("name", VALUES)
def test_every_page_of_an_instance_and_a_schedule_answers(admin_client: Client, name: str) -> None:
    configuration = configuration_with(value_of(name))
    instance = Instance(name="one", experiment="scripted", configuration=configuration)
    Instance.objects.bulk_create([instance])
    schedule = make_schedule()
    type(schedule).objects.filter(pk=schedule.pk).update(
        configuration=configuration, limits={"timeout_s": value_of(name)}
    )
    instance = Instance.objects.get(name="one")
    for address in (
        reverse("admin:experiments_instance_change", args=[instance.pk]),
        reverse("admin:experiments_instance_changelist"),
        reverse("admin:runs_run_launch") + f"?instance={instance.pk}",
        reverse("admin:runs_schedule_page", args=[schedule.pk]),
        reverse("admin:runs_schedule_change", args=[schedule.pk]),
        reverse("admin:runs_schedule_changelist"),
    ):
        answer = admin_client.get(address)
        assert answer.status_code == 200, address
        answer.content.decode()
