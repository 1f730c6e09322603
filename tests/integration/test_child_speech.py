"""Input and output of a child: its lines, interrupts, signals, stacks."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from runs.forkserver.client import ForkServer
from tests.integration.spawning import Heard, alive, probe, run, seconds, spec
from tests.waiting import wait_until

# Output


def test_lines_of_all_ways_come_in_order(fork_server: ForkServer, tmp_path: Path) -> None:
    lines = probe(fork_server, tmp_path, "order").lines()

    assert lines == [f"{way} {n}" for n in range(50) for way in ("print", "log", "stderr", "bytes")]


def test_every_source_has_its_name_and_level(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = run(fork_server, spec(tmp_path, "scripted", behaviour="print", count=1, text="hello"))

    found = [(source, level, message) for _, level, source, message, _ in heard.line_records()]
    assert found == [
        ("stdout", 20, "hello stdout"),
        ("stderr", 20, "hello stderr"),
        ("logging", 40, "hello logging"),
        ("warning", 30, "hello warning"),
        ("log", 20, "hello log"),
    ]
    assert heard.raw == {1: b"hello child stdout\n", 2: b"hello child stderr\n"}


def test_unfinished_lines_come_at_the_end(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = probe(fork_server, tmp_path, "unfinished")

    assert sorted(heard.lines("stdout")) == ["dots...", "other"]
    assert heard.raw[1] == b"from C"
    assert heard.records[-1][0] == "E"


@pytest.mark.parametrize("behaviour", ["fork_workers", "threads"])
def test_many_writers_tear_nothing(fork_server: ForkServer, tmp_path: Path, behaviour: str) -> None:
    heard = run(fork_server, spec(tmp_path, "scripted", behaviour=behaviour, count=4, lines=200, size=6000))

    assert heard.summary == {"lines": 800}
    assert len(heard.lines("log")) == 800
    assert {len(line) for line in heard.lines()} == {6000}


# Interrupts, signals, stacks


def test_an_interrupt_ends_a_sleep_again_and_again(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = Heard(fork_server, spec(tmp_path, do="wait_uninterrupted"))
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
def test_an_interrupt_ends_a_coroutine(fork_server: ForkServer, tmp_path: Path, do: str) -> None:
    heard = Heard(fork_server, spec(tmp_path, "async_probe", do=do))
    heard.wait_for("waiting")
    heard.child.interrupt()
    heard.wait()

    assert heard.end is not None
    assert heard.end["outcome"] == "cancelled"
    assert f"in {do}" in heard.end["traceback"]


def test_a_coroutine_returns_its_value(fork_server: ForkServer, tmp_path: Path) -> None:
    assert run(fork_server, spec(tmp_path, "async_probe", do="async_value")).summary == {"value": 7}


def test_interrupts_at_any_moment_never_break_the_protocol(fork_server: ForkServer, tmp_path: Path) -> None:
    for pause_s in [n / 1000 for n in range(0, 40, 2)]:
        heard = Heard(fork_server, spec(tmp_path, "scripted", behaviour="log_many", count=20, size=9000))
        threading.Event().wait(pause_s)
        for _ in range(5):
            heard.child.interrupt()
        heard.wait()

        assert heard.exit.status == 0, heard.raw[2].decode()
        assert heard.end is not None
        assert heard.end["outcome"] in ("returned", "cancelled")


def test_a_cooperative_experiment_stops_at_once(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = Heard(fork_server, spec(tmp_path, "scripted", behaviour="cooperative"))
    heard.wait_for("cooperating")
    heard.child.send({"do": "cancel"})

    assert seconds(heard.wait) < 1.9  # an interrupt would follow after 2 s
    assert heard.end is not None
    assert heard.end["outcome"] == "cancelled"
    assert [letter for letter, _ in heard.records if letter in "SE"] == ["S", "E"]


def test_terminate_reaches_the_whole_tree(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = Heard(fork_server, spec(tmp_path, do="on_term"))
    heard.wait_for("waiting")
    (below,) = wait_until(heard.tree)
    heard.child.terminate()
    heard.wait()

    assert heard.end is not None
    assert heard.end["exit_code"] == 9
    assert not alive([below])


def test_stacks_are_written_while_it_runs_and_while_it_hangs_in_c(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = Heard(fork_server, spec(tmp_path, do="hang_in_c"))
    heard.wait_for("hanging")
    for _ in range(2):
        before = heard.child.request_stacks()
        path = heard.child.stacks_path
        wait_until(lambda: "in run" in path.read_text()[before:], what="the stacks")  # noqa: B023  # asked at once
    heard.child.kill()

    assert heard.wait().signal == signal.SIGKILL
