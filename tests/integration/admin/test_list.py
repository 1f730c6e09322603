"""Admin of runs: permissions, the list and its actions, deleting."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_results.models import TaskResult

from runs import deletion, folders
from runs.models import Artifact, Attempt, AuditEntry, LogLine, Result, Run
from runs.states import Act, Door, Status
from tests.factories import make_attempt, make_run
from tests.output import store_lines, store_result
from tests.pages import finished, page_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]


LOOKING = ["list", "change", "live", "line", "artifact"]
DOING = ["cancel", "retry", "rerun", "launch", "delete"]


def ask(client: Client, what: str) -> int:
    """Return the status of one view's answer, for a run (and its related rows) that suits it."""
    run = make_attempt().run if what == "cancel" else finished()
    artifact = Artifact.objects.create(
        run=run, attempt=1, name="a.txt", path="a.txt", content_type="text/plain", size_bytes=2, sha256=""
    )
    folders.run_folder(run.pk).mkdir(parents=True, exist_ok=True)
    (folders.run_folder(run.pk) / "a.txt").write_text("hi")
    store_lines(Attempt.objects.get(run=run), [9])
    if what in ("cancel", "retry", "rerun"):
        return client.post(page_of(run, what)).status_code
    paths = {
        "list": reverse("admin:runs_run_changelist"),
        "line": reverse("admin:runs_run_line", args=[run.pk, 1, 9]),
        "artifact": reverse("admin:runs_run_artifact", args=[artifact.pk]),
        "launch": reverse("admin:runs_run_launch") + "?experiment=scripted",
    }
    answer = client.get(paths.get(what) or page_of(run, what))
    if answer.streaming:
        b"".join(answer)  # to the end, which closes the file
    return answer.status_code


@pytest.mark.parametrize("what", [*LOOKING, *DOING])
def test_the_anonymous_are_sent_to_the_login(what: str) -> None:
    assert ask(Client(), what) == 302
    assert not AuditEntry.objects.filter(door=Door.ADMIN).exists()


@pytest.mark.parametrize("what", [*LOOKING, *DOING])
def test_staff_without_permissions_see_and_do_nothing(as_user: Callable[..., Client], what: str) -> None:
    assert ask(as_user(), what) == 403


@pytest.mark.parametrize("what", LOOKING)
def test_a_viewer_sees_everything(viewer: Client, what: str) -> None:
    assert ask(viewer, what) == 200


@pytest.mark.parametrize("what", DOING)
def test_a_viewer_does_nothing(viewer: Client, what: str) -> None:
    before = Run.objects.count()
    assert ask(viewer, what) == 403
    assert Run.objects.count() == before + 1
    assert not Run.objects.filter(cancel_requested_at__isnull=False).exists()


@pytest.mark.parametrize("what", [*LOOKING, *DOING])
def test_an_operator_sees_and_does_everything(operator: Client, what: str) -> None:
    assert ask(operator, what) in (200, 302)


@pytest.mark.parametrize("action", ["cancel_runs", "retry_runs", "rerun_runs", "delete_selected"])
def test_a_viewer_has_no_actions(viewer: Client, action: str) -> None:
    run = finished() if action != "cancel_runs" else make_run()
    viewer.post(reverse("admin:runs_run_changelist"), {"action": action, "_selected_action": [run.pk], "post": "yes"})
    run.refresh_from_db()
    assert (Run.objects.count(), run.cancel_requested_at) == (1, None)


@pytest.mark.parametrize("what", ["cancel", "retry", "rerun"])
def test_what_changes_something_is_a_post_with_a_token(operator: Client, what: str) -> None:
    run = finished()
    assert operator.get(page_of(run, what)).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post(page_of(run, what)).status_code == 403


def test_nothing_of_a_run_is_edited(operator: Client, as_user: Callable[..., Client]) -> None:
    run = finished()
    root = as_user(is_superuser=True)
    assert root.post(page_of(run), {"status": "failed"}).status_code == 403
    assert root.get(reverse("admin:runs_run_add")).status_code == 403


def test_the_list_takes_a_constant_number_of_queries(viewer: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            assert viewer.get(reverse("admin:runs_run_changelist")).status_code == 200
        return len(found)

    finished(launched_by=get_user_model().objects.get())
    first = queries()
    for _ in range(10):
        finished(launched_by=get_user_model().objects.get())
    assert queries() == first


def test_the_list_never_counts_the_table(viewer: Client) -> None:
    finished()
    with CaptureQueriesContext(connection) as found:
        viewer.get(reverse("admin:runs_run_changelist"), {"status__exact": "completed", "q": "run"})
    assert not [query["sql"] for query in found if "COUNT(" in query["sql"] and "runs_run" in query["sql"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "needle"}, True),
        ({"q": "hay"}, False),
        ({"experiment": "scripted"}, True),
        ({"experiment": "gone"}, False),
        ({"status__exact": "completed"}, True),
        ({"failure_kind__exact": "lost"}, False),
        ({"q": "99999999999999999999"}, False),
    ],
)
def test_the_list_is_searched_and_filtered(viewer: Client, query: dict[str, str], found: bool) -> None:
    finished(name="needle")
    answer = viewer.get(reverse("admin:runs_run_changelist"), query)
    assert ("needle</a>" in answer.content.decode()) is found


