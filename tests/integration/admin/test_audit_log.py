"""Audit log: each act by each door, its page, its lines, and what it never holds."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from athanor import logs
from experiments.models import Instance
from runs import audit, services
from runs.models import AuditEntry, Run
from runs.schedules.tick import tick
from runs.states import Act, Door
from tests.factories import make_attempt, make_run
from tests.pages import finished, page_of
from tests.schedules import aged, make_schedule

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]

LIST = reverse("admin:runs_auditentry_changelist")


def newest() -> AuditEntry:
    entry = AuditEntry.objects.first()
    assert entry is not None
    return entry


def tuple_of(entry: AuditEntry) -> tuple[str, str, str, str]:
    return entry.door, entry.who, entry.act, entry.kind


def test_a_page_records_the_user_and_the_address(operator: Client) -> None:
    run = make_attempt().run
    operator.post(page_of(run, "cancel"), REMOTE_ADDR="192.0.2.7")
    entry = newest()
    assert tuple_of(entry) == ("admin", "user0", "cancel", "run")
    assert (entry.key, entry.address, entry.details) == (str(run.pk), "192.0.2.7", {"status": "running"})


def test_a_command_records_the_unix_user_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME"):
        monkeypatch.setenv(name, "somebody else")
    monkeypatch.setenv("SUDO_USER", "ada")
    call_command("launch_run", "scripted", stdout=StringIO())
    assert tuple_of(newest()) == ("command", audit.unix_user(), "launch", "run")
    assert newest().details == {"sudo_user": "ada"}


def test_a_program_records_the_unix_user_and_the_name_that_it_gives() -> None:
    services.cancel(make_run().pk, by="nightly script")
    assert tuple_of(newest()) == ("python", "nightly script", "cancel", "run")
    assert newest().details == {"unix_user": audit.unix_user(), "status": "cancelled"}


def test_a_scheduled_launch_records_its_schedule() -> None:
    aged(make_schedule("nightly"), seconds=61)
    tick(5)
    entry = AuditEntry.objects.get(door=Door.SCHEDULE)
    assert (entry.act, entry.key) == ("launch", str(Run.objects.get().pk))
    assert entry.details == {"schedule": "nightly"}


def test_many_launches_are_one_row() -> None:
    runs = services.launch_many("scripted", [{}, {}, {}])
    entry = AuditEntry.objects.get()
    assert (entry.act, entry.count, entry.key, entry.details) == ("launch", 3, str(runs[0].pk), {"last": runs[2].pk})


def test_nothing_is_recorded_of_what_is_rolled_back() -> None:
    with transaction.atomic():
        services.launch("scripted")
        transaction.set_rollback(True)
    assert not AuditEntry.objects.exists()


def test_changes_name_fields_and_hold_no_values() -> None:
    instance = Instance.objects.create(name="one", experiment="scripted", configuration={"text": "secret-1"})
    instance.configuration = {"text": "secret-2"}
    instance.save()
    assert (newest().act, newest().details) == ("change", {"fields": ["configuration.text"]})
    user = get_user_model().objects.create_user("ada", password="secret-3")
    user.set_password("secret-4")
    user.save()
    assert newest().details == {"fields": ["password"]}
    assert "secret" not in json.dumps(list(AuditEntry.objects.values_list("details", "name")))


def test_memberships_and_permissions_are_recorded_with_their_names(own_groups: None) -> None:
    user = get_user_model().objects.create(username="ada")
    user.groups.add(Group.objects.get(name="operator"))
    assert (newest().kind, newest().details) == ("user", {"groups": "added", "names": ["operator"]})
    Group.objects.get(name="viewer").permissions.clear()
    assert (newest().kind, newest().details) == ("group", {"permissions": "cleared"})


def test_sign_ins_are_recorded_and_failed_ones_are_bounded(client: Client, configure: Callable[..., None]) -> None:
    configure(audit_failures_max=2)
    get_user_model().objects.create_user("ada", password="right", is_staff=True)
    for name in ("ada", "a\0\x1b[31m\nb", "c"):
        client.post(reverse("admin:login"), {"username": name, "password": "wrong"}, REMOTE_ADDR="192.0.2.7")
    client.post(reverse("admin:login"), {"username": "ada", "password": "right"})
    client.post(reverse("admin:logout"))
    entries = AuditEntry.objects.filter(act__startswith="sign").order_by("pk")
    assert [entry.act for entry in entries] == ["sign_in_failed", "sign_in_failed", "sign_in", "sign_out"]
    assert (entries[0].name, entries[0].who, entries[0].address) == ("ada", "", "192.0.2.7")
    assert entries[2].who == entries[3].who == "ada"


@pytest.mark.parametrize(
    ("what", "act"), [("download", Act.DOWNLOAD), ("compare", Act.EXPORT), ("command", Act.EXPORT)]
)
def test_downloads_and_exports_are_recorded(operator: Client, what: str, act: Act) -> None:
    run, other = finished(), finished()
    if what == "download":
        b"".join(operator.get(reverse("admin:runs_run_download", args=[run.pk, "txt"])))
    elif what == "compare":
        operator.get(reverse("admin:runs_run_compare") + f"?runs={run.pk},{other.pk}&format=csv")
    else:
        call_command("export_results", run.pk, stdout=StringIO())
    assert newest().act == act


def test_the_page_filters_and_searches(as_user: Callable[..., Client]) -> None:
    auditor = as_user("runs.view_auditentry")
    services.cancel(make_run().pk, by="grace")
    services.launch("scripted")
    for query, shown in (("?act=cancel", 1), ("?act=launch", 1), ("?door=admin", 0), ("?q=grace", 1), ("?kind=run", 2)):
        answer = auditor.get(LIST + query)
        assert (answer.status_code, len(answer.context["cl"].result_list)) == (200, shown)
    assert auditor.get(LIST + "?details__regex=a").status_code == 400
    assert auditor.get(reverse("admin:runs_run_changelist")).status_code == 403


@pytest.mark.any_database
def test_nobody_changes_an_entry(as_user: Callable[..., Client]) -> None:
    entry = AuditEntry.objects.create(door=Door.PYTHON, act=Act.LAUNCH)
    superuser = as_user(is_superuser=True)
    data = {"action": "delete_selected", "_selected_action": [entry.pk], "post": "yes"}
    superuser.post(LIST, data)
    change = reverse("admin:runs_auditentry_change", args=[entry.pk])
    assert superuser.post(change, {"who": "somebody else"}).status_code == 403
    for verb in (entry.save, entry.delete):
        with pytest.raises(TypeError, match="cannot be changed"):
            verb()
    assert AuditEntry.objects.get(pk=entry.pk).who == ""


def test_the_history_of_an_object_comes_from_the_audit_log(operator: Client, as_user: Callable[..., Client]) -> None:
    run = make_attempt().run
    operator.post(page_of(run, "cancel"), REMOTE_ADDR="192.0.2.7")
    history = operator.get(page_of(run, "history")).content.decode()
    assert "Cancel requested" in history
    assert "192.0.2.7" not in history
    assert "192.0.2.7" in as_user(is_superuser=True).get(page_of(run, "history")).content.decode()


@pytest.mark.any_database
def test_djangos_log_is_copied_with_its_users_and_times() -> None:
    user = get_user_model().objects.create(username="ada")
    then = timezone.now() - timedelta(days=3)
    kind = ContentType.objects.get(app_label="auth", model="group")
    LogEntry.objects.create(
        user=user, action_flag=2, action_time=then, content_type=kind, object_id="7", object_repr="x" * 200,
        change_message="Changed Cron, from 192.0.2.7",
    )  # fmt: skip
    migration = import_module("runs.migrations.0005_audit")
    migration.copy_django_log(apps, SimpleNamespace(connection=connection))
    entry = newest()
    assert tuple_of(entry) == ("admin", "ada", "change", "group")
    assert (entry.at, entry.key, entry.details) == (then, "7", {"log": "Changed Cron, from 192.0.2.7"})


def test_old_entries_are_removed_in_batches(configure: Callable[..., None]) -> None:
    configure(audit_batch=2, audit_keep_days=1)
    for days in (3, 2, 2, 0):
        AuditEntry.objects.create(door=Door.PYTHON, act=Act.LAUNCH, at=timezone.now() - timedelta(days=days))
    assert [audit.remove_old() for _ in range(3)] == [2, 1, 0]
    assert AuditEntry.objects.count() == 1


def test_entries_are_written_as_lines_after_the_commit(tmp_path: Path, django_capture_on_commit_callbacks: Any) -> None:
    file = tmp_path / "audit.jsonl"
    handler = logs.PrivateFile(file, delay=True, encoding="utf-8")
    audit.log.addHandler(handler)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            services.cancel(make_run().pk, by="grace\x1b[31m\n{}")
            assert not file.exists()
    finally:
        audit.log.removeHandler(handler)
        handler.close()
    (line,) = file.read_text().splitlines()
    assert (json.loads(line)["act"], json.loads(line)["who"]) == ("cancel", "grace {}")
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("target", ["audit.jsonl", "/no/such/folder/audit.jsonl", "syslog:host", "syslog::514"])
def test_a_wrong_target_of_the_lines_is_refused(target: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="ATHANOR_AUDIT_LOG"):
        logs.configuration("INFO", audit=target)


@pytest.mark.parametrize(("target", "address"), [("syslog:", str), ("syslog:logs.example.org:514", tuple)])
def test_syslog_is_local_or_has_a_host_and_a_port(target: str, address: type) -> None:
    configuration = logs.configuration("INFO", audit=target)
    assert isinstance(configuration["handlers"]["audit"]["address"], address)
    assert configuration["loggers"][logging.getLogger("athanor.audit").name]["handlers"] == ["audit"]
