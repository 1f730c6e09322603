"""Two-factor authentication where it is required, in a process of its own; and its configuration."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from athanor.login import two_factor_settings
from tests.integration.programs import findings

REFUSED = {"status": 200, "is_in": False, "home": None}
IN = {"status": 302, "is_in": True, "home": 200}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return findings("two_factor_program", tmp_path_factory.mktemp("two-factor"))


def test_without_one_a_login_leads_to_its_set_up_only(found: dict[str, Any]) -> None:
    assert found["without"] == {"status": 302, "is_in": True, "home": 302, "to": "/admin/two-factor/"}
    assert found["stream"] is False
    assert found["reset"] == {"status": 302, "is_in": True, "home": 302}, "the same after a reset"


def test_it_is_set_up_with_password_and_code_and_opens_the_site(found: dict[str, Any]) -> None:
    assert found["page"] == [True, True]
    assert found["wrong password"] == [True, 0]
    assert found["set up"] == [10, 200, True]
    assert found["stored"] == [False, True], "encrypted"


@pytest.mark.parametrize(
    ("case", "answer"),
    [
        ("no code", REFUSED),
        ("wrong code", REFUSED),
        ("wrong password with code", REFUSED),
        ("code", IN),
        ("same code", REFUSED),
        ("recovery", IN),
        ("same recovery", REFUSED),
    ],
)
def test_a_login_needs_an_unused_code(found: dict[str, Any], case: str, answer: dict[str, Any]) -> None:
    assert found[case] == answer


def test_wrong_codes_are_throttled_as_wrong_passwords(found: dict[str, Any]) -> None:
    assert found["counted"] == 1, "the login by a recovery code has reset the others"
    assert found["flood"] == 429


@pytest.mark.parametrize(
    ("value", "mode", "problem"),
    [
        ("", "off", ""),
        ("off", "off", ""),
        ("optional", "optional", ""),
        ("required", "required", ""),
        ("yes", "off", "Use off, optional or required."),
    ],
)
def test_a_wrong_mode_is_named(value: str, mode: str, problem: str) -> None:
    environ = {two_factor_settings.NAME: value}
    assert two_factor_settings.mode(environ) == mode
    assert problem in " ".join(two_factor_settings.problems(environ))
    with pytest.raises(ImproperlyConfigured, match=problem) if problem else nullcontext():
        two_factor_settings.refuse_problems(environ)


def test_without_the_package_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_factor_settings, "find_spec", lambda _: None)
    assert two_factor_settings.problems({two_factor_settings.NAME: "required"}) != []
    assert two_factor_settings.problems({}) == []