def test_a_number_finds_its_run(viewer: Client) -> None:
    run, other = finished(name="this"), finished(name="that")
    content = viewer.get(reverse("admin:runs_run_changelist"), {"q": str(run.pk)}).content.decode()
    assert page_of(run) in content
    assert page_of(other) not in content


def act(client: Client, action: str, runs: list[Run]) -> str:
    """Do an action on runs of the list; returns the messages."""
    data = {"action": action, "_selected_action": [run.pk for run in runs]}
    answer = client.post(reverse("admin:runs_run_changelist"), data, follow=True)
    return " ".join(str(message) for message in answer.context["messages"])


def test_cancelling_many_tells_how_many(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make_run(), make_run(), make_attempt().run, finished()]
    assert act(operator, "cancel_runs", runs) == "2 cancelled, 1 cancelling, 1 had already finished."
    assert Run.objects.filter(status=Status.CANCELLED).count() == 2
    assert AuditEntry.objects.filter(act=Act.CANCEL, address="127.0.0.1").count() == 3


def test_one_refused_rerun_does_not_stop_the_others(operator: Client) -> None:
    runs = [finished(), make_run(), finished()]
    said = act(operator, "rerun_runs", runs)
    assert said.startswith("2 rerun.")
    assert f"Run {runs[1].pk} is pending" in said
    assert Run.objects.filter(origin_kind="rerun").count() == 2


def test_deleting_takes_everything_of_finished_runs_with_it(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "CHUNK", 2)
    run, kept = finished(), finished()
    store_result(Attempt.objects.get(run=run), "a", 1, seq=1)
    descendant = make_run(origin=run, origin_kind="retry")
    folder = folders.run_folder(run.pk)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(b"x")

    assert operator.post(page_of(run, "delete"), {"post": "yes"}).status_code == 302

    assert set(Run.objects.values_list("pk", flat=True)) == {kept.pk, descendant.pk}
    assert LogLine.objects.count() == 3
    assert not Result.objects.exists()
    assert not folder.exists()


def test_a_run_that_is_not_final_is_not_deleted(operator: Client) -> None:
    run = make_run()
    assert operator.post(page_of(run, "delete"), {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [run.pk], "post": "yes"}
    assert "Cancel it first" in operator.post(reverse("admin:runs_run_changelist"), data).content.decode()
    assert deletion.erase([run.pk]) == 0
    assert Run.objects.filter(pk=run.pk).exists()


def test_deleting_many_asks_first_and_loads_no_lines(operator: Client) -> None:
    runs = [finished(), finished()]
    data = {"action": "delete_selected", "_selected_action": [run.pk for run in runs]}
    with CaptureQueriesContext(connection) as found:
        asked = operator.post(reverse("admin:runs_run_changelist"), data)
    assert "Are you sure" in asked.content.decode()
    assert not [query for query in found if "runs_logline" in query["sql"]]
    operator.post(reverse("admin:runs_run_changelist"), data | {"post": "yes"})
    assert not Run.objects.exists()


def test_the_other_pages_open(as_user: Callable[..., Client]) -> None:
    root = as_user(is_superuser=True)
    attempt = make_attempt()
    task = TaskResult.objects.create(task_id="t", status="SUCCESS")
    names = ["runs_worker", "django_celery_results_taskresult", "auth_user", "auth_group", "experiments_instance"]
    for name in names:
        assert root.get(reverse(f"admin:{name}_changelist")).status_code == 200
    assert attempt.worker is not None
    for name, pk in (("runs_worker", attempt.worker.pk), ("django_celery_results_taskresult", task.pk)):
        assert root.get(reverse(f"admin:{name}_change", args=[pk])).status_code == 200


def test_no_page_asks_another_host_for_anything(operator: Client) -> None:
    run = finished()
    for path in (page_of(run), reverse("admin:runs_run_changelist"), reverse("admin:runs_run_launch")):
        content = operator.get(path).content.decode()
        assert not re.findall(r'(?:src|href|url\()\s*=?\s*["\']?(?:https?:)?//', content)


def test_the_scripts_stay_small() -> None:
    root = Path(__file__).resolve().parents[3]
    sizes = {path.name: len(path.read_text().splitlines()) for path in root.glob("*/static/*/*.js")}
    assert all(size <= 250 for size in sizes.values()), sizes
