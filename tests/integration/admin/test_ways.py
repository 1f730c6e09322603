"""What leads into the admin's runs and out of them: launching, artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.test import AsyncClient, Client
from django.urls import reverse

from experiments.models import Instance
from runs import erasing
from runs.admin import downloads
from runs.models import Artifact, Run
from tests.factories import make_run
from tests.pages import finished, page_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]


def test_a_launch_with_an_error_keeps_what_was_typed_and_says_it_at_the_field(operator: Client) -> None:
    url = reverse("admin:runs_run_launch") + "?experiment=scripted"
    answer = operator.post(url, {"configuration": '{"count": -1, "behavior": "ok"}', "memory": "1k", "timeout": "soon"})
    assert answer.status_code == 422
    errors = answer.context["form"].errors
    assert "10m, 1.5h, 2d" in errors["timeout"][0]
    answer = operator.post(url, {"configuration": '{"count": -1, "behavior": "ok"}', "memory": "1k"})
    errors = answer.context["form"].errors
    assert set(errors) == {"configuration", "memory"}
    assert {message.partition(":")[0] for message in errors["configuration"]} == {"count", "behavior"}
    assert "&quot;behavior&quot;" in answer.content.decode()
    assert not Run.objects.exists()


def test_a_launch_leads_to_the_new_run(operator: Client) -> None:
    data = {
        "configuration": '{"count": 2}',
        "name": "n",
        "tags": "a, b",
        "timeout": "10m",
        "seed": "4",
        "priority": "2",
    }
    answer = operator.post(reverse("admin:runs_run_launch") + "?experiment=scripted", data)
    run = Run.objects.get()
    assert answer["Location"] == page_of(run)
    assert (run.name, run.tags, run.seed, run.priority, run.configuration["count"]) == ("n", ["a", "b"], 4, 2, 2)
    assert run.limits["timeout_s"] == 600
    assert run.launched_by is not None
    assert run.launched_via == "admin"
    assert LogEntry.objects.get().change_message == "Launched, from 127.0.0.1"


def test_the_launch_page_begins_with_defaults_an_instance_or_a_run(operator: Client) -> None:
    instance = Instance.objects.create(name="mine", experiment="scripted", configuration={"text": "from it"})
    run = make_run(configuration={"text": "of the run"})
    url = reverse("admin:runs_run_launch")
    for query, text in (
        ({"experiment": "scripted"}, '"text": "scripted"'),
        ({"instance": str(instance.pk)}, '"text": "from it"'),
        ({"run": str(run.pk)}, '"text": "of the run"'),
    ):
        form = operator.get(url, query).context["form"]
        assert text in str(form["configuration"].value())
    assert "scripted" in operator.get(url).content.decode()
    assert operator.get(url, {"experiment": "gone"}).context["form"] is None


def test_launching_an_instance_uses_exactly_what_is_on_the_page(operator: Client) -> None:
    instance = Instance.objects.create(name="mine", experiment="scripted", configuration={"die_at": {"1": 2}})
    url = reverse("admin:runs_run_launch") + f"?instance={instance.pk}"
    operator.post(url, {"configuration": json.dumps(instance.configuration | {"die_at": {}})})
    run = Run.objects.get()
    assert (run.instance, run.configuration["die_at"]) == (instance, {})


def test_who_may_launch_instances_launches_no_other(as_user: Callable[..., Client]) -> None:
    instance = Instance.objects.create(name="mine", experiment="scripted")
    client = as_user("experiments.view_instance", "experiments.launch_instance")
    url = reverse("admin:runs_run_launch")
    assert client.get(url, {"instance": instance.pk}).status_code == 200
    assert client.get(url, {"experiment": "scripted"}).status_code == 403
    assert client.get(url).status_code == 403


def test_the_page_of_an_instance_has_a_launch_for_those_who_may(viewer: Client, operator: Client) -> None:
    instance = Instance.objects.create(name="mine", experiment="scripted")
    path = reverse("admin:experiments_instance_change", args=[instance.pk])
    link = reverse("admin:experiments_instance_launch", args=[instance.pk])
    assert link in operator.get(path).content.decode()
    assert link not in viewer.get(path).content.decode()
    assert operator.get(link)["Location"] == reverse("admin:runs_run_launch") + f"?instance={instance.pk}"
    assert viewer.get(link).status_code == 403


def keep(run: Run, name: str, content_type: str, path: str | None = None) -> str:
    folder = erasing.run_folder(run.pk)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"<script>")
    row = Artifact.objects.create(
        run=run, attempt=1, name=name, path=path or name, content_type=content_type, size_bytes=8, sha256=""
    )
    return reverse("admin:runs_run_artifact", args=[row.pk])


@pytest.mark.parametrize(
    ("name", "content_type", "sent_as", "disposition"),
    [
        ("a.png", "image/png", "image/png", "inline"),
        ("a.html", "text/html", "application/octet-stream", "attachment"),
        ("a.svg", "image/svg+xml", "application/octet-stream", "attachment"),
    ],
)
def test_only_plain_images_are_shown_by_the_browser(
    viewer: Client, name: str, content_type: str, sent_as: str, disposition: str
) -> None:
    answer = viewer.get(keep(finished(), name, content_type))
    assert b"".join(answer) == b"<script>"
    assert answer["Content-Type"] == sent_as
    assert answer["Content-Disposition"].startswith(disposition)
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]


def test_a_large_artifact_is_streamed_by_the_real_server(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "CHUNK_BYTES", 3)
    url = keep(finished(), "a.bin", "application/octet-stream")
    client = AsyncClient()
    client.cookies = viewer.cookies

    async def fetch() -> list[bytes]:
        answer: Any = await client.get(url)
        return [piece async for piece in answer.streaming_content]

    assert async_to_sync(fetch)() == [b"<sc", b"rip", b"t>"]


def test_an_artifact_outside_of_its_run_is_not_sent(viewer: Client) -> None:
    run = finished()
    secret = erasing.run_folder(run.pk).parent / "secret"
    keep(run, "own.txt", "text/plain")
    secret.write_text("no")
    (erasing.run_folder(run.pk) / "link").symlink_to(secret)
    for number, path in enumerate(("../secret", str(secret), "link", "nowhere", ".")):
        assert viewer.get(keep(run, f"f{number}", "text/plain", path)).status_code == 404
