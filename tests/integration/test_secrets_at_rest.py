"""Secrets of configurations in the database: marked, encrypted with a key, readable by the worker that starts a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from experiments import catalog
from experiments.models import Instance
from experiments.registry import forget
from experiments.sealing import Sealed, StoredSecret
from experiments.validation import MASK
from runs import services
from runs.exceptions import LaunchRefused, SpawnFailed
from runs.models import Run, Schedule
from runs.supervisor.child_spec import readable
from tests.factories import make_run
from tests.filling import send, sent_of
from tests.integration.admin.test_launching import layered
from tests.integration.test_services import end

pytestmark = pytest.mark.django_db

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))
TABLES = ("runs_run", "runs_schedule", "experiments_instance")
HUSH = "hush-hush"


@pytest.fixture(autouse=True)
def key(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("runs.wake.workers", lambda *_: None)
    settings.ATHANOR_SECRETS_KEY = OLD
    return settings


def stored() -> str:
    """Return the configurations of all rows as the database has them."""
    with connection.cursor() as cursor:
        texts = []
        for table in TABLES:
            cursor.execute(f"SELECT CAST(configuration AS text) FROM {table} ORDER BY id")
            texts += [row[0] for row in cursor.fetchall()]
    return "\n".join(texts)


def executed(run: Run) -> dict[str, Any]:
    """Return the configuration that a child gets."""
    return readable(Run.objects.get(pk=run.pk).configuration)[0]


def schedule(**values: Any) -> Schedule:
    return services.create_schedule("nightly", kind="interval", every_s=60, **values)


def test_secrets_are_encrypted_wherever_a_configuration_is_stored() -> None:
    instance = Instance.objects.create(name="mine", experiment="layered", configuration={"token": HUSH})
    scheduled = schedule(experiment="layered", configuration={"epochs": 4, "layers": [{"key": HUSH}]})
    runs = [
        services.launch("layered", configuration={"token": HUSH, "layers": [{"key": HUSH}]}),
        services.launch(instance),
        services.launch_many(instance, [{"token": HUSH, "epochs": 9}])[0],
        services.retry(end(services.launch(instance)).pk),
    ]
    assert HUSH not in stored()
    assert stored().count("athanor:sealed:") == 1 + 1 + 2 + 5 - 1
    assert [executed(run)["token"] for run in runs] == [HUSH] * 4
    assert executed(runs[0])["layers"][0]["key"] == HUSH
    assert isinstance(Schedule.objects.get(pk=scheduled.pk).configuration["layers"][0]["key"], Sealed)


def test_without_a_key_secrets_are_marked_and_stay_equal_to_their_text(key: Any) -> None:
    key.ATHANOR_SECRETS_KEY = ""
    run = services.launch("layered", configuration={"token": HUSH})
    assert f"athanor:plain:{HUSH}" in stored()
    run.refresh_from_db()
    assert run.configuration == layered(token=HUSH)
    assert isinstance(run.configuration["token"], StoredSecret)
    assert type(executed(run)["token"]) is str


@pytest.mark.parametrize("text", ["athanor:sealed:abc", "athanor:plain:x", "athanor:text:", "athanor:"])
def test_a_text_that_looks_like_a_stored_secret_is_stored_truthfully(text: str) -> None:
    run = services.launch("layered", configuration={"note": text, "token": text})
    fresh = Run.objects.get(pk=run.pk)
    assert (fresh.configuration["note"], type(fresh.configuration["note"])) == (text, str)
    assert executed(run)["note"] == text
    assert Run.objects.filter(configuration__note=text).get() == run


def test_without_the_right_key_a_run_fails_clearly_and_pages_work(key: Any, admin_client: Client) -> None:
    instance = Instance.objects.create(name="mine", experiment="layered", configuration={"token": HUSH})
    scheduled = schedule(instance=instance)
    run = end(services.launch(instance))
    for keys in ("", NEW, "no key"):
        key.ATHANOR_SECRETS_KEY = keys
        with pytest.raises(SpawnFailed, match=r"configuration.token: No key in ATHANOR_SECRETS_KEY"):
            executed(run)
        with pytest.raises(LaunchRefused, match=r"configuration.token: No key in ATHANOR_SECRETS_KEY"):
            services.retry(run.pk)
        with pytest.raises(LaunchRefused, match=r"configuration.token: No key in ATHANOR_SECRETS_KEY"):
            services.launch(instance)
        for url in (
            reverse("admin:runs_run_change", args=[run.pk]),
            reverse("admin:runs_run_launch") + f"?run={run.pk}",
            reverse("admin:runs_schedule_change", args=[scheduled.pk]),
            instance.get_absolute_url(),
        ):
            page = admin_client.get(url)
            assert page.status_code == 200, url
            assert b"athanor:" not in page.content
        answer = send(admin_client, instance.get_absolute_url(), sent_of(page.content), description="kept")
        assert b"No key in ATHANOR_SECRETS_KEY" in answer.content
    with pytest.raises(LaunchRefused, match="Cannot store its secrets"):
        services.launch("layered", configuration={"token": HUSH})


def test_a_form_keeps_an_encrypted_secret_and_says_what_changed(admin_client: Client) -> None:
    client = admin_client
    instance = Instance.objects.create(name="mine", experiment="layered", configuration={"token": HUSH})
    scheduled = schedule(instance=instance, configuration={"epochs": 4, "token": "other-one"})
    change = reverse("admin:runs_schedule_change", args=[scheduled.pk])
    send(client, change, sent_of(client.get(change).content), description="new")
    scheduled.refresh_from_db()
    assert (scheduled.description, scheduled.configuration["epochs"]) == ("new", 4)
    assert set(scheduled.configuration) == set(instance.configuration)
    assert isinstance(scheduled.configuration["token"], Sealed)
    url = instance.get_absolute_url()
    send(client, url, sent_of(client.get(url).content), name="renamed")
    assert executed(services.launch("renamed"))["token"] == HUSH


def test_keys_are_rotated_and_secrets_in_clear_are_encrypted(key: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = services.launch("layered", configuration={"token": HUSH})
    plain = make_run(experiment="layered", configuration=layered(token=HUSH, note="token"))
    gone = make_run(experiment="gone", configuration={"api_key": HUSH, "n": 1})
    Instance.objects.create(name="mine", experiment="layered", configuration={"token": HUSH})
    key.ATHANOR_SECRETS_KEY = f"{NEW},{OLD}"
    for arguments, number in ((["--dry-run"], 4), ([], 4), ([], 0)):
        call_command("rotate_secrets", *arguments)
        assert f"{number} secrets" in capsys.readouterr().out
    key.ATHANOR_SECRETS_KEY = NEW
    assert HUSH not in stored()
    assert [executed(each).get("token") for each in (run, plain)] == [HUSH, HUSH]
    assert (executed(gone), executed(plain)["note"]) == ({"api_key": HUSH, "n": 1}, "token")
    key.ATHANOR_SECRETS_KEY = OLD
    with pytest.raises(SystemExit, match="1"):
        call_command("rotate_secrets")
    assert "4 unreadable" in capsys.readouterr().out


STRICT = """
from pydantic import BaseModel, Field, SecretStr
from experiments import Experiment
class Strict(Experiment):
    class Config(BaseModel):
        key: SecretStr = Field(SecretStr("x" * 20), min_length=20)
        tokenizer: str = "bpe"
        n: int = 1
    def run(self, ctx): ...
"""


@pytest.mark.parametrize("keys", [OLD, ""], ids=["encrypted", "plain"])
def test_a_page_masks_nothing_else_of_a_model_that_the_mask_does_not_satisfy(
    key: Any, keys: str, admin_client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key.ATHANOR_SECRETS_KEY = keys
    (tmp_path / "strict.py").write_text(STRICT)
    monkeypatch.setenv("ATHANOR_EXPERIMENT_PATHS", str(tmp_path))
    forget()
    configuration = {"key": HUSH * 3, "tokenizer": "words"}
    instance = Instance.objects.create(name="mine", experiment="strict", configuration=configuration)
    instance.refresh_from_db()
    assert catalog.masked("strict", instance.configuration) == {"key": MASK, "tokenizer": "words", "n": 1}
    url = instance.get_absolute_url()
    send(admin_client, url, sent_of(admin_client.get(url).content), description="kept")
    instance.refresh_from_db()
    assert (instance.description, instance.configuration["tokenizer"]) == ("kept", "words")
    assert executed(services.launch(instance))["key"] == HUSH * 3
    forget()
