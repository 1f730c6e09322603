"""Settings from the environment: addresses of the database and Redis, the key, unknown names."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from kombu.connection import Connection

from athanor import addresses, databases, environment
from athanor.celery import app, beat_schedule
from athanor.checks import check_secrets_key
from athanor.middleware import CONTENT_SECURITY_POLICY
from runs.conf import RunsSettings

ROOT = Path(__file__).parents[2]


def evaluate(expression: str, **environ: str) -> str:
    """Return the value of an expression on `settings` in a new process with this environment."""
    program = f"from athanor import settings; print({expression})"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ATHANOR_", "DJANGO_"))}
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**clean, **environ}, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_without_a_url_the_database_is_sqlite_in_var(tmp_path: Path) -> None:
    assert databases.configuration(tmp_path, {})["NAME"] == tmp_path / "db.sqlite3"


def test_a_postgresql_url_is_taken_apart(tmp_path: Path) -> None:
    url = "postgresql://ada:a%40b@db.example:5433/lab?sslmode=require"

    database = databases.configuration(tmp_path, {"ATHANOR_DATABASE_URL": url})

    assert (database["USER"], database["PASSWORD"], database["HOST"], database["PORT"], database["NAME"]) == (
        "ada", "a@b", "db.example", "5433", "lab",
    )  # fmt: skip
    assert database["OPTIONS"]["sslmode"] == "require"


def test_a_vanished_database_server_is_noticed_within_a_lease_unless_the_url_says_otherwise(tmp_path: Path) -> None:
    url = "postgresql://ada@db.example/lab"

    default, by_url = (
        databases.configuration(tmp_path, {"ATHANOR_DATABASE_URL": at})["OPTIONS"]
        for at in (url, f"{url}?tcp_user_timeout=20000")
    )

    assert default["keepalives_idle"] + default["keepalives_interval"] * default["keepalives_count"] <= 10
    assert (default["tcp_user_timeout"], by_url["tcp_user_timeout"]) == (8000, "20000")


def test_another_database_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"starts with 'mysql'; expected postgresql://"):
        databases.configuration(tmp_path, {"ATHANOR_DATABASE_URL": "mysql://localhost/lab"})


@pytest.mark.parametrize(
    ("url", "transport", "place"),
    [
        ("unix:///tmp/a%20b/redis.sock?db=3", "redis", {"path": "/tmp/a b/redis.sock", "db": 3}),
        ("unix://:pass@/tmp/redis.sock", "redis", {"path": "/tmp/redis.sock", "db": 0, "password": "pass"}),
        ("redis://ada:pass@host:6380/2", "redis", {"host": "host", "port": 6380, "db": 2, "username": "ada"}),
        ("rediss://host:6380/2", "rediss", {"host": "host", "db": 2, "ssl_cert_reqs": 2}),
    ],
)
def test_celery_is_told_the_same_redis(url: str, transport: str, place: dict[str, object]) -> None:
    connect: Any = Connection
    connection = connect(databases.broker_url(url))
    channel = connection.transport.Channel
    params = channel._connparams(_Unconnected(connection, channel))

    assert connection.transport_cls == transport
    assert {name: params.get(name) for name in place} == place


class _Unconnected:
    """Minimal kombu channel that returns its connection parameters."""

    def __init__(self, connection: Any, channel: type) -> None:
        self._channel = channel
        self.connection = type("Transport", (), {"client": connection, "default_port": 6379})

    def __getattr__(self, name: str) -> object:
        attribute = getattr(self._channel, name)
        return attribute.__get__(self) if callable(attribute) and not isinstance(attribute, type) else attribute


def test_a_long_var_gets_a_short_socket(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)

    socket = databases.redis_socket(long)

    assert len(str(socket)) < 100
    assert socket == databases.redis_socket(long)
    assert socket != databases.redis_socket(tmp_path / ("y" * 100))
    assert databases.redis_socket(Path("/srv/var")) == Path("/srv/var/redis.sock")


def test_the_key_is_made_once_and_is_its_owners_only(tmp_path: Path) -> None:
    var = tmp_path / "var"

    key = databases.secret_key(var, {})

    assert len(key) > 50
    assert databases.secret_key(var, {}) == key
    assert stat.S_IMODE((var / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in var.iterdir()] == ["secret_key"]


def test_a_folder_that_takes_no_key_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ImproperlyConfigured, match="Make the folder writable, set ATHANOR_VAR"):
        databases.secret_key(tmp_path / "file", {})


def test_the_process_of_an_experiment_gets_no_credentials(tmp_path: Path) -> None:
    expression = "(settings.DATABASES['default']['ENGINE'], settings.REDIS_URL, settings.SECRET_KEY == 'secret')"
    secrets = {
        "ATHANOR_DATABASE_URL": "postgresql://u:p@h/d",
        "ATHANOR_REDIS_URL": "redis://h",
        "ATHANOR_SECRET_KEY": "secret",
    }

    found = evaluate(expression, ATHANOR_ROLE="child", ATHANOR_VAR=str(tmp_path), **secrets)

    assert found == "('athanor.no_database', '', False)"


def test_production_means_secure_cookies_and_the_content_policy_is_always_on(tmp_path: Path) -> None:
    policy = "'athanor.middleware.ContentSecurityPolicy' in settings.MIDDLEWARE"
    expression = f"getattr(settings, 'SESSION_COOKIE_SECURE', False), {policy}"

    assert evaluate(expression, ATHANOR_VAR=str(tmp_path), ATHANOR_PRODUCTION="1") == "True True"
    assert evaluate(expression, ATHANOR_VAR=str(tmp_path)) == "False True"
    assert "default-src 'self'" in CONTENT_SECURITY_POLICY


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("", False), (" 1 ", True)])
def test_a_switch_is_1_or_0(value: str, expected: bool) -> None:
    assert addresses.switch({"ATHANOR_PRODUCTION": value}, "ATHANOR_PRODUCTION") is expected


@pytest.mark.parametrize("value", ["true", "yes", "on", "2"])
def test_a_switch_of_another_value_is_refused_rather_than_off(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="use 1 or 0"):
        addresses.switch({"ATHANOR_PRODUCTION": value}, "ATHANOR_PRODUCTION")


def test_a_misspelt_variable_is_reported_with_the_nearest() -> None:
    given = {"ATHANOR_DATABSE_URL": "", "ATHANOR_RUNS_LEASE_S": "", "ATHANOR_QQQ": "", "PATH": ""}

    assert environment.unknown_names(given) == {"ATHANOR_DATABSE_URL": "ATHANOR_DATABASE_URL", "ATHANOR_QQQ": None}


def test_each_public_variable_is_in_the_example_file() -> None:
    text = (ROOT / ".env.example").read_text()

    assert [name for name in environment.PUBLIC if f"\n{name}=" not in text and f"\n#{name}=" not in text] == []


def test_ticks_go_to_the_queue_of_the_system() -> None:
    schedule = beat_schedule(RunsSettings(flush_every_s=0.25))

    assert schedule["runs.tasks.flush"]["options"] == {"queue": "system"}


def test_messages_are_acknowledged_early_and_never_fetched_ahead() -> None:
    assert app.conf.task_acks_late is False
    assert app.conf.worker_disable_prefetch is True
    assert app.conf.broker_transport_options["socket_timeout"] == 5
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_ignore_result is True


KEYS = [b64encode(bytes([number] * 32)).decode() for number in (1, 2)]  # the same in all processes of a parallel run


@pytest.mark.parametrize(
    ("key", "production", "ids"),
    [
        ("", False, []),
        ("", True, ["athanor.W010"]),
        (KEYS[0], True, []),
        (", ".join(KEYS), True, []),
        ("guessable", False, ["athanor.E010"]),
    ],
    ids=["none", "none in production", "one", "two", "no key"],
)
def test_the_key_of_stored_secrets_is_checked(settings: Any, key: str, production: bool, ids: list[str]) -> None:
    settings.ATHANOR_SECRETS_KEY, settings.PRODUCTION = key, production
    assert [message.id for message in check_secrets_key()] == ids
