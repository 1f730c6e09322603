"""Single sign-on by OpenID Connect against a provider of the tests, in a process of its own."""

from __future__ import annotations

from typing import Any

import pytest

from athanor.login import oidc_settings
from tests.integration.programs import findings

FAILED = {"status": 302, "to": "/admin/login/", "user": None, "groups": [], "is_superuser": False}
IN = {"status": 302, "to": "/admin/runs/run/", "groups": ["viewer"], "is_superuser": False, "said": []}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return findings("sign_on_program", tmp_path_factory.mktemp("sign-on"))


def test_the_login_page_leads_to_the_provider_by_a_post_only(found: dict[str, Any]) -> None:
    assert (found["page"], found["policy"], found["get"], found["unknown"]) == (True, 1, 405, 404)
    assert found["signup"] == "/admin/login/"


@pytest.mark.parametrize(("case", "user"), [("first", "ada"), ("again", "ada")])
def test_a_user_is_created_once_in_the_group_of_the_settings(found: dict[str, Any], case: str, user: str) -> None:
    assert found[case] == {**IN, "user": user}


def test_no_claim_links_to_an_existing_user(found: dict[str, Any]) -> None:
    other = found["taken name"]["user"]
    assert other not in ("admin", "ada"), "neither the name nor the address of another user"
    assert found["taken name"] == {**IN, "user": other}
    assert found["users"] == sorted(["admin", "ada", other, "grace"])


@pytest.mark.parametrize(
    "case", ["other state", "other audience", "other issuer", "expired", "other subject", "denied"]
)
def test_a_forged_answer_is_refused(found: dict[str, Any], case: str) -> None:
    assert found[case] == {**FAILED, "said": ["Single sign-on failed."]}


@pytest.mark.parametrize("case", ["disabled", "no group"])
def test_who_has_no_access_is_told_so(found: dict[str, Any], case: str) -> None:
    assert found[case] == {**FAILED, "said": ["Your account has no access yet."]}


SET = dict.fromkeys(oidc_settings.NEEDED, "https://id.example.org")


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, ""),
        (SET, ""),
        ({**SET, "ATHANOR_OIDC_ISSUER": "http://localhost:8080/realm"}, ""),
        ({**SET, "ATHANOR_OIDC_ISSUER": "http://id.example.org"}, "ATHANOR_OIDC_ISSUER is not an https:// address."),
        ({**SET, "ATHANOR_OIDC_CLIENT_ID": ""}, "ATHANOR_OIDC_CLIENT_ID is not set."),
        ({"ATHANOR_OIDC_NAME": "x"}, " are not set."),
    ],
)
def test_a_configuration_that_cannot_work_is_named(environ: dict[str, str], problem: str) -> None:
    found = " ".join(oidc_settings.problems(environ))
    assert problem in found
    assert bool(problem) == bool(found)
    assert oidc_settings.is_on(environ) == bool(environ and not found)


def test_without_the_package_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc_settings, "find_spec", lambda _: None)
    assert oidc_settings.problems(SET) == ["The package django-allauth is not installed."]
    assert oidc_settings.problems({}) == []
