"""Group behind `up`, with small shell commands: real processes, real signals."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.management import call_command

from athanor.up import status
from athanor.up.process import LOG_MAX_BYTES, wait_for_exit
from experiments.signal_names import signal_name
from tests.waiting import wait_until

PROGRAM = Path(__file__).with_name("group_program.py")
ROOT = PROGRAM.parents[2]
SLEEP = "exec sleep 1000"
STUBBORN = "trap '' TERM INT; touch stubborn; while :; do sleep 0.1; done"

Start = Callable[..., "Running"]


def limit_files(max_bytes: int) -> None:
    """Let this process write no larger file: to it that is as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))


class Running:
    """A group that was started as a program."""

    def __init__(self, folder: Path, roles: list[dict[str, Any]], file_max_bytes: int | None = None) -> None:
        self.folder, self.files = folder, status.Files(folder)
        (folder / "roles.json").write_text(json.dumps(roles))
        self.output = folder / "output"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-u", str(PROGRAM), str(folder), str(folder / "roles.json")],
                cwd=folder, stdout=output, stderr=output, env={**os.environ, "PYTHONPATH": str(ROOT)},
                preexec_fn=partial(limit_files, file_max_bytes) if file_max_bytes else None,  # noqa: PLW1509  # no threads
            )  # fmt: skip

    def printed(self, text: str) -> bool:
        return text in self.output.read_text()

    def is_up(self) -> Running:
        wait_until(lambda: self.printed("up\n"), what="the group to be up")
        return self

    def of(self, role: str) -> dict[str, Any]:
        """Return the status of a role."""
        entries = [entry for entry in status.current(self.files)["processes"] if entry["role"] == role]
        return dict(entries[0]) if entries else {}

    def pids(self) -> list[int]:
        return [entry["pid"] for entry in status.current(self.files)["processes"] if entry["pid"]]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Running] = []

    def start(*roles: dict[str, Any], **about: Any) -> Running:
        started.append(Running(tmp_path, list(roles), **about))
        return started[-1]

    yield start
    for group in started:
        group.process.kill()
        group.process.wait()


