"""Checks of a production site: clean with the documented settings, and an error for each weak one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from athanor.databases import configuration
from athanor.production import WEAKNESSES, check_production

pytestmark = pytest.mark.any_database
ROOT = Path(__file__).parents[2]
STRONG = "k3y-0f-m4ny-d1fferent-ch4racters-for-tests"
DATABASE = "postgresql://athanor:{}@db.example/athanor"
SAFE: dict[str, Any] = {
    "PRODUCTION": True,
    "DEBUG": False,
    "SECRET_KEY": STRONG,
    "ALLOWED_HOSTS": ["lab.example"],
    "CSRF_TRUSTED_ORIGINS": [],
    "SITE_URL": "https://lab.example",
    "TRUSTED_PROXIES": ["10.0.3.7/32"],
    "REDIS_URL": "unix:///srv/var/redis.sock",
}
DOCUMENTED = {
    "ATHANOR_PRODUCTION": "1",
    "ATHANOR_URL": "https://lab.example",
    "ATHANOR_ALLOWED_HOSTS": "lab.example",
    "ATHANOR_TRUSTED_PROXIES": "10.0.3.7",
    "ATHANOR_SECRET_KEY": f"{STRONG}-as-long-as-openssl-makes-them",
    "ATHANOR_SECRETS_KEY": "q5v6Zc0m6yq7R1kq3o3eH8p0b5qWm5c9t1v2x3y4z5A=",
    "ATHANOR_DATABASE_URL": "postgresql://athanor:f00dcafe1234beef@db.example/athanor",
    "ATHANOR_REDIS_URL": "redis://:f00dcafe1234beef@redis.example:6379/0",
}


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ({}, []),
        ({"DEBUG": True}, ["E001"]),
        ({"SECRET_KEY": "x"}, ["E002"]),
        ({"SECRET_KEY": "x" * 100}, ["E002"]),
        ({"ALLOWED_HOSTS": ["lab.example", "*"]}, ["E003"]),
        ({"ALLOWED_HOSTS": []}, ["E004"]),
        ({"ALLOWED_HOSTS": ["localhost", "127.0.0.1", "[::1]"]}, ["E004"]),
        ({"CSRF_TRUSTED_ORIGINS": ["https://lab.example"]}, []),
        ({"CSRF_TRUSTED_ORIGINS": ["https://*.lab.example"]}, []),
        ({"CSRF_TRUSTED_ORIGINS": ["https://lab.example", "http://lab.example"]}, ["E005"]),
        ({"CSRF_TRUSTED_ORIGINS": ["https://*"]}, ["E005"]),
        ({"SITE_URL": ""}, ["E006"]),
        ({"SITE_URL": "http://lab.example"}, ["E006"]),
        ({"SITE_URL": "lab.example"}, ["E006"]),
        ({"TRUSTED_PROXIES": []}, ["E007"]),
        ({"TRUSTED_PROXIES": ["10.0.0.0/8"]}, []),
        ({"TRUSTED_PROXIES": ["10.0.3.7/32", "0.0.0.0/0"]}, ["E008"]),
        ({"TRUSTED_PROXIES": ["::/0"]}, ["E008"]),
        ({"REDIS_URL": "redis://redis.example:6379/0"}, ["E009"]),
        ({"REDIS_URL": "redis://127.0.0.1:6379/0"}, ["E009"]),  # other users of the machine reach it
        ({"REDIS_URL": "rediss://athanor@redis.example:6379/0"}, ["E009"]),
        ({"REDIS_URL": "redis://:redis@redis.example:6379/0"}, ["E009"]),
        ({"REDIS_URL": f"redis://athanor:{STRONG}@redis.example:6379/0"}, []),
        ({"database": DATABASE.format("athanor")}, ["E011"]),
        ({"database": DATABASE.format("a" * 40)}, ["E011"]),
        ({"database": DATABASE.format(STRONG)}, []),
        ({"database": "postgresql://athanor@/athanor?host=/run/postgresql"}, []),
        ({"DEBUG": True, "SECRET_KEY": "ab", "ALLOWED_HOSTS": ["*"]}, ["E001", "E002", "E003"]),
        ({"PRODUCTION": False, "DEBUG": True, "SECRET_KEY": "x", "ALLOWED_HOSTS": ["*"], "SITE_URL": ""}, []),
    ],
)
def test_each_weak_setting_of_a_production_site_is_an_error(
    settings: Any, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], ids: list[str]
) -> None:
    database = configuration(Path("/srv/var"), {"ATHANOR_DATABASE_URL": values.get("database", "")})
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", database.get("PASSWORD"))
    for name, value in {**SAFE, **values}.items():
        setattr(settings, name, value)

    assert [message.id for message in check_production()] == [f"athanor.{id_}" for id_ in ids]


def test_each_error_has_its_own_id_and_a_hint() -> None:
    assert len({weakness.id for weakness in WEAKNESSES}) == len(WEAKNESSES)
    assert all(weakness.hint for weakness in WEAKNESSES)


def test_the_check_is_registered(settings: Any) -> None:
    for name, value in {**SAFE, "DEBUG": True}.items():
        setattr(settings, name, value)

    assert "athanor.E001" in [message.id for message in run_checks(tags=["security"])]


def test_with_the_documented_settings_all_checks_of_a_deployment_are_silent(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ATHANOR_", "DJANGO_"))}
    environ = {**clean, **DOCUMENTED, "ATHANOR_VAR": str(tmp_path)}
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]

    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
