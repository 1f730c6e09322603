"""`python manage.py up` as somebody who typed it meets it: real processes, real signals, a folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from athanor.up.process import wait_for_exit
from tests.servers import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
ROLES = ["redis", "system", "runs1", "beat", "web"]
NOT_UP = 3

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]


class Place:
    """A var folder and the commands in it."""

    def __init__(self, var: Path) -> None:
        self.var, self.port = var, free_port()
        self.output = var.parent / "output"
        self.process: subprocess.Popen[bytes] | None = None
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ATHANOR_", "DJANGO_"))}
        self.environ = {**clean, "ATHANOR_VAR": str(var)}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "manage.py", *arguments]

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    def up(self, *arguments: str) -> Place:
        """Start it and wait until it says that it is up."""
        self.output.write_bytes(b"")
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command("up", "--port", str(self.port), *arguments),
                cwd=ROOT, env=self.environ, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        wait_until(lambda: self.printed("Athanor is up") or self.has_ended(), timeout_s=90, what="everything to be up")
        assert not self.has_ended(), self.output.read_text()
        return self

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def printed(self, text: str) -> bool:
        return text in self.output.read_text()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.manage("up", "--status", "--json").stdout)
        return found

    def of(self, role: str) -> dict[str, Any]:
        return next(dict(entry) for entry in self.status()["processes"] if entry["role"] == role)

    def tree(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            content: bytes = answer.read()
            return content


@pytest.fixture
def place(short_folder: Path) -> Iterator[Place]:
    place = Place(short_folder / "var")
    yield place
    if place.process is not None:
        left = place.tree() if not place.has_ended() else []
        place.process.kill()
        place.process.wait()
        wait_for_exit(left, 10)


def test_a_newcomer_sees_the_first_experiment_run_to_its_end(place: Place) -> None:
    place.up()

    wait_until(lambda: place.printed("Press Ctrl-C to stop everything."), timeout_s=120, what="the demo to end")
    text = place.output.read_text()
    file = place.var / "first_password"
    login_line = f"Log in as admin with the password in {file}, then change it and delete the file.\n"
    assert f"Created the user admin. {login_line}" in text
    assert text.count(f"\n{login_line}") == 2, "when everything is up, and after the demo's lines"
    assert file.read_text().strip() not in text, "standard output may be the log of a container"
    assert "Warning" not in text
    assert text.endswith(f"{login_line}Press Ctrl-C to stop everything.\n")
    assert re.search(rf"Run page: http://127.0.0.1:{place.port}/admin/runs/run/\d+/change/", text)
    run = json.loads(place.manage("show_run", "1", "--json").stdout)
    assert run["status"] == "completed"
    assert run["lines"]["stored"] == run["lines"]["emitted"] > 0
    assert open_to_others(place.var) == []
    assert place.end() == 0


def open_to_others(var: Path) -> list[str]:
    """Return what others can read, except what is in the private folder of a run."""
    paths = [var, *(path for path in var.rglob("*") if "runs" not in path.parent.parts)]
    return [f"{path} {path.stat().st_mode & 0o777:o}" for path in paths if path.stat().st_mode & 0o077]


def test_it_shows_its_processes_and_leaves_none_behind(place: Place) -> None:
    place.up("--no-demo")
    tree = place.tree()

    assert [entry["role"] for entry in place.status()["processes"]] == ROLES
    assert {entry["state"] for entry in place.status()["processes"]} == {"running"}
    assert all(Path(entry["log_file"]).exists() for entry in place.status()["processes"])
    assert json.loads(place.get("/healthz")) == {"status": "ok", "database": "ok", "redis": "ok"}
    assert b"Athanor" in place.get("/admin/login/")
    assert b"{" in place.get("/static/unfold/css/styles.css")
    assert b"<svg" in place.get("/favicon.ico")
    assert place.end() == 0
    assert wait_for_exit(tree, 0) == []
    assert place.manage("up", "--status").returncode == NOT_UP


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
def test_its_python_processes_share_the_memory_of_what_they_load(place: Place) -> None:
    place.up("--no-demo")

    for entry in place.status()["processes"][1:]:
        proc = Path("/proc") / str(entry["pid"])
        assert (proc / "comm").read_text().strip() == entry["role"]
        (shared_kib,) = re.findall(r"Shared_Dirty: +(\d+) kB", (proc / "smaps_rollup").read_text())
        assert int(shared_kib) > 20 * 1024
    assert place.end() == 0


def test_a_killed_worker_is_back_within_seconds(place: Place) -> None:
    place.up("--no-demo")
    before = place.of("runs1")

    os.kill(before["pid"], signal.SIGKILL)

    wait_until(lambda: place.of("runs1")["restarts"] == 1 and place.of("runs1")["state"] == "running", timeout_s=20)
    assert place.of("web")["restarts"] == 0
    assert place.end(signal.SIGTERM) == 0


def test_it_starts_again_on_what_a_killed_one_left(place: Place) -> None:
    tree = place.up("--no-demo").tree()
    place.end(signal.SIGKILL)
    wait_until(lambda: not wait_for_exit(tree, 0), timeout_s=15, what="its processes to go with it")
    assert place.manage("up", "--status").returncode == NOT_UP

    place.up("--no-demo")

    assert not place.printed("Created the user")
    assert place.status()["up"]
    assert place.end() == 0


def test_asked_twice_it_does_not_wait_for_running_experiments(place: Place) -> None:
    place.up("--no-demo")
    tree = place.tree()
    place.manage("launch_run", "monte_carlo_pi", "-c", "batches=10000")
    wait_until(lambda: json.loads(place.manage("show_run", "1", "--json").stdout)["lines"]["stored"], timeout_s=20)
    tree += place.tree()
    assert place.process is not None
    place.process.send_signal(signal.SIGINT)
    wait_until(lambda: place.printed("Stopping. Running"))

    started = time.monotonic()
    assert place.end() == 0
    assert time.monotonic() - started < 15
    assert wait_for_exit(tree, 0) == []


def test_a_second_one_in_the_same_folder_is_refused(place: Place) -> None:
    place.up("--no-demo")

    refused = place.manage("up")

    assert refused.returncode == 2
    assert "Athanor is already up in" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert place.end() == 0


def test_a_port_in_use_is_refused(place: Place) -> None:
    with socket.create_server(("127.0.0.1", place.port)):
        refused = place.manage("up", "--port", str(place.port))

    assert refused.returncode == 2
    assert f"Port {place.port} on 127.0.0.1 is already in use" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_folder_that_cannot_be_written_to_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place.environ["ATHANOR_VAR"] = str(tmp_path / "file" / "var")

    for key in ({}, {"ATHANOR_SECRET_KEY": "given"}):
        place.environ.update(key)
        refused = place.manage("up")
        assert refused.returncode == 2
        assert "ATHANOR_VAR" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_an_unreachable_redis_is_refused(place: Place) -> None:
    place.environ["ATHANOR_REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"

    refused = place.manage("up", "--port", str(place.port))

    assert refused.returncode == 2
    assert "Cannot reach the Redis at ATHANOR_REDIS_URL" in refused.stderr
