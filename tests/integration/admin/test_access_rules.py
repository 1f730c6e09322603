"""Access rules: what they reserve, for whom, at each door for people. Without rules nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import models
from django.test import Client
from django.urls import reverse
from django_celery_results.models import TaskResult

from experiments.models import Instance
from runs import folders, services
from runs.exceptions import LaunchRefused, ScheduleRefused
from runs.live.access import Answer, may_watch
from runs.models import AccessRule, Artifact, Run, Schedule, rights
from runs.states import Status
from tests.factories import make_attempt, make_run
from tests.pages import finished, page_of
from tests.schedules import make_schedule
from tests.web import session_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]

WHO = ("member", "stranger", "superuser")
SECRET = "moonshot"


@pytest.fixture
def people(own_groups: None) -> dict[str, User]:
    """Two operators, one of them of the group `lab`, and a superuser."""
    made = {}
    for name in WHO:
        made[name] = User.objects.create(username=name, is_staff=True, is_superuser=name == "superuser")
        made[name].groups.add(Group.objects.get(name="operator"))
    made["member"].groups.add(Group.objects.create(name="lab"))
    return made


@pytest.fixture
def clients(people: dict[str, User]) -> dict[str, Client]:
    clients = {who: Client() for who in WHO}
    for who, user in people.items():
        clients[who].force_login(user)
    return clients


def rule(**values: Any) -> AccessRule:
    every = dict.fromkeys(("view", "launch", "configure", "cancel"), True)
    return AccessRule.objects.create(**{"group": Group.objects.get(name="lab"), "queue": "secret", **every, **values})


CASES = {  # pattern of the experiment, pattern of the queue → matches (vision_a, gpu), (Vision_b, gpu), (text, cpu)
    ("*", "*"): (True, True, True),
    ("vision_a", "*"): (True, False, False),
    ("vision_*", "*"): (True, False, False),
    ("*", "gpu"): (True, True, False),
    ("t*", "c*"): (False, False, True),
    ("vision_a", "cpu"): (False, False, False),
    ("%", "*"): (False, False, False),
    ("vision_%", "*"): (False, False, False),
}


@pytest.mark.parametrize("patterns", CASES)
def test_patterns_match_alike_in_queries_and_in_checks(people: dict[str, User], patterns: tuple[str, str]) -> None:
    runs = [make_run(experiment=e, queue=q) for e, q in (("vision_a", "gpu"), ("Vision_b", "gpu"), ("text", "cpu"))]
    rule(experiment=patterns[0], queue=patterns[1])
    visible = Run.objects.visible_to(people["stranger"])
    checked = [rights.of(people["stranger"]).allow("view", run.experiment, run.queue) for run in runs]
    assert [run in visible for run in runs] == checked == [not match for match in CASES[patterns]]
    for who in ("member", "superuser"):
        assert Run.objects.visible_to(people[who]).count() == 3


def test_several_rules_open_what_any_of_them_allows(people: dict[str, User]) -> None:
    run, other = make_run(experiment="a", queue="gpu"), make_run(experiment="b", queue="cpu")
    rule(group=Group.objects.create(name="others"), experiment="a", queue="*")
    rule(experiment="*", queue="gpu", view=True, cancel=False)
    assert set(Run.objects.visible_to(people["member"])) == {run, other}
    assert set(Run.objects.visible_to(people["stranger"])) == {other}
    assert set(Run.objects.cancellable_by(people["member"])) == {other}


def artifact(run: Run) -> Artifact:
    folders.run_folder(run.pk).mkdir(parents=True, exist_ok=True)
    (folders.run_folder(run.pk) / "a.txt").write_text("hi")
    kept = {"path": "a.txt", "content_type": "text/plain", "size_bytes": 2, "sha256": ""}
    return Artifact.objects.create(run=run, attempt=1, name="a.txt", **kept)


OF_A_RUN = ("change", "history", "live", "lines", "metrics", "download", "line", "delete")
VERBS = ("cancel", "retry", "rerun", "reproduce", "inspect")


@pytest.mark.any_database
@pytest.mark.parametrize("name", [*OF_A_RUN, "artifact", "stream", "launch again"])
def test_pages_of_a_reserved_run_are_for_members(
    clients: dict[str, Client], people: dict[str, User], name: str
) -> None:
    run = finished(queue="secret")
    rule()
    if name == "stream":
        answers = [may_watch(f"sessionid={session_of(people[who])}", run.pk)[0] for who in WHO]
        assert answers == [Answer.MAY, Answer.NO_RUN, Answer.MAY]
        return
    arguments: dict[str, list[Any]] = {
        "download": [run.pk, "txt"],
        "line": [run.pk, 1, 1],
        "artifact": [artifact(run).pk],
    }
    url = reverse(f"admin:runs_run_{name}", args=arguments.get(name, [run.pk])) if name != "launch again" else ""
    found = []
    for who in WHO:
        answer = clients[who].get(url or f"{reverse('admin:runs_run_launch')}?run={run.pk}")
        body = b"".join(answer) if answer.streaming else answer.content
        found.append(answer.status_code == 200 and run.name.encode() not in body * (who == "stranger"))
    assert (found[0], found[2]) == (True, True)
    assert not found[1] or name == "launch again"  # the choice of an experiment, as for a run that does not exist


@pytest.mark.any_database
@pytest.mark.parametrize("name", VERBS)
def test_verbs_on_a_reserved_run_are_for_members(clients: dict[str, Client], name: str) -> None:
    rule()
    codes = []
    for who in WHO:
        run = make_attempt(make_run(queue="secret")).run if name == "cancel" else finished(queue="secret")
        codes.append(clients[who].post(page_of(run, name)).status_code)
        run.refresh_from_db()
        assert (run.cancel_requested_at is not None) == (name == "cancel" and who != "stranger")
    assert codes == [302, 404, 302]


def everything() -> dict[str, str]:
    """Create reserved rows named SECRET; return the pages that would list them."""
    failed = {"status": Status.FAILED, "failure_kind": "error", "error": SECRET}
    run = finished(queue="secret", name=SECRET, summary={SECRET: 1})
    Run.objects.filter(pk=finished(queue="secret", name=SECRET).pk).update(**failed)
    make_attempt(make_run(queue="secret", name=SECRET))
    make_run(queue="secret", name=SECRET)
    instance = Instance.objects.create(name=SECRET, experiment="scripted", queue="secret")
    schedule = make_schedule(f"{SECRET}-1", queue="secret")
    make_schedule(f"{SECRET}-2", experiment="", instance=instance)
    Schedule.objects.update(trouble=f"{SECRET} failed", failures=1)
    listed = {name: reverse(f"admin:{name}") for name in LISTS}
    runs = f"?runs={run.pk},{run.pk + 1}"
    return listed | {
        "home": reverse("admin:index"),
        "rows": reverse("admin:runs_run_rows") + f"?ids={run.pk}",
        "search": reverse("admin:runs_run_search") + f"?s={SECRET}",
        "number": reverse("admin:runs_run_search") + f"?s={run.pk}",
        "query": reverse("admin:runs_run_changelist") + f"?q={SECRET}",
        "sorted": reverse("admin:runs_run_changelist") + "?sort=-duration",
        "compare": reverse("admin:runs_run_compare") + runs,
        "csv": reverse("admin:runs_run_compare") + runs + "&format=csv",
        "curves": reverse("admin:runs_run_compare_metrics") + runs,
        "instance": instance.get_absolute_url(),
        "launch": reverse("admin:runs_run_launch") + f"?instance={instance.pk}",
        "schedule": schedule.get_absolute_url(),
        "change schedule": reverse("admin:runs_schedule_change", args=[schedule.pk]),
        "add schedule": reverse("admin:runs_schedule_add"),
    }


LISTS = (
    "runs_run_changelist", "experiments_instance_changelist", "runs_schedule_changelist", "runs_run_home",
    "runs_run_launch", "runs_worker_changelist",
)  # fmt: skip


def is_shown(client: Client, url: str) -> bool:
    """Return whether the page shows the name, beside the search box and the links that repeat the query."""
    page = client.get(url, headers={"HX-Request": "1"}).content.decode()
    for repeated in (f"s={SECRET}", f"q={SECRET}", f'value="{SECRET}"', f"“{SECRET}”", f"&quot;{SECRET}&quot;"):
        page = page.replace(repeated, "")
    return SECRET in page


def test_no_list_search_or_count_shows_a_stranger_what_is_reserved(clients: dict[str, Client]) -> None:
    pages = everything()
    rule()
    shown = {who: {name for name, url in pages.items() if is_shown(clients[who], url)} for who in WHO}
    assert shown["stranger"] == set()
    assert {"home", "runs_run_changelist", "runs_schedule_changelist", "compare", "instance"} <= shown["member"]
    assert {queue.name for queue, _ in clients["stranger"].get(pages["home"]).context["queues"]} == set()


@pytest.mark.any_database
def test_results_of_tasks_are_hidden_from_users_who_may_not_see_all_runs(clients: dict[str, Client]) -> None:
    url = reverse("admin:django_celery_results_taskresult_change", args=[TaskResult.objects.create(task_id="t").pk])
    assert [clients[who].get(url).status_code for who in WHO] == [200, 200, 200]
    rule()
    assert [clients[who].get(url).status_code for who in WHO] == [200, 403, 200]


LAUNCHES: dict[str, tuple[dict[str, bool], dict[str, Any], bool]] = {
    "all rights": ({}, {"configuration": {"text": "x"}}, True),
    "no launch": ({"launch": False}, {}, False),
    "no configure, as it is": ({"configure": False}, {}, True),
    "no configure, values": ({"configure": False}, {"configuration": {"text": "x"}}, False),
    "no configure, limits": ({"configure": False}, {"limits": {"timeout_s": 1}}, False),
    "no configure, priority": ({"configure": False}, {"priority": 1}, False),
    "another queue": ({"launch": False}, {"queue": "runs"}, True),
}


@pytest.mark.any_database
@pytest.mark.parametrize("case", LAUNCHES)
def test_launches_in_a_users_name_obey_the_rules(people: dict[str, User], case: str) -> None:
    flags, values, is_allowed = LAUNCHES[case]
    instance = Instance.objects.create(name="mine", experiment="scripted", queue="secret")
    rule(**flags)
    services.launch(instance, **values)  # a command or a program
    for who, allowed in (("member", is_allowed), ("stranger", "queue" in values), ("superuser", True)):
        if allowed:
            assert services.launch(instance, by=people[who], **values).launched_by == people[who]
        else:
            with pytest.raises(LaunchRefused, match="access rules"):
                services.launch(instance, by=people[who], **values)


@pytest.mark.any_database
def test_others_ways_to_launch_obey_the_rules_too(people: dict[str, User]) -> None:
    stranger, old = people["stranger"], finished(queue="secret")
    schedule = make_schedule("nightly", queue="secret", owner=stranger)
    rule()
    stranger = User.objects.get(pk=stranger.pk)
    for launch in (
        lambda: services.rerun(old.pk, by=stranger),
        lambda: services.launch_many("scripted", [{}], queue="secret", by=stranger),
        lambda: services.launch("scripted", queue="secret", by=stranger),
    ):
        with pytest.raises(LaunchRefused, match="access rules"):
            launch()
    assert "access rules" in services.trigger_schedule(schedule.pk, by="somebody").reason


@pytest.mark.any_database
def test_who_triggers_a_schedule_needs_the_right_for_the_queue_of_its_run(people: dict[str, User]) -> None:
    schedule = make_schedule("nightly", owner=people["superuser"])  # it names no queue: its experiment has "runs"
    rule(queue="runs")
    with pytest.raises(ScheduleRefused, match="access rules"):
        services.trigger_schedule(schedule.pk, by="stranger", actor=people["stranger"])
    row = services.trigger_schedule(schedule.pk, by="member", actor=people["member"])
    assert row.run is not None
    assert row.run.launched_by == people["member"]


@pytest.mark.any_database
def test_own_runs_are_cancelled_without_the_right_to_cancel_others(
    clients: dict[str, Client], people: dict[str, User]
) -> None:
    rule(cancel=False)
    own = make_run(queue="secret", launched_by=people["member"])
    other = make_run(queue="secret", launched_by=people["superuser"])
    data = {"action": "cancel_runs", "_selected_action": [own.pk, other.pk]}
    clients["member"].post(reverse("admin:runs_run_changelist"), data)
    assert {run.pk: run.status for run in Run.objects.all()} == {own.pk: "cancelled", other.pk: "pending"}
    assert clients["member"].post(page_of(other, "cancel")).status_code == 403
    assert clients["member"].post(page_of(finished(queue="secret"), "delete"), {"post": "yes"}).status_code == 403


@pytest.mark.any_database
def test_changing_instances_and_schedules_needs_the_right(clients: dict[str, Client]) -> None:
    instance = Instance.objects.create(name="mine", experiment="scripted", queue="secret")
    schedule = make_schedule("nightly", queue="secret")
    rule(configure=False, launch=False)
    member = clients["member"]
    assert member.post(instance.get_absolute_url(), {"name": "other"}).status_code == 403
    for name, row in (("instance", instance), ("schedule", schedule)):
        app = "experiments" if name == "instance" else "runs"
        url = reverse(f"admin:{app}_{name}_delete", args=[row.pk])
        assert member.post(url, {"post": "yes"}).status_code == 403
    for verb in ("pause", "resume", "trigger"):
        assert member.post(reverse(f"admin:runs_schedule_{verb}", args=[schedule.pk])).status_code == 403
    assert (Instance.objects.count(), Schedule.objects.count()) == (1, 1)


@pytest.mark.any_database
def test_a_rule_is_refused_with_a_star_in_the_middle(people: dict[str, User]) -> None:
    with pytest.raises(ValidationError, match="at the end only"):
        AccessRule(group=Group.objects.get(name="lab"), experiment="a*b").full_clean()


@pytest.mark.any_database
def test_a_group_with_rules_is_not_deleted(people: dict[str, User]) -> None:
    rule()
    with pytest.raises(models.ProtectedError):
        Group.objects.get(name="lab").delete()


@pytest.mark.any_database
def test_without_rules_a_launch_asks_once_for_them(
    people: dict[str, User], django_assert_num_queries: Callable[..., Any]
) -> None:
    with django_assert_num_queries(1):
        assert rights.of(people["stranger"]).allow("launch", "scripted", "runs")
        assert rights.of(people["stranger"]).condition("view") == rights.EVERYTHING
    with django_assert_num_queries(0):
        rights.of(None)
        rights.of(people["superuser"])
