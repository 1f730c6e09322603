"""Search of the sidebar: runs by number and name, instances, schedules, experiments."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from experiments.models import Instance
from tests.factories import make_run
from tests.schedules import make_schedule

pytestmark = pytest.mark.django_db
SEARCH = "admin:runs_run_search"


def hits(client: Client, text: str) -> str:
    return client.get(reverse(SEARCH), {"s": text}, headers={"HX-Request": "true"}).content.decode()


@pytest.mark.parametrize("text", ["{pk}", "#{pk}", "nightly", "NIGHT", "scripted"])
def test_a_run_is_found_by_its_number_its_name_and_its_experiment(admin_client: Client, text: str) -> None:
    run = make_run(name="nightly digits")
    make_run(name="other", experiment="something else")
    found = hits(admin_client, text.format(pk=run.pk))
    assert run.get_absolute_url() in found
    assert f"#{run.pk} nightly digits" in found
    assert "#{} other" not in found


def test_instances_schedules_experiments_and_pages_are_found(admin_client: Client) -> None:
    Instance.objects.create(name="scripted-instance", experiment="scripted")
    make_schedule("scripted-schedule")
    found = hits(admin_client, "scripted")
    for kind in ("Instance", "Schedule", "Launch"):
        assert f"<span>{kind}</span>" in found
    assert "<span>Page</span> Workers" in hits(admin_client, "workers")


@pytest.mark.parametrize("text", ["no such thing", "9" * 40, "\\", "%", "<script>", "'"])
def test_a_search_without_a_result_says_so(admin_client: Client, text: str) -> None:
    assert "No results." in hits(admin_client, text)


def test_nothing_is_asked_for_without_a_text(admin_client: Client) -> None:
    assert hits(admin_client, "  ").strip() == ""


def test_only_what_somebody_may_see_is_found(as_user: Callable[..., Client]) -> None:
    make_run(name="nightly")
    assert "No results." in hits(as_user(), "nightly")
    assert "nightly" in hits(as_user("runs.view_run"), "nightly")


def test_enter_leads_to_the_run_or_to_the_list(admin_client: Client) -> None:
    run = make_run(name="one")
    make_run(name="one more")
    assert admin_client.get(reverse(SEARCH), {"s": str(run.pk)}).headers["Location"] == run.get_absolute_url()
    assert admin_client.get(reverse(SEARCH), {"s": "one"}).headers["Location"].endswith("?q=one")
