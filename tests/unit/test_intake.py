"""Input from the pipes: in the order of writing, and no hostile input stops the supervisor."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runs.child.pipe import RecordPipe
from runs.conf import RunsSettings
from runs.forkserver.client import Child
from runs.lines import blocks, records
from runs.lines.buffer import Stream
from runs.states import AttemptKey
from runs.supervisor.intake import Intake
from runs.supervisor.recorder import RunRecords
from runs.supervisor.window import Window
from tests.waiting import wait_until


class Refusing:
    """Stands for the recorder where nothing may reach it."""

    def __getattr__(self, name: str) -> Any:
        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError(f"{name} was called for a hostile record")

        return refuse


def intake_with(writes: object, start: str = "", kept: list[bool] | None = None) -> Intake:
    """Without a child: its descriptors are never read here, only what came through them is taken."""

    def keep_warm(*, is_explicit: bool) -> None:
        if kept is not None:
            kept.append(is_explicit)

    child = SimpleNamespace(
        records_fd=-1, stdout_fd=-2, stderr_fd=-3, start=start, account="", isolation="", keep_warm=keep_warm
    )
    window = Window(AttemptKey(1, 1), max_entries=10, max_bytes=10_000, tail=5)
    recorder = cast("RunRecords", writes)
    return Intake(cast("Child", child), RunsSettings(), window, recorder, selectors.SelectSelector())


@pytest.fixture
def intake() -> Intake:
    return intake_with(Refusing())


@pytest.mark.parametrize(
    "record",
    [
        b"C" + b"[" * 100_000,
        b"C{}",
        b'C{"id":"x","sync":true,"state":{}}',
        b"P[1]",
        b'P["much",null,""]',
        b'A{"name":"x"}',
        b"E[]",
        b"Eno json",
        b"H5",
        b'A{"name":"x","path":"x","size_bytes":1180591620717411303424,"sha256":"","content_type":""}',
        b"P[1" + b"0" * 400 + b",null,null]",
        b'H{"source_file":5}',
        b'E{"outcome":5}',
    ],
)
def test_a_hostile_record_becomes_a_line(intake: Intake, record: bytes) -> None:
    lines = intake._control(record[0], record)
    assert len(lines) == 1
    assert lines[0][0] == records.LINE
    assert b"unreadable record" in lines[0]
    assert intake.state.end is None
    assert intake.state.started_at is None


@pytest.mark.parametrize(
    "record",
    [
        b"T",
        b'T[1.0,"stdout","1-1"]',
        b'T[1.0,"log","1-1","x"]',
        b'T[1e999,"stdout","1-1","x"]',
        b'T[1.0,"stdout","' + b"w" * 1000 + b'","x"]',
        b'T[1.0,"stdout","1-1","\xff"]',
        b"T" + b"[" * 100_000,
    ],
)
def test_hostile_text_becomes_a_line(intake: Intake, record: bytes) -> None:
    intake._take([record])
    (entry,) = intake._window.tail
    assert records.decode_line(entry).message.startswith("unreadable record")


@pytest.mark.parametrize("state", [b"5", b"[" * 100_000])
def test_a_checkpoint_that_cannot_be_read_is_refused_by_its_number(state: bytes) -> None:
    refused: list[int] = []
    writes = SimpleNamespace(refuse_checkpoint=lambda number, why: refused.append(number))
    made = intake_with(writes)
    lines = made._control(records.CHECKPOINT, b'C{"id":1,"sync":true,"state":' + state + b"}")
    assert refused == [1]
    assert b"unreadable record" in lines[0]


@pytest.mark.parametrize(
    ("warm", "import_s", "kept"),
    [("true", 0.01, [True]), ("false", 9.0, []), ("null", 9.0, [False]), ("null", 0.01, [])],
)
def test_an_experiment_with_a_long_import_is_kept_warm(warm: str, import_s: float, kept: list[bool]) -> None:
    asked: list[bool] = []
    greeted: list[Any] = []
    writes = SimpleNamespace(mark=lambda **_: None, provenance=greeted.append)
    made = intake_with(writes, "cold: a reason", asked)
    made._control(records.HELLO, b'H{"wants_warm_start":%b,"import_s":%f}' % (warm.encode(), import_s))

    assert asked == kept
    assert greeted == [{"start": "cold: a reason"}]


def test_only_the_first_hello_counts() -> None:
    greeted: list[Any] = []
    made = intake_with(SimpleNamespace(mark=lambda **_: None, provenance=greeted.append))
    for _ in range(3):
        assert made._control(records.HELLO, b'H{"python":"3.11"}') == []
    assert greeted == [{"python": "3.11"}]


def test_a_failure_of_our_own_becomes_a_line_too() -> None:
    def fail(record: object) -> None:
        raise RuntimeError("no more room")

    made = intake_with(SimpleNamespace(progress=fail))
    assert b"no more room" in made._control(records.PROGRESS, b'P[1,null,""]')[0]


class Pipes:
    """Real pipes in the place of a child's, with what reads them."""

    def __init__(self) -> None:
        (self.records, self.to_records), (self.stdout, self.to_stdout), (self.stderr, self.to_stderr) = (
            os.pipe() for _ in range(3)
        )
        self.readers = {self.records, self.stdout, self.stderr}
        for fd in self.readers:
            os.set_blocking(fd, False)
        child = SimpleNamespace(records_fd=self.records, stdout_fd=self.stdout, stderr_fd=self.stderr)
        self.window = Window(AttemptKey(1, 1), max_entries=10, max_bytes=10_000, tail=5)
        self.selector = selectors.SelectSelector()
        writes = SimpleNamespace(has_room=True)
        self.intake = Intake(
            cast("Child", child), RunsSettings(), self.window, cast("RunRecords", writes), self.selector
        )
        self.intake.listen_while_there_is_room()

    @cached_property
    def speaks(self) -> RecordPipe:
        return RecordPipe(self.to_records, line_max_bytes=1000, raw_fds=(self.to_stdout, self.to_stderr))

    def said(self) -> list[str]:
        values = self.window.after(Stream.LINES, 0, 10)
        return [records.decode_line(entry).message for value in values for entry in blocks.entries(value)]


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.selector.close()
    for fd in (*made.readers, made.to_records, made.to_stdout, made.to_stderr):
        with suppress(OSError):
            os.close(fd)


