"""The admin of runs: who may do what, what is shown, and that lines are data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_results.models import TaskResult

from experiments.models import Instance
from runs import erasing, tasks
from runs.admin import downloads
from runs.models import Artifact, Attempt, LogLine, Result, Run
from runs.states import Level, Status
from tests.factories import make_attempt, make_run
from tests.output import end_run, store_lines, store_metric, store_result

pytestmark = pytest.mark.django_db

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7|add:7 }}\x1b]0;owned\x07"
VIEWER = ("runs.view_run", "runs.view_worker", "experiments.view_instance")
OPERATOR = (*VIEWER, "runs.launch_run", "runs.cancel_run", "runs.delete_run")


@pytest.fixture(autouse=True)
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    queues: list[str] = []
    monkeypatch.setattr(tasks, "wake", lambda queue, count=1: queues.append(queue))
    return queues


@pytest.fixture
def as_user() -> Callable[..., Client]:
    """A client of a new member of the staff with these permissions."""

    def make(*permissions: str, **values: Any) -> Client:
        user = get_user_model().objects.create(
            username=f"user{get_user_model().objects.count()}", is_staff=True, **values
        )
        for name in permissions:
            app, codename = name.split(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def viewer(as_user: Callable[..., Client]) -> Client:
    return as_user(*VIEWER)


@pytest.fixture
def operator(as_user: Callable[..., Client]) -> Client:
    return as_user(*OPERATOR)


def page_of(run: Run, name: str = "change") -> str:
    return reverse(f"admin:runs_run_{name}", args=[run.pk])


def finished(**values: Any) -> Run:
    attempt = make_attempt(make_run(configuration={"behaviour": "ok"}, **values))
    store_lines(attempt, range(1, 4))
    return end_run(attempt)


# Who may do what

LOOKING = ["list", "change", "live", "line", "artifact"]
DOING = ["cancel", "retry", "rerun", "launch", "delete"]


def ask(client: Client, what: str) -> int:
    """The status of one view's answer, for a run (and what belongs to it) that is fit for it."""
    run = make_attempt().run if what == "cancel" else finished()
    artifact = Artifact.objects.create(
        run=run, attempt=1, name="a.txt", path="a.txt", content_type="text/plain", size_bytes=2, sha256=""
    )
    erasing.run_folder(run.pk).mkdir(parents=True, exist_ok=True)
    (erasing.run_folder(run.pk) / "a.txt").write_text("hi")
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
    assert not LogEntry.objects.exists()


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


# The list


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
    assert act(operator, "cancel_runs", runs) == "2 cancelled, 1 asked to stop, 1 had ended already."
    assert Run.objects.filter(status=Status.CANCELLED).count() == 2
    assert LogEntry.objects.filter(change_message__startswith="Cancel requested, from 127.0.0.1").count() == 3


def test_one_refused_rerun_does_not_stop_the_others(operator: Client) -> None:
    runs = [finished(), make_run(), finished()]
    said = act(operator, "rerun_runs", runs)
    assert said.startswith("2 run again.")
    assert f"Run {runs[1].pk} is pending" in said
    assert Run.objects.filter(origin_kind="rerun").count() == 2


# Deleting


def test_deleting_takes_everything_of_finished_runs_with_it(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "CHUNK", 2)
    run, kept = finished(), finished()
    store_result(Attempt.objects.get(run=run), "a", 1, seq=1)
    descendant = make_run(origin=run, origin_kind="retry")
    folder = erasing.run_folder(run.pk)
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
    assert "cancel it first" in operator.post(reverse("admin:runs_run_changelist"), data).content.decode()
    assert erasing.erase([run.pk]) == 0
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


# The page of a run


