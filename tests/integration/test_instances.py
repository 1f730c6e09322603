"""Instances: what is saved is valid whichever way it came, and the admin says where it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from experiments.models import Instance
from experiments.registry import forget
from tests.filling import fill, send, sent_of

ADD = "admin:experiments_instance_add"
SECRETIVE = """
from pydantic import BaseModel, SecretStr
from experiments import Experiment
class Secretive(Experiment):
    class Config(BaseModel):
        key: SecretStr = SecretStr("none")
        n: int = 1
    def run(self, ctx): ...
class Open(Experiment):
    class Config(BaseModel):
        key: str = ""
        n: int = 1
    def run(self, ctx): ...
"""

pytestmark = pytest.mark.django_db


def form(**values: Any) -> dict[str, Any]:
    return {"experiment": "monte_carlo_pi", "name": "pi", "priority": "0", **values}


def errors(response: Any) -> dict[str, list[str]]:
    return dict(response.context["adminform"].form.errors)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ATHANOR_EXPERIMENT_PATHS", str(tmp_path))
    (tmp_path / "secretive.py").write_text(SECRETIVE)
    forget()
    yield tmp_path
    forget()


@pytest.fixture
def viewer(client: Client) -> Client:
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_instance"))
    client.force_login(user)
    return client


def test_an_instance_made_in_python_gets_its_defaults() -> None:
    instance = Instance.objects.create(name="pi", experiment="monte_carlo_pi", configuration={"darts": 7}, tags=[" a "])

    instance.refresh_from_db()
    assert instance.configuration == {"batches": 20, "darts": 7, "seed": 0}
    assert instance.tags == ["a"]


def test_an_invalid_instance_is_not_saved() -> None:
    with pytest.raises(ValidationError) as caught:
        Instance.objects.create(
            name="pi", experiment="monte_carlo_pi", configuration={"dart": 7}, limits={"timeout": 1}
        )

    assert caught.value.message_dict == {
        "configuration": ["dart: unknown; did you mean 'darts'?"],
        "limits": ["timeout: unknown; did you mean 'timeout_s'?"],
    }
    assert not Instance.objects.exists()


def test_the_form_saves_what_is_valid_with_its_author(admin_client: Client, admin_user: User) -> None:
    values = form(configuration='{"darts": 7}', limits='{"timeout_s": 5}', tags="a, b,")

    response = admin_client.post(reverse(ADD), values)

    assert response.status_code == 302
    instance = Instance.objects.get()
    assert instance.configuration == {"batches": 20, "darts": 7, "seed": 0}
    assert (instance.limits, instance.tags, instance.created_by) == ({"timeout_s": 5.0}, ["a", "b"], admin_user)


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"configuration": '{"batches": 0}'}, "configuration", "batches: Input should be greater than or equal to 1"),
        ({"configuration": '{"batch": 1}'}, "configuration", "batch: unknown; did you mean 'batches'?"),
        ({"configuration": "{"}, "configuration", "Not valid JSON"),
        ({"configuration": "[]"}, "configuration", "Must be an object."),
        ({"configuration": "[" * 100_000}, "configuration", "Nested too deeply."),
        ({"limits": "[]"}, "limits", "Must be an object."),
        ({"limits": '{"timeout_s": "soon"}'}, "limits", "Invalid duration"),
        ({"limits": '{"timeout_s": -1}'}, "limits", "timeout_s: Input should be greater than 0"),
        ({"tags": "x" * 101}, "tags", "0: Longer than 100 characters"),
        ({"experiment": ""}, "experiment", "This field is required."),
        ({"name": "no slug"}, "name", "Letters, digits, - and _ only."),
        ({"name": "word_count"}, "name", "This is the name of another experiment"),
    ],
)
def test_the_form_tells_errors_at_their_fields(
    admin_client: Client, values: dict[str, str], field: str, message: str
) -> None:
    response = admin_client.post(reverse(ADD), form(**values))

    assert response.status_code == 200
    assert list(errors(response)) == [field]
    assert message in unescape(response.content.decode())
    assert not Instance.objects.exists()


def test_what_was_typed_in_is_shown_again(admin_client: Client) -> None:
    response = admin_client.post(reverse(ADD), form(configuration='{"batches":  0}', tags="a, b"))

    assert b"{&quot;batches&quot;:  0}" in response.content
    assert b'value="a, b"' in response.content


def test_a_link_prefills_the_form_with_the_experiments_defaults(admin_client: Client) -> None:
    response = admin_client.get(reverse(ADD), {"experiment": "monte_carlo_pi", "batches": "7", "dart": "1"})

    sent = sent_of(response.content)
    assert (sent["configuration.darts"], sent["configuration.batches"]) == (["100000"], ["7"])
    assert "dart in the link is not used: unknown; did you mean &#x27;darts&#x27;?" in response.content.decode()
    assert b"Darts per batch" in response.content
    assert b"Estimate pi by throwing darts." in response.content


def test_without_an_experiment_one_is_chosen_first(admin_client: Client) -> None:
    page = admin_client.get(reverse(ADD), {"q": "pi"}).content.decode()
    unknown = admin_client.get(reverse(ADD), {"experiment": "digit"}).content.decode()

    assert "?experiment=monte_carlo_pi" in page
    assert "?experiment=word_count" not in page
    assert "did you mean &#x27;digits&#x27;?" in unknown


def test_what_a_link_says_besides_outlives_the_choice(admin_client: Client) -> None:
    page = admin_client.get(reverse(ADD), {"_popup": "1", "batches": "7&<"}).content.decode()

    assert 'href="?experiment=monte_carlo_pi&amp;_popup=1&amp;batches=7%26%3C"' in page
    assert '<input type="hidden" name="batches" value="7&amp;&lt;">' in page
    popup = admin_client.get(reverse(ADD), {"_popup": "1", "experiment": "digits"})
    assert "is not used" not in popup.content.decode()


def test_the_choice_needs_the_permission_to_add(viewer: Client) -> None:
    assert viewer.get(reverse(ADD)).status_code == 403
    assert viewer.get(reverse(ADD), {"experiment": "digits"}).status_code == 403


def test_another_experiment_keeps_what_both_know_but_no_secret(admin_client: Client, folder: Path) -> None:
    url = reverse(ADD) + "?experiment=secretive"
    typed = {"configuration.key": "hush", "configuration.n": "5"}

    page = fill(admin_client, url, experiment="open", **typed, **{"!do": "show"})

    sent = sent_of(page.content)
    assert (sent["configuration.n"], sent["configuration.key"]) == (["5"], [""])
    assert sent["configuration!for"] == ["open"]
    assert not Instance.objects.exists()


def test_the_list_and_the_page_tell_of_broken_experiments(admin_client: Client, folder: Path) -> None:
    (folder / "broken.py").write_text("1 / 0")
    forget()

    for url in (reverse("admin:experiments_instance_changelist"), reverse(ADD)):
        page = admin_client.get(url).content.decode()
        assert "broken.py: ZeroDivisionError: division by zero" in page
        assert "Traceback" in page


def test_an_instance_whose_experiment_is_gone_still_has_a_page(admin_client: Client, folder: Path) -> None:
    instance = Instance.objects.create(name="s", experiment="secretive")
    (folder / "secretive.py").unlink()
    forget()

    page = admin_client.get(instance.get_absolute_url()).content.decode()

    assert "secretive (not found)" in page


@pytest.mark.parametrize(
    ("changed", "key", "message"),
    [
        ({"name": "t"}, "hush", ""),
        ({"n": 2}, "hush", "key: Enter it again"),
        ({"n": 2, "key": "new"}, "new", ""),
        ({"key": ["**********"]}, "hush", "key: Input should be a valid string"),
    ],
)
def test_a_secret_is_masked_on_the_page_and_kept_with_an_unchanged_configuration(
    admin_client: Client, folder: Path, changed: dict[str, Any], key: str, message: str
) -> None:
    instance = Instance.objects.create(name="s", experiment="secretive", configuration={"key": "hush"})

    page = admin_client.get(instance.get_absolute_url())
    shown = page.context["adminform"].form.initial["configuration"]
    name = changed.pop("name", "s")
    answer = admin_client.post(
        instance.get_absolute_url(),
        form(experiment="secretive", name=name, configuration=json.dumps({**shown, **changed})),
    )

    assert b"hush" not in page.content + answer.content
    instance.refresh_from_db()
    assert (instance.configuration["key"], instance.name) == (key, "s" if message else name)
    assert message in answer.content.decode()


@pytest.mark.parametrize("depth", [300, 900])
def test_json_that_is_nested_too_deeply_is_an_error_of_its_field(
    admin_client: Client, folder: Path, depth: int
) -> None:
    deep = '{"n":' * depth + "1" + "}" * depth
    instance = Instance.objects.create(name="s", experiment="secretive", configuration={"key": "hush"})
    answer = admin_client.post(instance.get_absolute_url(), form(experiment="secretive", name="s", configuration=deep))
    assert answer.status_code == 200
    assert "Please correct the error" in answer.content.decode()


def test_a_secret_does_not_move_to_another_experiment(admin_client: Client, folder: Path) -> None:
    instance = Instance.objects.create(name="s", experiment="secretive", configuration={"key": "hush"})

    admin_client.post(
        instance.get_absolute_url(), form(experiment="open", name="s", configuration='{"key": "**********"}')
    )

    instance.refresh_from_db()
    assert instance.configuration == {"key": "**********", "n": 1}


def test_who_may_only_view_sees_no_secret(viewer: Client, folder: Path) -> None:
    instance = Instance.objects.create(name="s", experiment="secretive", configuration={"key": "hush"})

    page = viewer.get(instance.get_absolute_url())

    assert page.status_code == 200
    assert b"hush" not in page.content
    assert b"&quot;n&quot;: 1" in page.content


def test_the_list_is_searched_and_filtered(admin_client: Client) -> None:
    Instance.objects.create(name="one", experiment="monte_carlo_pi")
    Instance.objects.create(name="two", experiment="word_count")

    page = admin_client.get(reverse("admin:experiments_instance_changelist"), {"q": "tw", "experiment": "word_count"})

    assert [instance.name for instance in page.context["cl"].result_list] == ["two"]


def test_an_instance_is_edited_in_its_form_with_errors_at_their_fields(admin_client: Client) -> None:
    instance = Instance.objects.create(name="l", experiment="layered", configuration={"token": "hush"})
    url = instance.get_absolute_url()

    wrong = fill(admin_client, url, **{"configuration.layers.1.units": "0"})
    instance.refresh_from_db()
    before = instance.configuration
    right = {"configuration.layers.1.units": "5", "configuration.token": "hush", "limits.timeout_s": "1h"}
    send(admin_client, url, sent_of(wrong.content), **right)

    instance.refresh_from_db()
    assert '<a href="#id_configuration.layers.1.units">Layers 2: Units</a>' in wrong.content.decode()
    assert b"hush" not in wrong.content
    assert before["layers"][1]["units"] == 16
    assert (instance.configuration["layers"][1]["units"], instance.configuration["token"]) == (5, "hush")
    assert instance.limits == {"timeout_s": 3600.0}


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(admin_client: Client) -> None:
    instance = Instance.objects.create(name="l", experiment="layered")
    page = admin_client.get(instance.get_absolute_url())
    instance.save()

    answer = send(admin_client, instance.get_absolute_url(), sent_of(page.content), description="mine")

    assert "It was changed after you opened this page" in answer.content.decode()
    instance.refresh_from_db()
    assert instance.description == ""


def test_items_are_added_to_an_instance_without_a_script(admin_client: Client) -> None:
    url = reverse(ADD) + "?experiment=layered"
    page = fill(admin_client, url, name="l", **{"!do": "add configuration.layers"})

    assert not Instance.objects.exists()
    send(admin_client, url, sent_of(page.content), **{"configuration.layers.n0.units": "7"})

    assert [layer["units"] for layer in Instance.objects.get().configuration["layers"]] == [8, 16, 7]