def test_raw_output_and_records_keep_their_order_however_late_they_are_read(pipes: Pipes) -> None:
    pipes.speaks.line(20, "stdout", "printed before", None)
    os.write(pipes.to_stdout, b"sub-process\n")
    pipes.speaks.line(20, "log", "logged after", None)
    pipes.speaks.line(20, "log", "and again", None)
    pipes.intake.read(pipes.readers)
    os.write(pipes.to_stderr, b"alone\n")
    pipes.intake.read({pipes.stderr})
    assert pipes.said() == ["printed before", "sub-process", "logged after", "and again", "alone"]


def test_raw_output_that_ends_behind_a_barrier_is_not_read_again(pipes: Pipes) -> None:
    speaks = RecordPipe(pipes.to_records, line_max_bytes=1000)  # which keeps no end of the pipe open
    os.write(pipes.to_stdout, b"last words\n")
    speaks.send(records.BARRIER, b"null")
    speaks.line(20, "log", "one", None)
    speaks.send(records.BARRIER, b"null")
    speaks.line(20, "log", "two", None)
    os.close(pipes.to_stdout)
    pipes.intake.read(pipes.readers)
    assert pipes.said() == ["last words", "one", "two"]
    assert pipes.stdout not in pipes.selector.get_map()


def test_unfinished_text_is_a_sign_of_life_and_a_line_once_it_is_at_rest(pipes: Pipes) -> None:
    silent_since = pipes.intake.state.last_sign_at
    pipes.speaks.text("stdout", "1-1", "loading")
    os.write(pipes.to_stderr, b"raw")
    pipes.intake.read(pipes.readers)
    assert pipes.intake.state.last_sign_at > silent_since
    assert pipes.said() == []

    wait_until(lambda: pipes.intake.rest_at <= time.monotonic(), what="the moment of rest")
    pipes.intake.rest()
    assert sorted(pipes.said()) == ["loading", "raw"]
    assert pipes.intake.rest_at == float("inf")


def test_unfinished_text_that_grows_is_redrawn_and_one_that_does_not_is_not_repeated(pipes: Pipes) -> None:
    for text in ("grows", "stays"):
        pipes.speaks.text("stdout", text, text)
    pipes.intake.read(pipes.readers)
    wait_until(lambda: pipes.intake.rest_at <= time.monotonic(), what="the moment of rest")
    pipes.intake.rest()
    pipes.speaks.text("stdout", "grows", " and ends\n")
    pipes.speaks.text("stdout", "stays", "\n")
    pipes.intake.read(pipes.readers)
    assert pipes.said() == ["grows", "stays", "grows and ends"]


def test_many_records_are_gathered_and_raw_output_is_read_at_once(pipes: Pipes) -> None:
    pipes.speaks.line(20, "log", "one", None)
    pipes.intake.read(pipes.readers)
    assert pipes.intake.pause_s == 0

    for _ in range(100):
        pipes.speaks.line(20, "log", "x" * 100, None)
    pipes.intake.read(pipes.readers)
    assert pipes.intake.pause_s > 0

    os.write(pipes.to_stdout, b"x" * 10_000)
    pipes.intake.read(pipes.readers)
    assert pipes.intake.pause_s == 0
