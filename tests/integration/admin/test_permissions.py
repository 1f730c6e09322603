"""Every page and verb of runs, for everybody: the anonymous, staff without permissions, both groups, superusers."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from runs.models import AuditEntry, Run
from tests.factories import make_attempt
from tests.pages import finished, page_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]

LOOKS = ("home", "list", "rows", "status", "page", "live", "lines", "metrics", "download", "compare", "curves")
VERBS = ("cancel", "retry", "rerun", "reproduce", "inspect")
WHO = ("anonymous", "nobody", "viewer", "operator", "superuser")


@pytest.fixture
def clients(own_groups: None) -> dict[str, Client]:
    found = {"anonymous": Client()}
    for name in WHO[1:]:
        user = get_user_model().objects.create(username=name, is_staff=True, is_superuser=name == "superuser")
        if name in ("viewer", "operator"):
            user.groups.add(Group.objects.get(name=name))
        found[name] = Client()
        found[name].force_login(user)
    return found


def look(client: Client, what: str, run: Run, other: Run) -> int:
    paths = {
        "home": reverse("admin:index"),
        "list": reverse("admin:runs_run_changelist"),
        "rows": reverse("admin:runs_run_rows") + f"?ids={run.pk}",
        "status": reverse("admin:runs_run_home"),
        "page": page_of(run),
        "download": reverse("admin:runs_run_download", args=[run.pk, "jsonl"]),
        "compare": reverse("admin:runs_run_compare") + f"?runs={run.pk},{other.pk}",
        "curves": reverse("admin:runs_run_compare_metrics") + f"?runs={run.pk},{other.pk}",
    }
    return client.get(paths.get(what) or page_of(run, what)).status_code


@pytest.mark.parametrize("what", LOOKS)
def test_who_may_view_sees_and_nobody_else(clients: dict[str, Client], what: str) -> None:
    run, other = finished(), finished()
    seen = {who: look(client, what, run, other) for who, client in clients.items()}
    nobody = 200 if what == "home" else 403  # it shows nothing of runs then
    assert seen == {"anonymous": 302, "nobody": nobody, "viewer": 200, "operator": 200, "superuser": 200}


def test_the_home_page_tells_nothing_of_runs_to_who_may_not_see_them(clients: dict[str, Client]) -> None:
    run = make_attempt().run
    home = reverse("admin:index")
    assert run.name not in clients["nobody"].get(home).content.decode()
    assert run.name in clients["viewer"].get(home).content.decode()


@pytest.mark.parametrize("what", VERBS)
def test_operators_and_superusers_do_and_nobody_else(clients: dict[str, Client], what: str) -> None:
    done = {}
    for who, client in clients.items():
        run = make_attempt().run if what == "cancel" else finished()
        answer = client.post(page_of(run, what))
        done[who] = (answer.status_code, AuditEntry.objects.filter(kind="run", act=what).count())
    assert done == {
        "anonymous": (302, 0), "nobody": (403, 0), "viewer": (403, 0), "operator": (302, 1), "superuser": (302, 2),
    }  # fmt: skip


@pytest.mark.parametrize("who", ["viewer", "operator"])
def test_only_operators_tag(clients: dict[str, Client], who: str) -> None:
    run = finished(tags=["old"])
    data = {"action": "tag_runs", "_selected_action": [run.pk], "tags": "new, -old"}
    clients[who].post(reverse("admin:runs_run_changelist"), data)
    run.refresh_from_db()
    assert run.tags == (["new"] if who == "operator" else ["old"])


@pytest.mark.parametrize("what", VERBS)
def test_every_verb_is_a_post_with_a_token(clients: dict[str, Client], what: str) -> None:
    run = finished()
    assert clients["operator"].get(page_of(run, what)).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = clients["operator"].cookies
    assert strict.post(page_of(run, what)).status_code == 403


def test_pages_may_load_from_this_site_only_and_hold_no_script(clients: dict[str, Client]) -> None:
    run, other = finished(), finished()
    paths = [reverse("admin:index"), reverse("admin:runs_run_changelist"), page_of(run)]
    paths.append(reverse("admin:runs_run_compare") + f"?runs={run.pk},{other.pk}")
    for path in paths:
        answer = clients["superuser"].get(path)
        policy = answer["Content-Security-Policy"]
        assert "script-src 'self' 'unsafe-eval'" in policy
        assert "default-src 'self'" in policy
        text = answer.content.decode()
        assert "<script>" not in text
        assert " onclick=" not in text
