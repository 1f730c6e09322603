"""References in secret fields: what a worker reads for them, what it refuses, and what pages show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from experiments.conf import experiments_settings
from experiments.models import Instance
from runs import services
from runs.exceptions import LaunchRefused, SpawnFailed
from runs.models import Run
from runs.supervisor.child_spec import readable

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Path:
    """Return a folder of secrets, and allow the variables LAB_* and ATHANOR_*."""
    folder, outside = tmp_path / "secrets", tmp_path / "outside"
    folder.mkdir()
    (folder / "real").mkdir()
    (folder / "real" / "key").write_text("from a file\n")
    (folder / "key").symlink_to("real/key")
    outside.write_text("no")
    (folder / "escape").symlink_to(outside)
    (folder / "large").write_bytes(b"x" * 70_000)
    (folder / "binary").write_bytes(b"\xff")
    os.mkfifo(folder / "pipe")
    settings.ATHANOR_EXPERIMENTS = {"secret_folders": str(folder), "variables": ("LAB_*", "ATHANOR_*")}
    monkeypatch.setenv("LAB_KEY", "from the environment")
    monkeypatch.setenv("OTHER_KEY", "no")
    monkeypatch.setattr("runs.wake.workers", lambda *_: None)
    experiments_settings.cache_clear()
    return folder


def executed(token: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the token that a child gets, and the secrets that are redacted."""
    run = services.launch("layered", configuration={"token": token})
    configuration, secrets = readable(Run.objects.get(pk=run.pk).configuration)
    return configuration["token"], secrets


@pytest.mark.parametrize(
    ("token", "secret"),
    [
        ("env:LAB_KEY", "from the environment"),
        ("file:{}/key", "from a file"),
        ("file:{}/real/../key", "from a file"),
        ("literal:env:LAB_KEY", "env:LAB_KEY"),
        ("literal:literal:x", "literal:x"),
        ("environment:LAB_KEY", "environment:LAB_KEY"),
    ],
)
def test_a_worker_reads_what_a_reference_names(folder: Path, token: str, secret: str) -> None:
    assert executed(token.format(folder)) == (secret, [("token", secret)])


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("env:OTHER_KEY", "may not name the environment variable 'OTHER_KEY'"),
        ("env:ATHANOR_SECRET_KEY", "may not name the environment variable 'ATHANOR_SECRET_KEY'"),
        ("env:LAB_NONE", "The worker has no environment variable 'LAB_NONE'"),
        ("env:", "The worker has no environment variable ''"),
        ("file:{}/../outside", "is in no folder of secrets"),
        ("file:{}/escape", "is in no folder of secrets"),
        ("file:key", "is in no folder of secrets"),
        ("file:/etc/passwd", "is in no folder of secrets"),
        ("file:{}/none", "No such file"),
        ("file:{}", "Is a directory"),
        ("file:{}/pipe", "not a regular file"),
        ("file:{}/large", "is larger than 65,536 bytes"),
        ("file:{}/binary", "is not UTF-8 text"),
        ("file:{}/key\0", "not a valid path"),
    ],
)
def test_a_worker_refuses_other_references_and_says_why(folder: Path, token: str, reason: str) -> None:
    token = token.format(folder)
    if "\0" in token:
        with pytest.raises(LaunchRefused):
            executed(token)
        return
    with pytest.raises(SpawnFailed, match="^.*" + reason.replace("(", r"\(")):
        executed(token)


def test_pages_show_a_reference_and_a_plain_text_is_none(admin_client: Client) -> None:
    configuration = {"token": "env:LAB_KEY", "note": "env:LAB_KEY", "epochs": 3}
    run = services.launch(Instance.objects.create(name="mine", experiment="layered", configuration=configuration))
    for url in (reverse("admin:runs_run_change", args=[run.pk]), reverse("admin:runs_run_launch") + f"?run={run.pk}"):
        assert "env:LAB_KEY" in admin_client.get(url).content.decode()
    assert readable(run.configuration)[0]["note"] == "env:LAB_KEY"
    other = services.launch("mine", configuration={"epochs": 4})  # a reference follows other values
    assert (other.configuration["epochs"], other.configuration["token"]) == (4, "env:LAB_KEY")
