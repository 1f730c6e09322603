"""Permissions of what Athanor makes, and of what an older version has made."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.checks import check_private
from athanor.embedded import redis
from athanor.exposed import exposed, tighten
from athanor.management.commands.migrate import _create_file
from athanor.up import preflight
from experiments import umask

pytestmark = pytest.mark.any_database
ROOT = Path(__file__).parents[2]
POSTGRESQL = {"ENGINE": "django.db.backends.postgresql", "NAME": "lab"}


@pytest.fixture(autouse=True)
def usual_umask(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(umask.VARIABLE, raising=False)
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make(var: Path, modes: dict[str, int]) -> None:
    for name, bits in {"": 0o700, **modes}.items():
        path = var / name
        if name in ("", "redis", "log", "runs"):
            path.mkdir(exist_ok=True)
        else:
            path.touch()
        path.chmod(bits)


@pytest.mark.parametrize(
    ("modes", "reported"),
    [
        ({}, []),
        ({"redis": 0o755, "secret_key": 0o644}, []),  # nobody else gets there
        ({"": 0o755}, [""]),
        ({"": 0o750, "secret_key": 0o600}, [""]),
        ({"": 0o711, "secret_key": 0o600, "runs": 0o700}, []),
        ({"": 0o711, "secret_key": 0o640}, ["secret_key"]),
        ({"": 0o711, "runs": 0o711, "secret_key": 0o600}, []),  # the accounts of run_as pass through
        ({"": 0o777, "db.sqlite3": 0o644, "redis": 0o755, "log": 0o700}, ["", "db.sqlite3", "redis"]),
    ],
)
def test_what_others_can_reach_is_reported(tmp_path: Path, modes: dict[str, int], reported: list[str]) -> None:
    make(tmp_path / "var", modes)

    found = list(exposed(tmp_path / "var", POSTGRESQL))

    assert [each.path for each in found] == [tmp_path / "var" / name for name in reported]


@pytest.mark.parametrize(("folder", "is_reported"), [(0o700, False), (0o755, True)])
def test_a_database_elsewhere_is_reported(tmp_path: Path, folder: int, is_reported: bool) -> None:
    file = tmp_path / "data" / "lab.sqlite3"
    file.parent.mkdir()
    file.parent.chmod(folder)
    file.touch(0o644)

    found = list(exposed(tmp_path / "var", {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file)}))

    assert [each.path for each in found] == [file] * is_reported


def test_the_check_says_what_to_do(tmp_path: Path, settings: Any) -> None:
    make(tmp_path / "var", {"": 0o755})
    settings.VAR = tmp_path / "var"

    (message,) = [each for each in check_private() if str(tmp_path / "var") in each.msg]

    assert (message.id, message.hint) == ("athanor.W002", f"chmod go-rwx {tmp_path / 'var'}")


@pytest.mark.parametrize("is_ours", [True, False])
def test_up_closes_what_an_older_version_left_open(tmp_path: Path, is_ours: bool) -> None:
    var, other = tmp_path / "var", tmp_path / "var" / "notes.txt"
    make(var, {"": 0o755, "redis": 0o755, "db.sqlite3": 0o644, "db.sqlite3-wal": 0o644, "secret_key": 0o600})
    other.touch(0o644)

    changed = tighten(var, is_ours=is_ours)

    assert {path.name for path in changed} == {"redis", "db.sqlite3", "db.sqlite3-wal"} | (
        {"var"} if is_ours else set()
    )
    assert (mode(var), mode(var / "redis"), mode(var / "db.sqlite3-wal")) == (0o700 if is_ours else 0o755, 0o700, 0o600)
    assert mode(other) == 0o644
    assert tighten(var, is_ours=is_ours) == []


def test_up_keeps_folders_that_accounts_of_runs_pass_through(tmp_path: Path) -> None:
    make(tmp_path / "var", {"": 0o711, "runs": 0o711, "secret_key": 0o600})

    assert tighten(tmp_path / "var", is_ours=True) == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path / "var", {})
    (tmp_path / "elsewhere").mkdir(0o755)
    (tmp_path / "var" / "runs").symlink_to(tmp_path / "elsewhere")

    assert tighten(tmp_path / "var", is_ours=True) == []


def test_folders_are_private_whatever_the_umask(tmp_path: Path) -> None:
    preflight.check_folder(tmp_path / "var")
    _create_file({"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "data" / "lab.sqlite3"})
    redis.prepare(redis.Server(Path("redis-server"), "redis", (7, 0)), tmp_path / "var")

    made = [path for path in tmp_path.rglob("*") if path.name != "redis.conf"]
    assert {path.relative_to(tmp_path).as_posix(): mode(path) for path in made} == {
        "var": 0o700, "var/redis": 0o700, "var/redis/redis-7": 0o700, "data": 0o700, "data/lab.sqlite3": 0o600,
    }  # fmt: skip


def test_each_program_makes_private_files_and_passes_on_the_umask(tmp_path: Path) -> None:
    program = """
import os, runpy, sys
from contextlib import suppress
import django; os.environ["DJANGO_SETTINGS_MODULE"] = "athanor.settings"; django.setup()
def web():
    import athanor.asgi
def worker_or_beat():
    from athanor.celery import _begin_service; _begin_service()
def command():
    sys.argv = ["manage.py", "list_experiments", "--help"]
    runpy.run_path("manage.py")["main"]()
for start in (web, worker_or_beat, command):
    os.environ.pop("ATHANOR_UMASK", None); os.umask(0o027)
    with suppress(SystemExit):
        start()
    print(f"{start.__name__}: {os.umask(0):o}, for authors {os.environ.get('ATHANOR_UMASK')}")
"""
    environ = {**os.environ, "ATHANOR_VAR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )

    expected = [f"{name}: 77, for authors 027" for name in ("web", "worker_or_beat", "command")]
    assert [line for line in done.stdout.splitlines() if "for authors" in line] == expected, done.stderr


@pytest.mark.parametrize(
    ("passed_on", "used"), [("022", 0o022), ("002", 0o002), ("", 0o077), ("9", 0o077), ("u=rwx", 0o077)]
)
def test_authors_get_the_umask_that_was_passed_on(monkeypatch: pytest.MonkeyPatch, passed_on: str, used: int) -> None:
    monkeypatch.setenv(umask.VARIABLE, passed_on)
    os.umask(0o077)

    with umask.inherited():
        assert os.umask(0o077) == used
    assert os.umask(0o022) == 0o077
