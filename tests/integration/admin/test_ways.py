"""Links into and out of the admin of runs: the launch of an instance, artifacts."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client
from django.urls import reverse

from experiments.models import Instance
from runs import folders
from runs.admin import downloads
from runs.models import Artifact, Run
from tests.pages import finished

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]


def test_the_page_of_an_instance_has_a_launch_for_those_who_may(viewer: Client, operator: Client) -> None:
    instance = Instance.objects.create(name="mine", experiment="scripted")
    path = reverse("admin:experiments_instance_change", args=[instance.pk])
    link = reverse("admin:experiments_instance_launch", args=[instance.pk])
    assert link in operator.get(path).content.decode()
    assert link not in viewer.get(path).content.decode()
    assert operator.get(link)["Location"] == reverse("admin:runs_run_launch") + f"?instance={instance.pk}"
    assert viewer.get(link).status_code == 403


def keep(run: Run, name: str, content_type: str, path: str | None = None) -> str:
    folder = folders.run_folder(run.pk)
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
    secret = folders.run_folder(run.pk).parent / "secret"
    keep(run, "own.txt", "text/plain")
    secret.write_text("no")
    (folders.run_folder(run.pk) / "link").symlink_to(secret)
    for number, path in enumerate(("../secret", str(secret), "link", "nowhere", ".")):
        assert viewer.get(keep(run, f"f{number}", "text/plain", path)).status_code == 404
