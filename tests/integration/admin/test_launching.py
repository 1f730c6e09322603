"""Launch page: choosing, the generated form, errors at their fields, launched and saved values."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from experiments.models import Instance
from runs.models import AuditEntry, Run
from runs.states import Act
from tests.factories import make_attempt, make_run
from tests.filling import fill, send, sent_of
from tests.pages import HOSTILE, page_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("woken")]

SAVER = ("experiments.view_instance", "experiments.add_instance", "experiments.change_instance")
LAUNCH = "/admin/runs/run/launch/"
LAYERED = f"{LAUNCH}?experiment=layered"
LAYERS = "configuration.layers"


@pytest.fixture
def saver(as_user: Callable[..., Client]) -> Client:
    """An operator who keeps instances as well."""
    return as_user("runs.view_run", "runs.launch_run", *SAVER)


def layered(**values: Any) -> dict[str, Any]:
    from experiments.registry import registry
    from experiments.validation import stored_configuration

    return stored_configuration(registry().get("layered").Config.model_validate(values))


def text(answer: Any) -> str:
    return str(answer.content.decode())


def at(answer: Any, name: str) -> str:
    """Return the markup of one field of the configuration, up to the next."""
    page = text(answer)
    begin = page.index(f'for="id_{name}"')
    return page[begin : page.find("<label for=", begin + 10)]


def kept(act: Act) -> AuditEntry:
    """Return the entry of the audit log."""
    return AuditEntry.objects.get(act=act, door="admin")


@pytest.mark.parametrize(
    ("starts", "shown"),
    [
        (["cold: importing it started 2 threads (a, b)"], True),
        (["warm, without 3 s of imports", "cold: importing it started 2 threads (a, b)"], True),
        (["cold: importing it started 2 threads (a, b)", "warm, without 3 s of imports"], False),
        ([], False),
    ],
)
def test_the_page_of_an_experiment_says_why_it_starts_cold(operator: Client, starts: list[str], shown: bool) -> None:
    for start in starts:
        make_attempt(make_run(experiment="layered"), provenance={"python": "3.11", "start": start})
    make_attempt(make_run(experiment="scripted"), provenance={"start": "cold: another experiment"})

    page = text(operator.get(LAYERED))
    assert ("Starts cold: importing it started 2 threads (a, b)." in page) == shown
    assert "another experiment" not in page


def test_experiments_are_found_by_all_words_of_their_title_name_and_docstring(operator: Client) -> None:
    page = text(operator.get(LAUNCH, {"q": "network LAYERED learnt"}))
    assert "?experiment=layered" in page
    assert "?experiment=scripted" not in page
    assert "Layers &lt;b&gt;of&lt;/b&gt; a network" in page
    assert "- a line for each layer,\n- and that is all." in page
    assert "No experiments match" in text(operator.get(LAUNCH, {"q": "nowhere"}))


def test_what_is_not_there_is_said_with_what_is_like_it(operator: Client) -> None:
    assert "did you mean &#x27;layered&#x27;?" in text(operator.get(LAUNCH, {"experiment": "layerd"}))
    assert "There is no run &#x27;12&#x27;" in text(operator.get(LAUNCH, {"run": "12"}))
    assert "no instance &#x27;&lt;b&gt;" in text(operator.get(LAUNCH, {"instance": "<b>"}))


def test_the_form_shows_defaults_help_and_bounds(operator: Client) -> None:
    page = operator.get(LAYERED)
    assert sent_of(page.content)["configuration.epochs"] == ["3"]
    assert sent_of(page.content)["configuration.layers.1.units"] == ["16"]
    assert re.search(r'Over the data <span class="af-hints">1 to 100 · default 3<', at(page, "configuration.epochs"))
    assert 'aria-describedby="id_configuration.epochs-help"' in at(page, "configuration.epochs")
    assert "Default: lost 2 times, error 1 time. A rule replaces" in text(page)


def test_an_untouched_form_launches_the_defaults(operator: Client) -> None:
    answer = fill(operator, LAYERED)
    run = Run.objects.get()
    assert answer["Location"] == page_of(run)
    assert run.configuration == layered()
    assert (run.launched_via, run.configuration["token"]) == ("admin", "by default")
    assert kept(Act.LAUNCH).address == "127.0.0.1"


def test_an_error_in_an_item_of_a_list_stands_at_its_field_with_what_was_typed(operator: Client) -> None:
    answer = fill(operator, LAYERED, configuration__layers__1__units="many", configuration__note="kept")
    assert answer.status_code == 422
    wrong = at(answer, "configuration.layers.1.units")
    assert 'value="many"' in wrong
    assert 'aria-invalid="true"' in wrong
    assert 'id="id_configuration.layers.1.units-errors"' in wrong
    assert "Input should be a valid integer" in wrong
    assert "aria-invalid" not in at(answer, "configuration.layers.0.units")
    assert '<a href="#id_configuration.layers.1.units">Layers 2: Units</a>' in text(answer)
    assert sent_of(answer.content)["configuration.note"] == ["kept"]
    assert not Run.objects.exists()
    send(operator, LAYERED, sent_of(answer.content), configuration__layers__1__units="5")
    assert [layer["units"] for layer in Run.objects.get().configuration["layers"]] == [8, 5]


def test_items_are_added_moved_and_removed_by_buttons_without_a_script(operator: Client) -> None:
    answer = operator.get(LAYERED)
    for command in (f"add {LAYERS}", f"up {LAYERS} n0", f"remove {LAYERS} 0"):
        answer = send(operator, LAYERED, sent_of(answer.content), **{"!do": command})
        assert answer.status_code == 200
        assert "af-wrong" not in text(answer)
    sent = sent_of(answer.content)
    assert sent[f"{LAYERS}!row"] == ["", "n0", "1"]
    send(operator, LAYERED, sent, **{f"{LAYERS}.n0.units": "99"})
    assert [layer["units"] for layer in Run.objects.get().configuration["layers"]] == [99, 16]


def test_an_empty_list_is_told_at_the_list(operator: Client) -> None:
    answer = fill(operator, LAYERED, **{f"{LAYERS}!row": [""]})
    assert '<div class="af-errors" id="id_configuration.layers-errors">' in text(answer)
    assert '<a href="#id_configuration.layers">Layers</a>' in text(answer)


def test_unknown_keys_are_refused_with_a_suggestion(operator: Client) -> None:
    answer = operator.post(LAYERED, {"configuration": '{"layers": [{"unit": 1}]}'})
    assert answer.status_code == 422
    assert "layers.0.unit: unknown; did you mean &#x27;units&#x27;?" in text(answer)


def test_what_a_launch_says_besides_is_kept_and_checked_at_its_fields(operator: Client) -> None:
    wrong = {"limits.timeout_s": "soon", "seed": "-1", "priority": "99999", "queue": "no queue", "tags": "x" * 101}
    answer = fill(operator, LAYERED, **wrong)
    assert {"limits", "seed", "priority"} <= set(answer.context["form"].errors)
    assert "Invalid duration" in at(answer, "limits.timeout_s")
    assert '<details class="af-fold" open>' in text(answer)
    more = {"limits.timeout_s": "10m", "limits.memory_limit_bytes": "none", "seed": "4", "priority": "2", "queue": ""}
    answer = send(operator, LAYERED, sent_of(answer.content), tags="a, b", name="n", **more)
    run = Run.objects.get()
    assert (run.name, run.tags, run.seed, run.priority) == ("n", ["a", "b"], 4, 2)
    assert (run.limits["timeout_s"], run.limits["memory_limit_bytes"]) == (600, None)


def test_what_only_the_launch_refuses_is_told_at_its_field_too(operator: Client) -> None:
    answer = fill(operator, LAYERED, queue="no queue", tags="x" * 101)
    assert answer.status_code == 422
    assert "Invalid queue" in str(answer.context["form"].errors["queue"])
    answer = fill(operator, LAYERED, queue="system")
    assert "takes no runs" in str(answer.context["form"].errors["queue"])
    answer = fill(operator, LAYERED, tags="x" * 101)
    assert "Longer than 100 characters" in str(answer.context["form"].errors["tags"])


def test_rules_of_retries_are_a_list_as_well(operator: Client) -> None:
    answer = fill(operator, LAYERED, **{"!do": "add retries.rules"})
    answer = send(operator, LAYERED, sent_of(answer.content), **{"!do": "add retries.rules"})
    answer = send(operator, LAYERED, sent_of(answer.content))
    assert "This kind already has a rule." in at(answer, "retries.rules.n1.kind")
    again = {"retries.rules.n1.kind": "crashed", "retries.rules.n1.times": "7"}
    send(operator, LAYERED, sent_of(answer.content), **again)
    assert Run.objects.get().retries["crashed"]["times"] == 7


def test_a_link_fills_the_form_in_and_says_what_of_it_is_not_used(operator: Client) -> None:
    link = f"{LAYERED}&epochs=7&layers.0.units=3&optimizer.kind=sgd&seed=5&limits.timeout_s=90&launch.name=mine"
    answer = operator.get(f"{link}&token=hush&layer=1")
    sent = sent_of(answer.content)
    assert (sent["configuration.epochs"], sent["configuration.layers.0.units"]) == (["7"], ["3"])
    assert (sent["seed"], sent["name"], sent["limits.timeout_s"]) == (["5"], ["mine"], ["90"])
    assert sent["configuration.optimizer!is"] == ["1"]
    told = [str(message) for message in answer.context["messages"]]
    assert told == [
        "token in the link is not used: secrets must not be in a link",
        "layer in the link is not used: unknown; did you mean 'layers'?",
    ]
    assert "hush" not in text(answer)


def test_a_wrong_value_of_a_link_is_shown_as_it_is_and_refused_when_it_is_sent(operator: Client) -> None:
    answer = fill(operator, f"{LAYERED}&epochs=<b>many")
    assert answer.status_code == 422
    assert 'value="&lt;b&gt;many"' in at(answer, "configuration.epochs")


def test_launch_again_with_changes_begins_with_all_that_the_run_was_launched_with(operator: Client) -> None:
    old = make_run(
        experiment="layered", configuration=layered(epochs=9, token="hush"), name="old", tags=["t"], seed=6, priority=3
    )
    url = f"{LAUNCH}?run={old.pk}"
    assert "hush" not in text(operator.get(url))
    wrong = fill(operator, url, configuration__epochs="10")
    assert "Enter it again" in at(wrong, "configuration.token")
    answer = send(operator, url, sent_of(wrong.content), configuration__token="hush")
    run = Run.objects.exclude(pk=old.pk).get()
    assert answer["Location"] == page_of(run)
    assert run.configuration == {**old.configuration, "epochs": 10}
    assert (run.name, run.tags, run.seed, run.priority) == ("old", ["t"], 6, 3)
    assert kept(Act.LAUNCH).details == {"copied_from": old.pk}


def test_the_page_of_a_run_leads_to_its_launch_with_changes(operator: Client) -> None:
    run = make_run(experiment="layered", configuration=layered())
    assert f"{LAUNCH}?run={run.pk}" in text(operator.get(page_of(run)))


def test_a_launch_is_saved_as_an_instance_instead(saver: Client) -> None:
    answer = fill(saver, LAYERED, name="no slug", **{"!do": "save"})
    assert "Enter a name to save an instance" in str(answer.context["form"].errors["name"])
    more = {"limits.timeout_s": "1h", "priority": "2", "tags": "a", "seed": "3", "configuration.token": "hush"}
    answer = fill(saver, LAYERED, name="mine", **more, **{"!do": "save"})
    instance = Instance.objects.get()
    assert answer["Location"] == instance.get_absolute_url()
    assert (instance.name, instance.configuration) == ("mine", layered(token="hush"))
    assert (instance.limits, instance.priority, instance.tags) == ({"timeout_s": 3600.0}, 2, ["a"])
    assert instance.created_by is not None
    assert (kept(Act.ADD).kind, kept(Act.ADD).name) == ("instance", "mine")
    assert "Not saved with the instance: the seed" in text(saver.get(answer["Location"]))
    assert not Run.objects.exists()


def test_who_may_not_keep_instances_is_not_offered_it_and_may_not(operator: Client) -> None:
    assert "Save as instance" not in text(operator.get(LAYERED))
    assert fill(operator, LAYERED, name="mine", **{"!do": "save"}).status_code == 403
    assert not Instance.objects.exists()


def test_an_instance_is_launched_with_its_secrets_unless_it_was_changed_meanwhile(operator: Client) -> None:
    instance = Instance.objects.create(
        name="mine", experiment="layered", configuration=layered(token="hush"), tags=["t"]
    )
    url = f"{LAUNCH}?instance={instance.pk}"
    page = operator.get(url)
    assert "hush" not in text(page)
    instance.description = "newer"
    instance.save()
    assert "It was changed after you opened this page" in str(
        send(operator, url, sent_of(page.content)).context["form"].errors
    )
    fill(operator, url, priority="4")
    run = Run.objects.get()
    assert (run.instance, run.tags, run.configuration) == (instance, ["t"], layered(token="hush"))


def test_the_mask_is_no_secret_and_the_default_may_be_used_instead_of_the_stored_one(operator: Client) -> None:
    typed = fill(operator, LAYERED, configuration__token="**********")
    assert "is only a placeholder" in at(typed, "configuration.token")
    old = make_run(experiment="layered", configuration=layered(token="hush"))
    url = f"{LAUNCH}?run={old.pk}"
    asked = fill(operator, url, configuration__epochs="10")
    assert 'name="configuration.token!default"' in at(asked, "configuration.token")
    send(operator, url, sent_of(asked.content), **{"configuration.token!default": "on"})
    assert Run.objects.exclude(pk=old.pk).get().configuration == layered(epochs=10)


def test_secrets_never_come_back_not_even_those_just_typed(operator: Client) -> None:
    typed = {"configuration.token": "hush", "configuration.layers.0.key": "hush", "configuration.epochs": "0"}
    answer = fill(operator, LAYERED, **typed)
    assert answer.status_code == 422
    assert "hush" not in text(answer)
    assert "Enter it again" in at(answer, "configuration.token")
    again = send(operator, LAYERED, sent_of(answer.content), configuration__epochs="1")
    assert "Enter it again" in at(again, "configuration.layers.0.key")
    assert not Run.objects.exists()


def test_hostile_values_are_data(operator: Client) -> None:
    hostile: dict[str, Any] = {
        "configuration.note": HOSTILE,
        "configuration.epochs": HOSTILE,
        "configuration.weights!json": HOSTILE,
    }
    hostile |= {"name": HOSTILE, "queue": HOSTILE, f"{LAYERS}!row": ["", HOSTILE, "0"], "!do": "launch"}
    answer = fill(operator, LAYERED, **hostile)
    assert answer.status_code == 422
    assert "<script>alert" not in text(answer)
    assert "onerror=alert(2)>" not in text(answer)
    assert "7|add:7" in text(answer)


def test_the_pages_hold_no_script_of_their_own(operator: Client) -> None:
    for path in (LAUNCH, LAYERED):
        page = operator.get(path)
        assert "script-src 'self' 'unsafe-eval'" in page["Content-Security-Policy"]
        assert "<script>" not in text(page)
        assert not re.search(r"\son\w+=", text(page))


def test_every_input_has_a_name_for_people(operator: Client) -> None:
    page = re.sub(r"<template.*?</template>", "", text(operator.get(LAYERED)), flags=re.DOTALL)
    begin = page.index('id="launch"')
    form = page[begin : page.index("</form>", begin)]
    for tag in re.findall(r"<(?:input|select|textarea)[^>]*>", form):
        if 'type="hidden"' in tag or "aria-label" in tag:
            continue
        found = re.search(r'id="([^"]+)"', tag)
        assert found, tag
        assert f'for="{found[1]}"' in form, tag


@pytest.mark.parametrize("query", ["", "?experiment=layered", "?instance={instance}", "?run={run}"])
def test_who_sees_the_launch_page(as_user: Callable[..., Client], viewer: Client, operator: Client, query: str) -> None:
    instance = Instance.objects.create(name="mine", experiment="layered")
    run = make_run(experiment="layered", configuration=layered())
    url = LAUNCH + query.format(instance=instance.pk, run=run.pk)
    starter = as_user("experiments.view_instance", "experiments.launch_instance")
    clients = [Client(), as_user(), viewer, starter, operator, as_user(is_superuser=True)]
    own = 200 if "instance" in query else 403
    assert [client.get(url).status_code for client in clients] == [302, 403, 403, own, 200, 200]
    assert [client.post(url, {}).status_code for client in clients[:3]] == [302, 403, 403]
    assert Run.objects.count() == 1


def test_who_may_launch_but_not_look_does_not_see_runs_and_instances_that_way(as_user: Callable[..., Client]) -> None:
    instance = Instance.objects.create(name="mine", experiment="layered")
    run = make_run(experiment="layered", configuration=layered())
    client = as_user("runs.launch_run")
    assert client.get(f"{LAUNCH}?run={run.pk}").status_code == 403
    assert client.get(f"{LAUNCH}?instance={instance.pk}").status_code == 403
    assert "mine" not in text(client.get(LAUNCH))
    assert client.get(LAYERED).status_code == 200


def test_a_launch_needs_the_forms_token(operator: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post(reverse("admin:runs_run_launch") + "?experiment=layered").status_code == 403
