"""A run's page: its lines are data, in pages, and it stays true while it is open."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from django_celery_results.models import TaskResult

from runs.models import Attempt, Run
from runs.states import Level, Status
from tests.factories import make_attempt, make_run
from tests.output import end_run, store_lines, store_metric, store_result
from tests.pages import HOSTILE, finished, page_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]


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
    parts = "".join(part["html"] for part in look["parts"].values()) + look["lines"]
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


def test_lines_are_paged_from_any_place(viewer: Client, configure: Callable[..., None]) -> None:
    configure(page_size=4)
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


def test_where_it_was_and_its_last_lines_are_shown_one_below_the_other(viewer: Client) -> None:
    seen = [
        {"pid": pid, "parent": 1, "command": f"train {pid}", "memory_bytes": 1024, "cpu_seconds": 3.0} for pid in (7, 8)
    ]
    attempt = make_attempt(
        inspection={"at": "2026-03-01T12:00:00+00:00", "why": "asked", "stacks": "in main", "processes": seen},
        certificate={"last_lines": [{"time": 0.0, "message": "one <b>"}, {"time": 1.0, "message": "two"}]},
    )
    content = shown(viewer, end_run(attempt, Status.FAILED, failure_kind="crashed"))
    assert "00:00:00.000 one &lt;b&gt;\n00:00:01.000 two\n" in content
    assert "7 train 7 (1.0 KiB, 3.0 s of CPU)\n8 train 8 (1.0 KiB, 3.0 s of CPU)\n\nin main" in content
    assert "Last log lines" in content
    assert "{{" not in content


def test_a_secret_of_the_configuration_is_masked(viewer: Client) -> None:
    run = make_run(experiment="gone", configuration={"api_key": "hunter2"})
    assert "hunter2" not in shown(viewer, run)


def test_a_run_that_is_not_there_is_a_404(viewer: Client) -> None:
    for number in ("12345", "x", "9" * 40):
        assert viewer.get(f"/admin/runs/run/{number}/change/").status_code == 404


def test_a_look_brings_what_is_new_once(viewer: Client) -> None:
    attempt = make_attempt()
    store_lines(attempt, [1, 2])
    url = page_of(attempt.run, "live")
    first = viewer.get(url).json()
    assert line_places(first["lines"]) == ["1.1", "1.2"]
    assert not first["done"]
    known = ",".join(part["token"] for part in first["parts"].values())

    store_lines(attempt, [3])
    store_metric(attempt, "loss", [1.0])
    second = viewer.get(url, {"seen": first["seen"], "known": known}).json()
    assert line_places(second["lines"]) == ["1.3"]
    assert "outcome" in second["parts"]

    end_run(attempt)
    last = viewer.get(url, {"seen": second["seen"]}).json()
    assert (last["lines"], last["done"]) == ("", True)
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
    seen = re.search(r'data-at="([^"]*)"', shown(viewer, attempt.run))
    assert seen is not None
    assert seen[1] == "1:5/1:0"
    assert viewer.get(page_of(attempt.run, "live"), {"seen": seen[1]}).json()["lines"] == ""


@pytest.mark.parametrize("seen", ["x", "1", "1:x", "1:-4", f"1:{10**30}"])
def test_a_look_that_makes_no_sense_is_refused(viewer: Client, seen: str) -> None:
    assert viewer.get(page_of(finished(), "live"), {"seen": seen}).status_code == 400
