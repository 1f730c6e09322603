"""Children of a real fork server: isolated, heard, interrupted, and gone with everything below them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runs.exceptions import SpawnFailed
from runs.supervisor.children import ForkServer
from runs.supervisor.clock import lease_clock
from tests.integration.spawning import EXPERIMENTS, Heard, alive, run, seconds, spec
from tests.waiting import wait_until

TREE = 6
"""Processes below the child of `tree`, once all are up."""


@pytest.fixture(scope="module")
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        scripted = Path(__file__).parent.parent / "scripted"
        patch.setenv("ATHANOR_EXPERIMENT_PATHS", os.pathsep.join(map(str, (EXPERIMENTS, scripted))))
        patch.setenv("ATHANOR_SECRET_KEY", "hidden")
        patch.setenv("ATHANOR_DATABASE_URL", os.environ.get("ATHANOR_DATABASE_URL", "sqlite:////hidden"))
        patch.setenv("SERVICE_API_KEY", "the author's own")
        yield


@pytest.fixture(scope="module")
def shared(environment: None) -> Iterator[ForkServer]:
    """For tests that leave the server as it is."""
    yield from started()


@pytest.fixture
def server(environment: None) -> Iterator[ForkServer]:
    """For tests that harm the server."""
    yield from started()


def started() -> Iterator[ForkServer]:
    server = ForkServer()
    server.start()
    yield server
    server.stop()
    assert server.pid is None


def probe(server: ForkServer, folder: Path, do: str, **configuration: Any) -> Heard:
    return run(server, spec(folder, do=do, **configuration))


def with_tree(server: ForkServer, folder: Path, then: str) -> tuple[Heard, list[psutil.Process]]:
    """A child with its whole tree up, and the tree."""
    heard = Heard(server, spec(folder, do="tree", path=then))
    heard.wait_for("spawned")
    wait_until(lambda: len(heard.tree()) >= TREE, what="the tree")
    return heard, heard.tree()


# The way of a child


def test_hello_comes_before_everything_and_the_end_last(shared: ForkServer, tmp_path: Path) -> None:
    heard = probe(shared, tmp_path, "nothing")

    (first, hello), (last, end) = heard.records
    assert (first, last) == ("H", "E")
    assert hello["source_file"] == str(EXPERIMENTS / "probes.py")
    assert len(hello["source_digest"]) == 64
    assert hello["pid"] == heard.child.pid
    assert end == {"outcome": "returned"}
    assert (heard.exit.status, heard.exit.signal, heard.exit.orphans_killed) == (0, None, 0)
    assert heard.exit.cpu_seconds > 0
    assert heard.exit.peak_memory_bytes > 10 * 2**20


def test_a_child_is_a_process_of_its_own(shared: ForkServer, tmp_path: Path) -> None:
    about = probe(shared, tmp_path, "surroundings").summary

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


def test_a_child_has_the_workers_environment_without_our_credentials(shared: ForkServer, tmp_path: Path) -> None:
    environ = probe(shared, tmp_path, "surroundings").summary["environ"]

    assert environ["SERVICE_API_KEY"] == "the author's own"
    assert environ["ATHANOR_ROLE"] == "child"
    assert environ["ATHANOR_ATTEMPT"].endswith(".1")
    assert environ.get("PYTHONPATH") == os.environ.get("PYTHONPATH")
    assert not {"ATHANOR_SECRET_KEY", "ATHANOR_DATABASE_URL", "ATHANOR_REDIS_URL"} & environ.keys()


def test_children_have_random_numbers_of_their_own(shared: ForkServer, tmp_path: Path) -> None:
    assert len({probe(shared, tmp_path, "surroundings").summary["random"] for _ in range(3)}) == 3


def test_a_large_checkpoint_reaches_the_child_from_many_threads_at_once(shared: ForkServer, tmp_path: Path) -> None:
    found: list[int] = []

    def one() -> None:
        heard = run(shared, spec(tmp_path, do="surroundings", restored={"blob": "x" * 3_000_000}))
        found.append(heard.summary["restored"])

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert found == [3_000_000] * 6


def test_multiprocessing_works_with_every_start_method(shared: ForkServer, tmp_path: Path) -> None:
    squares = [0, 1, 4, 9]

    assert probe(shared, tmp_path, "pools").summary == {"fork": squares, "spawn": squares, "forkserver": squares}


def test_sub_processes_inherit_nothing_of_ours(shared: ForkServer, tmp_path: Path) -> None:
    assert probe(shared, tmp_path, "records_flags").summary == []


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
    shared: ForkServer, tmp_path: Path, configuration: dict[str, Any], expected: dict[str, Any]
) -> None:
    heard = run(shared, spec(tmp_path, "scripted", **configuration))

    assert heard.end is not None
    assert expected.items() <= heard.end.items()
    assert heard.exit.status == 0
    assert heard.records[-1][0] == "E"


def test_a_traceback_begins_in_the_authors_code(shared: ForkServer, tmp_path: Path) -> None:
    end = run(shared, spec(tmp_path, "scripted", behaviour="raise")).end

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
def test_strange_ends(shared: ForkServer, tmp_path: Path, do: str, expected: dict[str, Any]) -> None:
    end = probe(shared, tmp_path, do).end

    assert end is not None
    assert expected.items() <= end.items()


def test_a_summary_that_is_too_large_fails_clearly(shared: ForkServer, tmp_path: Path) -> None:
    assert len(probe(shared, tmp_path, "big_summary", size=500_000).summary) == 500_000
    end = probe(shared, tmp_path, "big_summary", size=3_000_000).end

    assert end is not None
    assert "ctx.artifact" in end["error"]


def test_a_configuration_that_does_not_fit_is_told_field_by_field(shared: ForkServer, tmp_path: Path) -> None:
    heard = run(shared, spec(tmp_path, do="nothing", size=-1, surplus=1))

    assert [letter for letter, _ in heard.records] == ["E"]
    assert heard.end is not None
    assert heard.end["outcome"] == "config"
    assert "size" in heard.end["error"]
    assert "surplus" in heard.end["error"]


def test_an_unknown_experiment_cannot_start(shared: ForkServer, tmp_path: Path) -> None:
    end = run(shared, spec(tmp_path, "scriptet")).end

    assert end is not None
    assert end["outcome"] == "start"
    assert "'scripted'" in end["error"]


def test_a_broken_module_cannot_start_and_is_read_anew(shared: ForkServer, tmp_path: Path) -> None:
    module = EXPERIMENTS / "edited.py"
    text = "from experiments import Experiment\nclass Edited(Experiment):\n    def run(self, ctx): return {}\n"
    try:
        module.write_text(text.format(1) + "print('loading')\nraise OSError('broken')\n")
        broken = run(shared, spec(tmp_path, "edited"))
        module.write_text(text.format(22))
        mended = run(shared, spec(tmp_path, "edited"))
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
    shared: ForkServer, tmp_path: Path, behaviour: str, status: int | None, killer: int | None
) -> None:
    heard = run(shared, spec(tmp_path, "scripted", behaviour=behaviour))

    assert heard.end is None
    assert len(heard.lines("log")) == 1
    assert (heard.exit.status, heard.exit.signal) == (status, killer)


def test_a_segfault_leaves_the_stacks(shared: ForkServer, tmp_path: Path) -> None:
    heard = run(shared, spec(tmp_path, "scripted", behaviour="segfault"))

    assert "in segfault" in heard.child.stacks_path.read_text()


def test_an_orderly_end_leaves_no_empty_file_of_stacks(shared: ForkServer, tmp_path: Path) -> None:
    assert not probe(shared, tmp_path, "nothing").child.stacks_path.exists()


def test_closing_every_descriptor_ends_without_a_word_but_ends(shared: ForkServer, tmp_path: Path) -> None:
    heard = probe(shared, tmp_path, "close_everything")

    assert heard.end is None
    assert heard.exit.status == 70
    assert b"close file descriptors that it did not open" in heard.raw[2]


def test_files_that_come_and_go_do_not_touch_ours(shared: ForkServer, tmp_path: Path) -> None:
    heard = probe(shared, tmp_path, "fill_the_table")

    assert heard.summary == "fine"
    assert heard.lines("log") == ["still heard"]


def test_threads_that_go_on_do_not_hold_the_end_up(shared: ForkServer, tmp_path: Path) -> None:
    assert probe(shared, tmp_path, "stubborn_thread").summary == "returned"


def test_exit_functions_run_and_processes_left_behind_do_not_hold_them_up(shared: ForkServer, tmp_path: Path) -> None:
    path = tmp_path / "proof"
    heard = Heard(shared, spec(tmp_path, do="at_exit", path=str(path)))

    assert seconds(heard.wait) < 5
    assert path.read_text() == "atexit ran"


def test_a_flooded_pipe_makes_the_child_wait(shared: ForkServer, tmp_path: Path) -> None:
    heard = Heard(shared, spec(tmp_path, "scripted", behaviour="flood", count=20_000))
    process = psutil.Process(heard.child.pid)
    wait_until(lambda: process.status() == psutil.STATUS_SLEEPING and process.cpu_times().user > 0)
    assert not heard.has_ended

    heard.wait()
    assert heard.lines() == [f"line {n}" for n in range(20_000)]


# Output


def test_lines_of_all_ways_come_in_order(shared: ForkServer, tmp_path: Path) -> None:
    lines = probe(shared, tmp_path, "order").lines()

    assert lines == [f"{way} {n}" for n in range(50) for way in ("print", "log", "stderr", "bytes")]


def test_every_source_has_its_name_and_level(shared: ForkServer, tmp_path: Path) -> None:
    heard = run(shared, spec(tmp_path, "scripted", behaviour="print", count=1, text="hello"))

    found = [(source, level, message) for _, level, source, message, _ in heard.payloads("L")]
    assert found == [
        ("stdout", 20, "hello stdout"),
        ("stderr", 30, "hello stderr"),
        ("logging", 40, "hello logging"),
        ("warning", 30, "hello warning"),
        ("log", 20, "hello log"),
    ]
    assert heard.raw == {1: b"hello child stdout\n", 2: b"hello child stderr\n"}


def test_unfinished_lines_come_at_the_end(shared: ForkServer, tmp_path: Path) -> None:
    heard = probe(shared, tmp_path, "unfinished")

    assert sorted(heard.lines("stdout")) == ["dots...", "other"]
    assert heard.raw[1] == b"from C"
    assert heard.records[-1][0] == "E"


@pytest.mark.parametrize("behaviour", ["fork_workers", "threads"])
def test_many_writers_tear_nothing(shared: ForkServer, tmp_path: Path, behaviour: str) -> None:
    heard = run(shared, spec(tmp_path, "scripted", behaviour=behaviour, count=4, lines=200, size=6000))

    assert heard.summary == {"lines": 800}
    assert len(heard.lines("log")) == 800
    assert {len(line) for line in heard.lines()} == {6000}


# Interrupts, signals, stacks


def test_an_interrupt_ends_a_sleep_again_and_again(shared: ForkServer, tmp_path: Path) -> None:
    heard = Heard(shared, spec(tmp_path, do="wait_uninterrupted"))
    heard.wait_for("waiting")
    heard.child.interrupt()
    heard.wait_for("swallowed")
    heard.child.interrupt()
    heard.wait()

    assert heard.lines()[-1] == "cleaned up"
    assert heard.end is not None
    assert heard.end["outcome"] == "cancelled"
    assert "in wait_uninterrupted" in heard.end["traceback"]


@pytest.mark.parametrize("do", ["await_long", "block_in_a_coroutine"])
def test_an_interrupt_ends_a_coroutine(shared: ForkServer, tmp_path: Path, do: str) -> None:
    heard = Heard(shared, spec(tmp_path, "async_probe", do=do))
    heard.wait_for("waiting")
    heard.child.interrupt()
    heard.wait()

    assert heard.end is not None
    assert heard.end["outcome"] == "cancelled"
    assert f"in {do}" in heard.end["traceback"]


def test_a_coroutine_returns_its_value(shared: ForkServer, tmp_path: Path) -> None:
    assert run(shared, spec(tmp_path, "async_probe", do="async_value")).summary == {"value": 7}


def test_interrupts_at_any_moment_never_break_the_protocol(shared: ForkServer, tmp_path: Path) -> None:
    for pause_s in [n / 1000 for n in range(0, 40, 2)]:
        heard = Heard(shared, spec(tmp_path, "scripted", behaviour="log_many", count=20, size=9000))
        threading.Event().wait(pause_s)
        for _ in range(5):
            heard.child.interrupt()
        heard.wait()

        assert heard.exit.status == 0, heard.raw[2].decode()
        assert heard.end is not None
        assert heard.end["outcome"] in ("returned", "cancelled")


def test_a_cooperative_experiment_stops_at_once(shared: ForkServer, tmp_path: Path) -> None:
    heard = Heard(shared, spec(tmp_path, "scripted", behaviour="cooperative"))
    heard.wait_for("cooperating")
    heard.child.send({"do": "cancel"})

    assert seconds(heard.wait) < 0.3
    assert heard.end is not None
    assert heard.end["outcome"] == "cancelled"
    assert [letter for letter, _ in heard.records if letter in "SE"] == ["S", "E"]


def test_terminate_reaches_the_whole_tree(shared: ForkServer, tmp_path: Path) -> None:
    heard = Heard(shared, spec(tmp_path, do="on_term"))
    heard.wait_for("waiting")
    (below,) = wait_until(heard.tree)
    heard.child.terminate()
    heard.wait()

    assert heard.end is not None
    assert heard.end["exit_code"] == 9
    assert not alive([below])


def test_stacks_are_written_while_it_runs_and_while_it_hangs_in_c(shared: ForkServer, tmp_path: Path) -> None:
    heard = Heard(shared, spec(tmp_path, do="hang_in_c"))
    heard.wait_for("hanging")
    for _ in range(2):
        before = heard.child.request_stacks()
        path = heard.child.stacks_path
        wait_until(lambda: "in run" in path.read_text()[before:], what="the stacks")  # noqa: B023  # asked at once
    heard.child.kill()

    assert heard.wait().signal == signal.SIGKILL


# Trees


@pytest.mark.parametrize("then", ["return", "raise", "crash"])
def test_an_end_by_itself_takes_the_tree_along(shared: ForkServer, tmp_path: Path, then: str) -> None:
    marker = f"ATHANOR_TEST_{os.urandom(4).hex()}"
    heard = run(shared, spec(tmp_path, do="tree", path=then, size=0))

    assert heard.exit.orphans_killed > 0
    assert marker not in str(heard.records)
    assert only_the_server_is_left(shared)


@pytest.mark.parametrize("then", ["hold", "stop"])
def test_kill_takes_the_tree_along(shared: ForkServer, tmp_path: Path, then: str) -> None:
    heard, tree = with_tree(shared, tmp_path, then)
    heard.child.kill()

    assert seconds(heard.wait) < 1
    assert not alive(tree)
    assert heard.exit.signal == signal.SIGKILL
    assert heard.exit.orphans_killed >= TREE


def test_a_daemon_that_forks_all_the_time_is_caught(shared: ForkServer, tmp_path: Path) -> None:
    probe(shared, tmp_path, "restless")

    assert only_the_server_is_left(shared)


def test_the_end_of_one_child_is_not_that_of_another(shared: ForkServer, tmp_path: Path) -> None:
    other, tree = with_tree(shared, tmp_path, "hold")
    run(shared, spec(tmp_path, do="tree", path="crash"))

    assert len(alive(tree)) == len(tree)
    assert not other.has_ended
    other.child.kill()
    other.wait()


def test_closing_the_pipes_ends_the_child(shared: ForkServer, tmp_path: Path) -> None:
    heard, tree = with_tree(shared, tmp_path, "hold")
    heard.child.close()

    wait_until(lambda: heard.has_ended)
    assert not alive(tree)


def only_the_server_is_left(server: ForkServer) -> bool:
    assert server.pid is not None
    return not psutil.Process(server.pid).children()


# Who dies first


def test_kill_9_of_the_server_ends_its_children_and_a_new_one_follows(server: ForkServer, tmp_path: Path) -> None:
    heard, tree = with_tree(server, tmp_path, "hold")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)

    exit_ = heard.wait()
    assert (exit_.status, exit_.signal) == (None, signal.SIGKILL)
    assert not alive(tree)
    assert probe(server, tmp_path, "nothing").summary is None


def test_kill_9_of_the_keeper_ends_the_children_too(server: ForkServer, tmp_path: Path) -> None:
    heard, tree = with_tree(server, tmp_path, "hold")
    keeper = psutil.Process(server.pid).parent()
    assert keeper is not None
    keeper.kill()

    heard.wait()
    wait_until(lambda: not alive(tree), timeout_s=1)


def test_the_deadline_ends_the_children_until_there_is_a_new_one(server: ForkServer, tmp_path: Path) -> None:
    server.keep_alive(lease_clock() + 60)
    heard, tree = with_tree(server, tmp_path, "hold")
    server.keep_alive(lease_clock() + 0.3)

    assert seconds(heard.wait) < 1
    assert not alive(tree)
    with pytest.raises(SpawnFailed, match="over"):
        Heard(server, spec(tmp_path, do="nothing"))
    server.keep_alive(lease_clock() + 60)
    assert probe(server, tmp_path, "nothing").summary is None


def test_a_silent_server_is_replaced(server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.supervisor.incarnation.PONG_TIMEOUT_S", 0.5)
    monkeypatch.setattr("runs.supervisor.incarnation.PING_EVERY_S", 0.1)
    heard, tree = with_tree(server, tmp_path, "hold")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)

    heard.wait()
    assert not alive(tree)
    assert probe(server, tmp_path, "nothing").summary is None


def test_stop_ends_everything_and_tells_it(environment: None, tmp_path: Path) -> None:
    server = ForkServer()
    server.start()
    heard, tree = with_tree(server, tmp_path, "hold")
    pid = server.pid
    server.stop()

    assert heard.has_ended
    assert not alive(tree)
    assert pid is not None
    assert not psutil.pid_exists(pid)
    with pytest.raises(SpawnFailed):
        Heard(server, spec(tmp_path, do="nothing"))


def test_a_server_that_cannot_load_says_why(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "no_such_settings")
    server = ForkServer()

    with pytest.raises(SpawnFailed, match="No module named 'no_such_settings'"):
        server.start()
    monkeypatch.undo()
    server.start()
    server.stop()


WORKER = """
import sys, time
from pathlib import Path
import django; django.setup()
from runs.supervisor.children import ForkServer
from runs.supervisor.clock import lease_clock
from tests.integration.spawning import spec
server = ForkServer()
server.start()
server.keep_alive(lease_clock() + float(sys.argv[2]))
child = server.spawn(spec(Path(sys.argv[1]), do="tree", path="hold"), print)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("number", "within_s"), [(signal.SIGKILL, 1.0), (signal.SIGSTOP, 3.0)])
def test_a_worker_that_dies_or_freezes_takes_everything_along(
    environment: None, tmp_path: Path, number: int, within_s: float
) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), "3"], stdout=subprocess.PIPE, text=True)
    try:
        assert worker.stdout is not None
        child = psutil.Process(int(worker.stdout.readline()))
        wait_until(lambda: len(child.children(recursive=True)) >= TREE, what="the tree")
        tree = [child, *child.children(recursive=True)]
        worker.send_signal(number)

        wait_until(lambda: not alive(tree), timeout_s=within_s + 1, what="the end of the tree")
    finally:
        worker.kill()
        worker.wait()
        if worker.stdout:
            worker.stdout.close()
