"""First user: created by `up`, with a password that can be reset."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from athanor.up.application import Up
from athanor.up.bootstrap import ADMIN, create_first_admin
from athanor.up.preflight import opened_text
from athanor.up.roles import Options

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("exists", [True, False])
def test_up_sets_a_new_password(capsys: pytest.CaptureFixture[str], exists: bool) -> None:
    before = create_first_admin() if exists else None
    call_command("up", "--reset-password")

    (password,) = re.findall(rf"Log in as {ADMIN} with the password (\S+)", capsys.readouterr().out)
    user = get_user_model().objects.get(username=ADMIN)
    assert password != before
    assert user.check_password(password)
    assert (user.is_superuser, user.is_staff, user.is_active) == (True, True, True)


def test_a_user_of_single_sign_on_does_not_become_a_superuser() -> None:
    user = get_user_model().objects.create_user(ADMIN)
    with pytest.raises(CommandError, match="single sign-on"):
        call_command("up", "--reset-password")
    user.refresh_from_db()
    assert not user.is_superuser
    assert not user.has_usable_password()


def test_the_first_user_is_created_once() -> None:
    assert create_first_admin() is not None
    assert create_first_admin() is None


@pytest.mark.parametrize("terminals", [(True, True), (True, False), (False, True)])
def test_only_a_terminal_shows_the_first_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminals: tuple[bool, bool]
) -> None:
    for stream, is_terminal in zip((sys.stdin, sys.stdout), terminals, strict=True):
        monkeypatch.setattr(stream, "isatty", lambda is_terminal=is_terminal: is_terminal)
    up = Up(Options("127.0.0.1", 8000, 1, 1, tmp_path), with_demo=False, echo=lambda _: None)
    (tmp_path / "first_password").touch(0o644)

    text = up._first_login("hush-hush-hush")

    assert ("hush-hush-hush" in text) == all(terminals)
    if not all(terminals):
        assert (tmp_path / "first_password").read_text() == "hush-hush-hush\n"
        assert stat.S_IMODE((tmp_path / "first_password").stat().st_mode) == 0o600
        assert str(tmp_path / "first_password") in text
    assert up._first_login("") == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_a_site_for_this_machine_needs_no_warning(host: str) -> None:
    assert opened_text(host, 8000, ["localhost"]) == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7", "no.such.host.invalid"])
def test_up_says_what_it_opens_to_others(host: str) -> None:
    text = opened_text(host, 8123, ["lab.example", "localhost"])

    for part in (f"listens on {host}, port 8123", "HTTP", "Anyone", "lab.example, localhost", "ssh -L 8123:"):
        assert part in text
