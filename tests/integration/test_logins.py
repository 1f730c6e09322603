"""Logins of people: a throttle by name and address, a page that says so, a line in the log for each failure."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from athanor.conf import web_settings
from athanor.login import throttle

pytestmark = pytest.mark.django_db
PASSWORD = "blue horses run"
MAX = web_settings().login_failures_max
MAX_BY_ADDRESS = web_settings().login_failures_by_address_max


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_user("mona", password=PASSWORD, is_staff=True)


def log_in(
    name: str = "mona", password: str = "wrong", address: str = "192.0.2.1", client: Client | None = None
) -> Any:
    return (client or Client()).post(
        reverse("admin:login"), {"username": name, "password": password}, REMOTE_ADDR=address
    )


def test_after_too_many_failures_the_right_password_is_refused_too(person: User) -> None:
    answers = [log_in() for _ in range(MAX)]
    assert {answer.status_code for answer in answers[:-1]} == {200}
    for password in ("wrong", PASSWORD):
        refused = log_in(password=password)
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "900"
        page = refused.content.decode()
        assert throttle.refusal() in page
        assert "login-form" in page
        assert "_auth_user_id" not in refused.client.session
    assert log_in(password=PASSWORD, address="192.0.2.2").status_code == 302, "nobody locks out others"


def test_refused_logins_are_not_counted_and_end_after_the_cool_off(person: User) -> None:
    for _ in range(MAX + 3):
        log_in()
    attempt = AccessAttempt.objects.get()
    assert attempt.failures_since_start == MAX
    AccessAttempt.objects.update(attempt_time=timezone.now() - throttle.cool_off() - timedelta(seconds=1))
    assert log_in(password=PASSWORD).status_code == 302


def test_a_login_resets_the_failures_of_its_name_and_address_only(person: User) -> None:
    for name in ("mona", "other"):
        log_in(name)
    log_in(password=PASSWORD)
    assert AccessAttempt.objects.get().username == "other"


def test_an_address_that_tries_many_names_is_refused(person: User) -> None:
    AccessAttempt.objects.bulk_create(
        AccessAttempt(username=f"u{n}", ip_address="2001:db8::", failures_since_start=1, attempt_time=timezone.now())
        for n in range(MAX_BY_ADDRESS)
    )
    assert log_in(password=PASSWORD, address="2001:db8::9:1").status_code == 429, "an address of the same network"
    assert log_in(password=PASSWORD, address="2001:db8:1::1").status_code == 302


@pytest.mark.parametrize("header", ["HTTP_USER_AGENT", "HTTP_X_FORWARDED_FOR"])
def test_no_header_evades_the_throttle(person: User, header: str) -> None:
    for number in range(MAX):
        headers: dict[str, Any] = {header: f"198.51.100.{number}"}
        Client().post(reverse("admin:login"), {"username": "mona", "password": "x"}, **headers)
    assert AccessAttempt.objects.count() == 1
    assert log_in(password=PASSWORD, address="127.0.0.1").status_code == 429


@pytest.mark.parametrize(
    ("remote", "counted"),
    [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8::5:6", "2001:db8::"), ("", None)],
)
def test_an_address_is_counted_by_the_network_of_its_client(remote: str, counted: str | None) -> None:
    assert throttle.client_address(RequestFactory().get("/", REMOTE_ADDR=remote)) == counted


def test_failures_are_logged_with_printable_names(person: User, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log_in("a\x1b[31m\u202eb" + "x" * 80, PASSWORD)
        for _ in range(MAX + 1):
            log_in()
    texts = [record.getMessage() for record in caplog.records if record.name == "athanor.login.failures"]
    assert texts[0].startswith(r"failed login: name 'a\x1b[31m\u202ebxxx")
    assert texts[0].endswith("x'…, address 192.0.2.1")
    assert texts[-1] == "refused a login after too many failures: name 'mona', address 192.0.2.1"
    assert PASSWORD not in caplog.text
    assert PASSWORD not in str(AccessAttempt.objects.values())


def test_a_superuser_unlocks(person: User) -> None:
    for _ in range(MAX):
        log_in()
    root = Client()
    root.force_login(User.objects.create_superuser("root"))
    page = reverse("admin:axes_accessattempt_changelist")
    assert "mona" in root.get(page).content.decode()
    root.post(page, {"action": "unlock", "_selected_action": [AccessAttempt.objects.get().pk]})
    assert log_in(password=PASSWORD).status_code == 302


@pytest.mark.parametrize("password", ["short", "password123", "4815162342108", "mona.lisa.1"])
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(ValidationError):
        validate_password(password, User(username="mona.lisa"))


@pytest.mark.django_db(transaction=True)
def test_a_burst_cannot_pass_the_throttle(person: User) -> None:
    def one(number: int) -> int:
        try:
            return int(log_in(password=f"wrong{number}").status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(one, range(MAX + 14)))
    assert codes.count(200) == MAX - 1, "the last failure that is counted is refused already"
    assert AccessAttempt.objects.get().failures_since_start == MAX
