"""What comes through the pipes: in the order in which it was written, and nothing hostile stops the supervisor."""

from __future__ import annotations

import itertools
import os
import selectors
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runs import records
from runs.buffer import Stream
from runs.conf import RunsSettings
from runs.pipe import RecordPipe
from runs.states import AttemptKey
from runs.supervisor.children import Child
from runs.supervisor.intake import Intake
from runs.supervisor.recorder import RunRecords
from runs.supervisor.window import Window


class Refusing:
    """Stands for the recorder where nothing may reach it."""

    def __getattr__(self, name: str) -> Any:
        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError(f"{name} was called for a hostile record")

        return refuse


@pytest.fixture
def intake() -> Intake:
    """Without a child: its descriptors are never read here, only what came through them is taken."""
    child = SimpleNamespace(records_fd=-1, stdout_fd=-2, stderr_fd=-3)
    window = Window(AttemptKey(1, 1), max_entries=10, max_bytes=10_000, tail=5)
    writes = cast("RunRecords", Refusing())
    return Intake(cast("Child", child), RunsSettings(), window, writes, selectors.SelectSelector())


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
        b'C{"id":1,"sync":true,"state":5}',
    ],
)
def test_a_hostile_record_becomes_a_line(intake: Intake, record: bytes) -> None:
    lines = intake._control(record[0], record)
    assert len(lines) == 1
    assert lines[0][0] == records.LINE
    assert b"unreadable record" in lines[0]
    assert intake.said.end is None
    assert intake.said.started_at is None


def test_raw_output_and_records_keep_their_order_however_late_they_are_read() -> None:
    pipes = [os.pipe() for _ in range(3)]
    (records_fd, to_records), (stdout_fd, to_stdout), (stderr_fd, to_stderr) = pipes
    for fd in (records_fd, stdout_fd, stderr_fd):
        os.set_blocking(fd, False)
    child = SimpleNamespace(records_fd=records_fd, stdout_fd=stdout_fd, stderr_fd=stderr_fd)
    window = Window(AttemptKey(1, 1), max_entries=10, max_bytes=10_000, tail=5)
    intake = Intake(
        cast("Child", child), RunsSettings(), window, cast("RunRecords", Refusing()), selectors.SelectSelector()
    )
    pipe = RecordPipe(to_records, line_max_bytes=1000, raw_fds=(to_stdout, to_stderr))

    pipe.line(20, "stdout", "printed before", None)
    os.write(to_stdout, b"sub-process\n")
    pipe.line(20, "log", "logged after", None)
    pipe.line(20, "log", "and again", None)
    intake.read({records_fd, stdout_fd, stderr_fd})
    os.write(to_stderr, b"alone\n")
    intake.read({stderr_fd})

    entries = window.after(Stream.LINES, 0, 10)
    said = [records.decode_line(entry).message for entry in entries]
    assert said == ["printed before", "sub-process", "logged after", "and again", "alone"]
    for fd in itertools.chain(*pipes):
        os.close(fd)
