"""First user: created by `up`, with a password that can be reset."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command

from athanor.up.bootstrap import ADMIN, create_first_admin

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


def test_the_first_user_is_created_once() -> None:
    assert create_first_admin() is not None
    assert create_first_admin() is None
