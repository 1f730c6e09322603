"""A child of a real fork server: a process of its own, and every way in which it can end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from runs.forkserver.client import ForkServer
from tests.integration.spawning import EXPERIMENTS, Heard, probe, run, spec, unread_bytes
from tests.waiting import wait_until

PROJECT = Path(__file__).parent.parent.parent

# The way of a child


def test_hello_comes_before_everything_and_the_end_last(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = probe(fork_server, tmp_path, "nothing")

    (first, hello), (last, end) = heard.records
    assert (first, last) == ("H", "E")
    assert hello["source_file"] == str(EXPERIMENTS / "probes.py")
    assert len(hello["source_digest"]) == 64
    assert hello["pid"] == heard.child.pid
    assert end == {"outcome": "returned"}
    assert (heard.exit.status, heard.exit.signal, heard.exit.orphans_killed) == (0, None, 0)
    assert heard.exit.cpu_seconds > 0
    assert heard.exit.peak_memory_bytes > 10 * 2**20


def test_a_child_is_a_process_of_its_own(fork_server: ForkServer, tmp_path: Path) -> None:
    about = probe(fork_server, tmp_path, "surroundings").summary

    assert about["is_session_leader"]
    assert about["argv"] == ["probe"]
    assert about["cwd"] == str(Path.cwd())
    assert about["oom"] > 0
    assert about["stdin"] == ""
    assert about["blocked"] == []
    assert set(about["signals"].values()) <= {"0", "Handlers.SIG_DFL", about["signals"]["SIGINT"]}
    assert len([fd for fd in about["fds"] if fd < 1000]) <= 4  # 0, 1, 2 and the one that lists them
    assert about["threads"] == ["MainThread", "athanor-control"]
    assert (about["seed"], about["slot"]) == (42, "2026-01-02 03:04:05+00:00")


def test_a_child_has_the_workers_environment_without_our_credentials(fork_server: ForkServer, tmp_path: Path) -> None:
    environ = probe(fork_server, tmp_path, "surroundings").summary["environ"]

    assert environ["SERVICE_API_KEY"] == "the author's own"
    assert environ["ATHANOR_ROLE"] == "child"
    assert environ["ATHANOR_ATTEMPT"].endswith(".1")
    assert not {"ATHANOR_SECRET_KEY", "ATHANOR_DATABASE_URL", "ATHANOR_REDIS_URL", "POSTGRES_PASSWORD"} & environ.keys()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_neither_a_child_nor_its_fork_server_was_started_with_secrets(fork_server: ForkServer, tmp_path: Path) -> None:
    """`/proc/PID/environ` keeps the environment of the last exec, whatever a program removes later."""
    heard = Heard(fork_server, spec(tmp_path, do="wait_uninterrupted"))
    child: Any = psutil.Process(heard.child.pid)
    try:
        above = [child, child.parent(), child.parent().parent()]
        told = [Path(f"/proc/{process.pid}/environ").read_bytes() for process in above]
    finally:
        heard.child.kill()
        heard.wait()

    assert [b"SERVICE_API_KEY" in environ for environ in told] == [True, True, True]
    assert [environ for environ in told if b"hidden" in environ] == []


def test_the_folder_is_private_and_other_files_have_the_operators_umask(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    modes = probe(fork_server, tmp_path, "permissions").summary

    assert modes == {"run": "700", "file": "640", "kept.txt": "600", "beside": "751", "import": "26"}


def test_programs_inherit_nothing_that_is_meant_for_athanor(
    child_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(PROJECT)]))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    server = ForkServer()
    server.start()
    about = probe(server, tmp_path, "another_project").summary
    server.stop()

    assert about["settings"] == "another.settings"
    assert about["found"] == [False, False, False]  # runs, experiments, athanor
    assert str(tmp_path) in about["path"]


def test_a_program_can_import_the_experiments_module(fork_server: ForkServer, tmp_path: Path) -> None:
    assert probe(fork_server, tmp_path, "program_of_this_module").summary == "49"


@pytest.mark.parametrize("use", ["query", "save", "transaction", "connection", "tables"])
def test_a_run_has_no_database_and_says_what_to_do(fork_server: ForkServer, tmp_path: Path, use: str) -> None:
    end = probe(fork_server, tmp_path, "use_the_database", path=use).end

    assert end is not None
    assert "A run has no access to Athanor's database" in end["error"]
    assert "ctx.result" in end["error"]


@pytest.mark.parametrize("do", ["freeze_time", "replace_time"])
def test_a_frozen_clock_neither_stops_a_sleep_nor_changes_the_time_of_lines(
    fork_server: ForkServer, tmp_path: Path, do: str
) -> None:
    before = time.time()
    heard = probe(fork_server, tmp_path, do)

    assert heard.summary == 1.0
    assert {line[3] for line in heard.payloads("L")} >= {"log", "print", "batch", "after the sleep"}
    assert all(before <= line[0] <= time.time() for line in heard.payloads("L"))
    assert all(before <= result[0] <= time.time() for result in heard.payloads("R"))


@pytest.mark.parametrize("depth", [500, 900, 5_000, 200_000])
@pytest.mark.parametrize("kind", ["list", "dict", "dataclass"])
def test_a_deep_return_value_is_kept_or_refused(fork_server: ForkServer, tmp_path: Path, kind: str, depth: int) -> None:
    heard = probe(fork_server, tmp_path, "return_deep", path=kind, size=depth)

    assert heard.exit.status == 0
    assert heard.end is not None
    assert heard.end["outcome"] in ("returned", "raised")
    assert ("error" in heard.end) == (heard.end["outcome"] == "raised")


def test_children_have_random_numbers_of_their_own(fork_server: ForkServer, tmp_path: Path) -> None:
    assert len({probe(fork_server, tmp_path, "surroundings").summary["random"] for _ in range(3)}) == 3


def test_a_large_checkpoint_reaches_the_child_from_many_threads_at_once(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    found: list[int] = []

    def one() -> None:
        heard = run(fork_server, spec(tmp_path, do="surroundings", restored={"blob": "x" * 3_000_000}))
        found.append(heard.summary["restored"])

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert found == [3_000_000] * 6


def test_multiprocessing_works_with_every_start_method(fork_server: ForkServer, tmp_path: Path) -> None:
    squares = [0, 1, 4, 9]

    assert probe(fork_server, tmp_path, "pools").summary == {"fork": squares, "spawn": squares, "forkserver": squares}


def test_sub_processes_inherit_nothing_of_ours(fork_server: ForkServer, tmp_path: Path) -> None:
    assert probe(fork_server, tmp_path, "records_flags").summary == []


# Ways to end


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        ({"behaviour": "raise", "text": "odd"}, {"outcome": "raised", "error": "ValueError: odd"}),
        ({"behaviour": "fail", "text": "no luck"}, {"outcome": "failed", "error": "no luck"}),
        ({"behaviour": "exit", "code": 3}, {"outcome": "exited", "exit_code": 3}),
        ({"behaviour": "exit", "code": "bye"}, {"outcome": "exited", "exit_code": 1, "error": "bye"}),
        ({"behaviour": "exit", "code": 0}, {"outcome": "returned", "exit_code": 0}),
        ({"behaviour": "exit", "code": None}, {"outcome": "returned", "exit_code": 0}),
        ({"behaviour": "unserialisable"}, {"outcome": "raised"}),
    ],
)
def test_what_user_code_does_is_the_end(
    fork_server: ForkServer, tmp_path: Path, configuration: dict[str, Any], expected: dict[str, Any]
) -> None:
    heard = run(fork_server, spec(tmp_path, "scripted", **configuration))

    assert heard.end is not None
    assert expected.items() <= heard.end.items()
    assert heard.exit.status == 0
    assert heard.records[-1][0] == "E"


def test_a_traceback_begins_in_the_authors_code(fork_server: ForkServer, tmp_path: Path) -> None:
    end = run(fork_server, spec(tmp_path, "scripted", behaviour="raise")).end

    assert end is not None
    assert (
        end["traceback"].splitlines()[1].strip().startswith('File "' + str(Path(__file__).parent.parent / "scripted"))
    )


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        ("retry", {"outcome": "retry_later", "error": "the service is busy", "after_s": 12.5}),
        ("raise_strange", {"outcome": "raised"}),
        ("deep", {"outcome": "raised"}),
        ("missing", {"outcome": "raised", "error": "KeyError: 'missing'"}),
    ],
)
def test_strange_ends(fork_server: ForkServer, tmp_path: Path, do: str, expected: dict[str, Any]) -> None:
    end = probe(fork_server, tmp_path, do).end

    assert end is not None
    assert expected.items() <= end.items()


def test_a_summary_that_is_too_large_fails_clearly(fork_server: ForkServer, tmp_path: Path) -> None:
    assert len(probe(fork_server, tmp_path, "big_summary", size=500_000).summary) == 500_000
    end = probe(fork_server, tmp_path, "big_summary", size=3_000_000).end

    assert end is not None
    assert "ctx.artifact" in end["error"]


def test_a_configuration_that_does_not_fit_is_told_field_by_field(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = run(fork_server, spec(tmp_path, do="nothing", size=-1, surplus=1))

    assert [letter for letter, _ in heard.records] == ["E"]
    assert heard.end is not None
    assert heard.end["outcome"] == "config"
    assert "size" in heard.end["error"]
    assert "surplus" in heard.end["error"]


def test_an_unknown_experiment_cannot_start(fork_server: ForkServer, tmp_path: Path) -> None:
    end = run(fork_server, spec(tmp_path, "scriptet")).end

    assert end is not None
    assert end["outcome"] == "start"
    assert "'scripted'" in end["error"]


def test_a_broken_module_cannot_start_and_is_read_anew(fork_server: ForkServer, tmp_path: Path) -> None:
    module = EXPERIMENTS / "edited.py"
    text = "from experiments import Experiment\nclass Edited(Experiment):\n    def run(self, ctx): return {}\n"
    try:
        module.write_text(text.format(1) + "print('loading')\nraise OSError('broken')\n")
        broken = run(fork_server, spec(tmp_path, "edited"))
        module.write_text(text.format(22))
        mended = run(fork_server, spec(tmp_path, "edited"))
    finally:
        module.unlink()

    assert broken.lines("stdout")[0] == "loading"
    assert broken.end is not None
    assert broken.end["outcome"] == "start"
    assert "OSError: broken" in broken.end["traceback"]
    assert mended.summary == 22


@pytest.mark.parametrize(
    ("behaviour", "status", "killer"),
    [("os_exit", 1, None), ("segfault", None, signal.SIGSEGV), ("sigkill", None, signal.SIGKILL)],
)
def test_an_end_without_a_word(
    fork_server: ForkServer, tmp_path: Path, behaviour: str, status: int | None, killer: int | None
) -> None:
    heard = run(fork_server, spec(tmp_path, "scripted", behaviour=behaviour))

    assert heard.end is None
    assert len(heard.lines("log")) == 1
    assert (heard.exit.status, heard.exit.signal) == (status, killer)


def test_a_segfault_leaves_the_stacks(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = run(fork_server, spec(tmp_path, "scripted", behaviour="segfault"))

    assert "in segfault" in heard.child.stacks_path.read_text()


def test_an_orderly_end_leaves_no_empty_file_of_stacks(fork_server: ForkServer, tmp_path: Path) -> None:
    assert not probe(fork_server, tmp_path, "nothing").child.stacks_path.exists()


def test_closing_every_descriptor_ends_without_a_word_but_ends(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = probe(fork_server, tmp_path, "close_everything")

    assert heard.end is None
    assert heard.exit.status == 70
    assert b"close file descriptors that it did not open" in heard.raw[2]


def test_files_that_come_and_go_do_not_touch_ours(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = probe(fork_server, tmp_path, "fill_the_table")

    assert heard.summary == "fine"
    assert heard.lines("log") == ["still heard"]


def test_a_flooded_pipe_makes_the_child_wait(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = Heard(fork_server, spec(tmp_path, "scripted", behaviour="flood", count=20_000))
    wait_until(lambda: unread_bytes(heard.child.records_fd) > 50_000, what="a full pipe")
    assert not heard.has_ended

    heard.wait()
    assert heard.lines() == [f"line {n}" for n in range(20_000)]