def all_exited(pids: list[int]) -> bool:
    """Return whether all processes have exited; an unreaped zombie counts as exited."""
    return not wait_for_exit([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_asked_to_stop_it_ends_all_its_processes(start: Start, number: signal.Signals) -> None:
    group = start({"name": "a", "script": SLEEP}, {"name": "b", "script": SLEEP, "rank": 1}).is_up()
    pids = group.pids()

    assert len(pids) == 2
    assert group.end(number) == 0
    assert all_exited(pids)
    assert not status.current(group.files)["up"]


def test_ranks_start_upwards_and_stop_downwards(start: Start, tmp_path: Path) -> None:
    def noting(name: str) -> str:
        return (
            f"trap 'echo -{name} >> {tmp_path}/order; kill $!; exit 0' TERM; echo +{name} >> {tmp_path}/order;"
            f" touch {tmp_path}/{name}.ready; sleep 1000 & wait"
        )

    roles = [
        {"name": n, "script": noting(n), "rank": i, "gate": True, "ready": f"{n}.ready"} for i, n in enumerate("abc")
    ]
    start(*roles).is_up().end()

    assert (tmp_path / "order").read_text().split() == ["+a", "+b", "+c", "-c", "-b", "-a"]


def test_what_dies_is_started_again_at_once_and_said(start: Start) -> None:
    group = start({"name": "a", "script": SLEEP}, {"name": "b", "script": SLEEP}).is_up()
    first, other = group.of("a")["pid"], group.of("b")["pid"]

    os.kill(first, signal.SIGKILL)

    wait_until(lambda: group.of("a")["state"] == "running" and group.of("a")["pid"] != first, timeout_s=3)
    assert group.of("a")["restarts"] == 1
    assert group.of("b")["pid"] == other
    assert group.printed("a was killed by SIGKILL. Restarting now.")


def test_what_dies_again_and_again_is_started_at_a_limited_rate(start: Start, tmp_path: Path) -> None:
    script = f"echo x >> {tmp_path}/starts; test -e {tmp_path}/broken && exit 7; exec sleep 1000"
    group = start({"name": "a", "script": script, "ready": "starts"}).is_up()
    (tmp_path / "broken").touch()

    os.kill(group.of("a")["pid"], signal.SIGKILL)

    wait_until(lambda: group.printed("Restarting in 2 s"), what="the back-off to grow")
    assert len((tmp_path / "starts").read_text().split()) == 3
    assert group.printed("a exited with status 7")


def test_a_process_that_never_comes_up_fails_the_start_with_the_end_of_its_log(start: Start) -> None:
    group = start(
        {"name": "good", "script": SLEEP},
        {"name": "bad", "script": "echo out of cheese; exit 3", "rank": 1, "ready": "never"},
    )

    assert group.process.wait(20) == 1
    assert group.printed("bad exited with status 3")
    assert group.printed("  out of cheese")
    assert not status.current(group.files)["up"]


def test_killed_itself_it_takes_its_processes_along(start: Start) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux ends children with their parent")
    group = start({"name": "a", "script": SLEEP}, {"name": "b", "script": STUBBORN, "ready": "stubborn"}).is_up()
    pids = group.pids()

    group.end(signal.SIGKILL)

    wait_until(lambda: all_exited(pids), timeout_s=3, what="the processes to be gone")
    assert not status.current(group.files)["up"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
def test_a_fork_has_its_own_session_files_and_signals(start: Start, tmp_path: Path) -> None:
    code = (
        "import json, os, signal, sys, time; print('printed')\n"
        "fds = [fd for fd in range(1000) if os.path.exists(f'/proc/self/fd/{fd}')]\n"
        "own = dict(pid=os.getpid(), session=os.getsid(0), fds=fds, blocked=len(signal.pthread_sigmask(0, ())),\n"
        "    term=signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, name=open('/proc/self/comm').read().strip())\n"
        "open('draft', 'w').write(json.dumps(own)); os.rename('draft', 'own'); time.sleep(1000)"
    )
    group = start({"name": "a", "python": code, "ready": "own"}).is_up()

    (pid,) = group.pids()
    assert json.loads((tmp_path / "own").read_text()) == {
        "pid": pid, "session": pid, "fds": [0, 1, 2], "blocked": 0, "term": True, "name": "a",
    }  # fmt: skip
    assert (tmp_path / "a.log").read_text() == "printed\n"
    assert group.end() == 0
    assert all_exited([pid])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
@pytest.mark.parametrize(
    ("code", "end", "log"),
    [
        ("print('done')", "exited with status 0", "done\n"),
        ("raise SystemExit(3)", "exited with status 3", ""),
        ("raise SystemExit('because')", "exited with status 1", "because\n"),
        ("1 / 0", "exited with status 1", "ZeroDivisionError: division by zero\n"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL", ""),
        ("import atexit; atexit.register(print, 'exit function')", "exited with status 0", "exit function\n"),
    ],
)
def test_a_fork_ends_as_an_interpreter_does(start: Start, tmp_path: Path, code: str, end: str, log: str) -> None:
    group = start({"name": "a", "python": code, "ready": "never"})

    assert group.process.wait(20) == 1
    assert group.printed(f"a {end}. Last lines")
    assert (tmp_path / "a.log").read_text().endswith(log)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
def test_killed_itself_it_takes_its_forks_along(start: Start) -> None:
    group = start({"name": "a", "python": "import time; time.sleep(1000)"}).is_up()
    pids = group.pids()

    group.end(signal.SIGKILL)

    wait_until(lambda: all_exited(pids), timeout_s=3, what="the fork to be gone")


def test_the_next_group_ends_what_a_killed_one_left(start: Start, tmp_path: Path) -> None:
    orphan = subprocess.Popen(["sleep", "1000"])
    entry = {"role": "a", "pid": orphan.pid, "create_time": psutil.Process(orphan.pid).create_time()}
    stranger = {"role": "b", "pid": os.getpid(), "create_time": 12345.0}
    (tmp_path / "up.json").write_text(
        json.dumps({"up": True, "pid": 1, "create_time": 1.0, "processes": [entry, stranger]})
    )

    group = start({"name": "a", "script": SLEEP}).is_up()

    assert group.printed("orphans 1")
    assert orphan.wait(5) == -signal.SIGTERM


def test_asked_twice_it_does_not_wait_for_the_stubborn(start: Start) -> None:
    group = start({"name": "a", "script": STUBBORN, "ready": "stubborn", "rank": 1, "stop_timeout_s": 60}).is_up()
    pids = group.pids()
    group.process.send_signal(signal.SIGINT)
    wait_until(lambda: group.of("a")["state"] == "stopping")

    assert group.end(signal.SIGINT) == 0
    assert all_exited(pids)


def test_the_stubborn_is_killed_after_its_time_with_all_it_started(start: Start, tmp_path: Path) -> None:
    script = f"trap '' TERM; setsid sleep 1000 & echo $! > {tmp_path}/grandchild; {STUBBORN}"
    group = start({"name": "a", "script": script, "ready": "stubborn", "stop_timeout_s": 0.5}).is_up()
    pids = [*group.pids(), int((tmp_path / "grandchild").read_text())]

    assert group.end() == 0
    assert all_exited(pids)


@pytest.mark.parametrize("by_hand", [False, True], ids=["after_its_time", "by_hand"])
def test_a_process_that_was_killed_while_it_stopped_is_shown_as_killed(
    start: Start, settings: Any, tmp_path: Path, by_hand: bool
) -> None:
    waiting = "trap '' TERM; touch first; while ! test -e release; do sleep 0.05; done"
    group = start(
        {"name": "first", "script": waiting, "ready": "first", "stop_timeout_s": 60},
        {"name": "last", "script": STUBBORN, "ready": "stubborn", "rank": 1, "stop_timeout_s": 60 if by_hand else 0.3},
    ).is_up()
    pid = group.of("last")["pid"]

    group.process.send_signal(signal.SIGTERM)
    if by_hand:
        wait_until(lambda: group.of("last")["state"] == "stopping")
        os.kill(pid, signal.SIGKILL)

    wait_until(lambda: group.of("last")["state"] == "killed" and group.of("first")["state"] == "stopping")
    settings.VAR, shown = tmp_path, io.StringIO()
    call_command("up", "--status", stdout=shown)
    assert re.search(r"^first +\d+ +stopping +", shown.getvalue(), re.MULTILINE)
    assert re.search(r"^last +- +killed +", shown.getvalue(), re.MULTILINE), shown.getvalue()
    assert all_exited([pid])
    (tmp_path / "release").touch()
    assert group.process.wait(20) == 0
    assert group.printed("last did not stop in time and was killed.") or by_hand


def test_a_full_disk_ends_neither_the_group_nor_what_it_runs(start: Start, tmp_path: Path) -> None:
    group = start({"name": "a", "script": SLEEP}, {"name": "b", "script": SLEEP}, file_max_bytes=4096).is_up()
    log, other = tmp_path / "a.log", group.of("b")["pid"]
    log.write_bytes(b"x" * (LOG_MAX_BYTES + 1))
    os.kill(group.of("a")["pid"], signal.SIGKILL)

    wait_until(lambda: group.of("a")["restarts"] == 1, what="the restart")
    assert log.stat().st_size < LOG_MAX_BYTES
    assert not (tmp_path / "a.log.1").exists()
    assert group.of("b")["pid"] == other
    assert group.end() == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGRTMIN + 3])
def test_a_process_that_ends_by_any_signal_is_started_again(start: Start, number: int) -> None:
    group = start({"name": "a", "script": SLEEP}).is_up()
    os.kill(group.of("a")["pid"], number)

    wait_until(lambda: group.of("a").get("restarts") == 1, what="the restart")
    assert group.printed(f"a was killed by {signal_name(number)}")
    assert group.end() == 0


def test_a_second_group_in_the_same_folder_is_refused(start: Start) -> None:
    group = start({"name": "a", "script": SLEEP}).is_up()

    with pytest.raises(status.AlreadyUp, match=rf"already up in .* \(process {group.process.pid}\)"):
        status.acquire(group.files)
