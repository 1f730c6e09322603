"""Every view and every action there is, for everybody. One that is not in these tables fails until somebody adds it.

The views are asked of Django's resolver and of the routes in front of it, the actions of each registered admin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django_celery_results.models import TaskResult

from experiments.models import Instance
from runs import folders
from runs.models import AccessRule, Artifact, AuditEntry
from tests.factories import make_attempt
from tests.pages import finished
from tests.schedules import make_schedule

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]

WHO = ("anonymous", "nobody", "viewer", "operator", "superuser")
ALL = (200, 200, 200, 200, 200)
STAFF = (302, 200, 200, 200, 200)
SEE = (302, 403, 200, 200, 200)
DO = (302, 403, 403, 302, 302)
FORM = (302, 403, 403, 200, 200)
ROOT = (302, 403, 403, 403, 200)
NEVER = (302, 403, 403, 403, 403)

VIEWS: Mapping[str, tuple[int, ...]] = {
    "GET index": STAFF,
    "GET login": (200, 302, 302, 302, 302),
    "POST logout": (302, 200, 200, 200, 200),
    "GET password_change": STAFF,
    "GET password_change_done": STAFF,
    "GET jsi18n": STAFF,
    "GET search": STAFF,
    "GET autocomplete": NEVER,  # no admin offers it a field
    "GET view_on_site": (302, 302, 302, 302, 302),  # to the run's page, which asks for itself
    "GET app_list": (302, 404, 200, 200, 200),
    "GET experiments_instance_changelist": SEE,
    "GET experiments_instance_add": FORM,
    "GET experiments_instance_change": SEE,
    "GET experiments_instance_history": SEE,
    "GET experiments_instance_delete": FORM,
    "GET experiments_instance_launch": DO,
    "GET experiments_instance_runs_of_it": (302, 403, 302, 302, 302),
    "GET runs_run_changelist": SEE,
    "GET runs_run_rows": SEE,
    "GET runs_run_home": SEE,
    "GET runs_run_search": (302, 200, 302, 302, 302),
    "GET runs_run_change": SEE,
    "GET runs_run_history": SEE,
    "GET runs_run_live": SEE,
    "GET runs_run_lines": SEE,
    "GET runs_run_metrics": SEE,
    "GET runs_run_download": SEE,
    "GET runs_run_line": SEE,
    "GET runs_run_artifact": SEE,
    "GET runs_run_compare": SEE,
    "GET runs_run_compare_metrics": SEE,
    "GET runs_run_add": NEVER,
    "GET runs_run_launch": FORM,
    "GET runs_run_go_launch": DO,
    "GET runs_run_delete": FORM,
    "POST runs_run_delete": DO,
    "POST runs_run_cancel": DO,
    "POST runs_run_retry": DO,
    "POST runs_run_rerun": DO,
    "POST runs_run_reproduce": DO,
    "POST runs_run_inspect": DO,
    "GET runs_schedule_changelist": SEE,
    "GET runs_schedule_page": SEE,
    "GET runs_schedule_change": SEE,
    "GET runs_schedule_history": SEE,
    "GET runs_schedule_preview": FORM,
    "GET runs_schedule_add": FORM,
    "GET runs_schedule_delete": FORM,
    "POST runs_schedule_pause": DO,
    "POST runs_schedule_resume": DO,
    "POST runs_schedule_trigger": DO,
    "POST runs_schedule_backfill": DO,
    "GET runs_worker_changelist": SEE,
    "GET runs_worker_change": SEE,
    "GET runs_worker_history": SEE,
    "GET runs_worker_add": NEVER,
    "GET runs_worker_delete": NEVER,
    "GET runs_auditentry_changelist": ROOT,
    "GET runs_auditentry_change": ROOT,
    "GET runs_auditentry_history": ROOT,
    "GET runs_auditentry_add": NEVER,
    "GET runs_auditentry_delete": NEVER,
    "GET django_celery_results_taskresult_changelist": SEE,
    "GET django_celery_results_taskresult_change": SEE,
    "GET django_celery_results_taskresult_history": SEE,
    "GET django_celery_results_taskresult_add": NEVER,
    "GET django_celery_results_taskresult_delete": ROOT,
    "GET axes_accessattempt_changelist": ROOT,
    "GET axes_accessattempt_change": ROOT,
    "GET axes_accessattempt_history": ROOT,
    "GET axes_accessattempt_add": NEVER,
    "GET axes_accessattempt_delete": NEVER,
} | {
    f"GET {model}_{view}": ROOT
    for model in ("auth_user", "auth_group", "runs_accessrule")
    for view in ("changelist", "add", "change", "history", "delete")
} | {"GET auth_user_password_change": ROOT}  # fmt: skip

ROUTES = {
    "/healthz",  # says whether the server is well, to anybody: see test_health
    "/favicon.ico",
    "/static/{path}",
    "/admin/runs/run/{run_id}/stream/",  # asks for itself: see test_live
    "/{path}",  # Django
}

ACTIONS: dict[str, dict[str, set[str]]] = {
    "runs.run": {
        "viewer": {"compare_runs"},
        "operator": {"compare_runs", "cancel_runs", "retry_runs", "rerun_runs", "tag_runs", "delete_selected"},
    },
    "runs.schedule": {"viewer": set(), "operator": {"pause_all", "resume_all", "delete_selected"}},
    "runs.worker": {"viewer": set(), "operator": set()},
    "runs.accessrule": {"viewer": set(), "operator": set()},
    "runs.auditentry": {"viewer": set(), "operator": set()},
    "experiments.instance": {"viewer": set(), "operator": {"delete_selected"}},
    "django_celery_results.taskresult": {"viewer": set(), "operator": set()},
    "axes.accessattempt": {"viewer": set(), "operator": set()},
    "auth.user": {"viewer": set(), "operator": set()},
    "auth.group": {"viewer": set(), "operator": set()},
}


@pytest.fixture
def people(own_groups: None) -> dict[str, User]:
    made = {}
    for name in WHO[1:]:
        made[name] = User.objects.create(username=name, is_staff=True, is_superuser=name == "superuser")
        made[name].groups.set(Group.objects.filter(name=name))
    return made


@pytest.fixture
def clients(people: dict[str, User]) -> dict[str, Client]:
    found = {who: Client() for who in WHO}
    for who, user in people.items():
        found[who].force_login(user)
    return found


def views(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, str]]:
    """(name, path) of each view of the site."""
    for each in resolver.url_patterns:
        path = before + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from views(each, path)
        elif isinstance(each, URLPattern):
            yield each.name or "", path


def address(name: str) -> str:
    """Return the view's address, with a suitable row."""
    kind, _, view = name.rpartition("_")
    if name in ("index", "login", "logout", "password_change", "password_change_done", "jsi18n", "autocomplete"):
        return reverse(f"admin:{name}")
    special = {
        "search": lambda: reverse("admin:search") + "?s=run",
        "app_list": lambda: reverse("admin:app_list", args=["runs"]),
        "view_on_site": lambda: reverse(f"admin:{name}", args=[content_type(), finished().pk]),
        "runs_run_line": lambda: reverse(f"admin:{name}", args=[finished().pk, 1, 1]),
        "runs_run_download": lambda: reverse(f"admin:{name}", args=[finished().pk, "txt"]),
        "runs_run_artifact": lambda: reverse(f"admin:{name}", args=[artifact().pk]),
        "runs_run_cancel": lambda: reverse(f"admin:{name}", args=[make_attempt().run.pk]),
        "runs_run_compare": lambda: reverse(f"admin:{name}") + f"?runs={finished().pk},{finished().pk}",
        "auth_user_password_change": lambda: reverse(f"admin:{name}", args=[row("auth_user").pk]),
        "experiments_instance_runs_of_it": lambda: reverse(f"admin:{name}", args=[row("experiments_instance").pk]),
    }
    if name in special:
        return special[name]()
    if view in ("changelist", "add", "rows", "home", "preview") or name in WITHOUT_A_ROW:
        return reverse(f"admin:{name}")
    return reverse(f"admin:{name}", args=[row(kind).pk])