def shown(client: Client, run: Run, **query: str) -> str:
    answer = client.get(page_of(run), query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_lines_are_data_and_never_markup(viewer: Client) -> None:
    attempt = make_attempt(make_run(name=HOSTILE[:-10], configuration={"x": HOSTILE}, tags=[HOSTILE]))
    store_lines(attempt, [1], message=HOSTILE, metadata={HOSTILE: HOSTILE})
    store_lines(attempt, [2], message="x", metadata={"long": [HOSTILE] * 20})
    store_metric(attempt, HOSTILE[:190], [1.0])
    store_result(attempt, "r", HOSTILE, seq=2)
    run = end_run(attempt, Status.FAILED, error=HOSTILE, summary={HOSTILE: HOSTILE})
    Attempt.objects.filter(pk=attempt.pk).update(
        traceback=HOSTILE,
        error=HOSTILE + "2",
        certificate={"x": HOSTILE},
        provenance={"host": HOSTILE, "packages": {HOSTILE: "1"}},
    )
    look = viewer.get(page_of(run, "live")).json()
    parts = "".join(part["html"] for part in look["parts"].values()) + "".join(line["html"] for line in look["lines"])
    for text in (shown(viewer, run), parts):
        assert "alert(1)</script>" not in text
        assert "<img src=x" not in text
        assert "\x1b" not in text
        assert "&lt;img src=x onerror=alert(2)&gt;" in text


def test_a_hostile_name_in_the_list_is_text(viewer: Client) -> None:
    run = end_run(make_attempt(make_run(name=HOSTILE[:190])), Status.FAILED, error='"><script>')
    content = viewer.get(reverse("admin:runs_run_changelist")).content.decode()
    assert page_of(run) in content
    assert "alert(1)</script>" not in content
    assert '"><script>' not in content


def test_the_page_says_how_complete_the_lines_are(viewer: Client) -> None:
    attempt = make_attempt()
    store_lines(attempt, range(1, 4))
    assert "3 lines stored so far" in shown(viewer, attempt.run)
    run = end_run(attempt)
    assert "3 of 3 lines stored" in shown(viewer, run)
    Attempt.objects.filter(run=run).update(lines_emitted=5)
    assert "3 of 5 lines stored" in shown(viewer, run)


def line_places(content: str) -> list[str]:
    return re.findall(r'id="L([\d.]+)"', content)


def test_lines_are_paged_from_any_place(viewer: Client, settings: Any) -> None:
    settings.ATHANOR_RUNS = settings.ATHANOR_RUNS | {"page_size": 4}
    attempt = make_attempt()
    store_lines(attempt, range(1, 11))
    store_lines(attempt, [11], level=Level.ERROR)
    run = end_run(attempt)
    assert line_places(shown(viewer, run)) == ["1.8", "1.9", "1.10", "1.11"]
    assert line_places(shown(viewer, run, before="1.8")) == ["1.4", "1.5", "1.6", "1.7"]
    assert line_places(shown(viewer, run, after="1.0")) == ["1.1", "1.2", "1.3", "1.4"]
    assert "1.2" in line_places(shown(viewer, run, around="3"))
    assert line_places(shown(viewer, run, level="error")) == ["1.11"]


@pytest.mark.parametrize(
    "query",
    [{"after": "x"}, {"around": "9" * 50}, {"level": "loud"}, {"source": "'"}, {"before": "-1.-1"}, {"after": "999.1"}],
)
def test_a_query_that_makes_no_sense_breaks_nothing(viewer: Client, query: dict[str, str]) -> None:
    shown(viewer, finished(), **query)


def test_a_long_line_is_cut_on_the_page_and_whole_as_text(viewer: Client) -> None:
    attempt = make_attempt()
    store_lines(attempt, [1], message="<b>" + "x" * 100_000)
    assert len(shown(viewer, attempt.run)) < 100_000
    answer = viewer.get(reverse("admin:runs_run_line", args=[attempt.run_id, 1, 1]))
    assert answer.content == b"<b>" + b"x" * 100_000
    assert (answer["Content-Type"], answer["X-Content-Type-Options"]) == ("text/plain; charset=utf-8", "nosniff")


def test_the_page_shows_results_attempts_and_the_task(viewer: Client) -> None:
    task = TaskResult.objects.create(task_id="t1", status="SUCCESS")
    attempt = make_attempt(task_id="t1", provenance={"git_commit": "abc123", "packages": {"numpy": "2.1"}})
    store_metric(attempt, "loss", [2.0, 1.0])
    store_result(attempt, "best", 7, seq=3)
    content = shown(viewer, end_run(attempt, summary={"accuracy": 0.97}))
    for text in ("<polyline", "loss: 2 points from 1 to 2, last 1", "accuracy", "0.97", "best", "abc123", "numpy"):
        assert text in content
    assert reverse("admin:django_celery_results_taskresult_change", args=[task.pk]) in content


def test_buttons_are_shown_to_those_who_may_press_them(viewer: Client, operator: Client) -> None:
    running, final = make_attempt().run, finished()
    assert page_of(running, "cancel") in shown(operator, running)
    assert page_of(running, "retry") not in shown(operator, running)
    assert page_of(final, "retry") in shown(operator, final)
    for run in (running, final):
        assert "formaction" not in shown(viewer, run)


def test_a_secret_of_the_configuration_is_masked(viewer: Client) -> None:
    run = make_run(experiment="gone", configuration={"api_key": "hunter2"})
    assert "hunter2" not in shown(viewer, run)


def test_a_run_that_is_not_there_is_a_404(viewer: Client) -> None:
    for number in ("12345", "x", "9" * 40):
        assert viewer.get(f"/admin/runs/run/{number}/change/").status_code == 404


# Live


def test_a_look_brings_what_is_new_once(viewer: Client) -> None:
    attempt = make_attempt()
    store_lines(attempt, [1, 2])
    url = page_of(attempt.run, "live")
    first = viewer.get(url).json()
    assert [line["place"] for line in first["lines"]] == ["1.1", "1.2"]
    assert not first["done"]
    known = ",".join(part["token"] for part in first["parts"].values())

    store_lines(attempt, [3])
    store_metric(attempt, "loss", [1.0])
    second = viewer.get(url, {"seen": first["seen"], "known": known}).json()
    assert [line["place"] for line in second["lines"]] == ["1.3"]
    assert "outcome" in second["parts"]

    end_run(attempt)
    last = viewer.get(url, {"seen": second["seen"]}).json()
    assert (last["lines"], last["done"]) == ([], True)
    assert "Completed" in last["parts"]["head"]["html"]


def test_parts_that_have_not_changed_are_not_sent_again(viewer: Client) -> None:
    run = finished()
    first = viewer.get(page_of(run, "live")).json()
    known = ",".join(part["token"] for part in first["parts"].values())
    again = viewer.get(page_of(run, "live"), {"seen": first["seen"], "known": known}).json()
    assert again["parts"] == {}


def test_a_page_goes_on_from_what_it_has(viewer: Client) -> None:
    attempt = make_attempt()
    store_lines(attempt, range(1, 6))
    seen = re.search(r'data-seen="([^"]*)"', shown(viewer, attempt.run))
    assert seen is not None
    assert seen[1] == "1.5"
    assert viewer.get(page_of(attempt.run, "live"), {"seen": seen[1]}).json()["lines"] == []


@pytest.mark.parametrize("seen", ["x", "1", "1.x", "1.-4", f"1.{10**30}"])
def test_a_look_that_makes_no_sense_is_refused(viewer: Client, seen: str) -> None:
    assert viewer.get(page_of(finished(), "live"), {"seen": seen}).status_code == 400


# Artifacts


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


# Launching


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


# Others


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
    folder = Path(__file__).resolve().parents[2] / "runs" / "static" / "runs"
    assert sum(len(path.read_text().splitlines()) for path in folder.glob("*.js")) < 300