WITHOUT_A_ROW = ("runs_run_search", "runs_run_launch", "runs_run_go_launch", "runs_run_compare_metrics")


def content_type() -> int:
    return ContentType.objects.get(app_label="runs", model="run").pk


def row(kind: str) -> Any:
    makers: dict[str, Callable[[], Any]] = {
        "runs_run": finished,
        "runs_schedule": make_schedule,
        "runs_accessrule": lambda: AccessRule.objects.create(group=Group.objects.create(name="lab")),
        "runs_auditentry": lambda: AuditEntry.objects.create(door="python", act="launch"),
        "runs_worker": lambda: make_attempt().worker,
        "experiments_instance": lambda: Instance.objects.create(name="one", experiment="scripted"),
        "django_celery_results_taskresult": lambda: TaskResult.objects.create(task_id="t", status="SUCCESS"),
        "axes_accessattempt": lambda: AccessAttempt.objects.create(ip_address="192.0.2.1", failures_since_start=1),
        "auth_user": lambda: User.objects.create(username="somebody"),
        "auth_group": lambda: Group.objects.create(name="somebodies"),
    }
    return makers[kind]()


def artifact() -> Artifact:
    run = finished()
    folders.run_folder(run.pk).mkdir(parents=True, exist_ok=True)
    (folders.run_folder(run.pk) / "a.txt").write_text("hi")
    kept = {"path": "a.txt", "content_type": "text/plain", "size_bytes": 2, "sha256": ""}
    return Artifact.objects.create(run=run, attempt=1, name="a.txt", **kept)


@pytest.mark.any_database
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_for_those_whom_the_table_names(clients: dict[str, Client], view: str, who: str) -> None:
    method, name = view.split()
    answer = getattr(clients[who], method.lower())(address(name), {"post": "yes"} if name.endswith("delete") else None)
    if answer.streaming:
        b"".join(answer)  # to the end, which closes the file
    assert answer.status_code == VIEWS[view][WHO.index(who)]


def test_each_view_of_the_site_is_in_the_table() -> None:
    named = {view.split()[1] for view in VIEWS}
    found = dict(views(get_resolver()))
    nameless = {path for name, path in views(get_resolver()) if not name}
    assert set(found) - {""} == named, "Say in VIEWS who may do what with the new view."
    assert all(path in ("", "admin/(?P<url>.*)$") or path.endswith("/<path:object_id>/") for path in nameless)


def test_each_route_in_front_of_django_is_known() -> None:
    from athanor.asgi import routes  # sets Django up

    assert {route.path_format for route in routes} == ROUTES  # type: ignore[attr-defined]  # of both kinds of routes


def test_each_action_of_a_list_is_for_those_whom_the_table_names(people: dict[str, User]) -> None:
    found: dict[str, dict[str, set[str]]] = {}
    for model, model_admin in admin.site._registry.items():
        for who in ("viewer", "operator"):
            request = RequestFactory().get("/")
            request.user = people[who]
            found.setdefault(model._meta.label_lower, {})[who] = set(model_admin.get_actions(request))
    assert found == ACTIONS
