"""Templates of a fork server, with a program in their place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from runs.forkserver import templates as templates_module
from runs.forkserver.reaper import Reaper
from runs.forkserver.templates import Start, Templates, WarmLimits
from tests.waiting import wait_until

PROGRAM = """
import socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
connection.sendall(sys.argv[2].encode())
while connection.recv(1):
    pass
"""
REPORT = '{"type":"report","problem":"%s","import_s":1.0,"imported":{}}\n'


class Programs:
    """Stand in for the fork of a template."""

    def __init__(self) -> None:
        self.says = REPORT % ""
        self.started: list[subprocess.Popen[bytes]] = []

    def fork(self, _name: str, _is_explicit: bool, fd: int) -> int:
        arguments = [sys.executable, "-c", PROGRAM, str(fd), self.says]
        self.started.append(subprocess.Popen(arguments, pass_fds=[fd]))
        return self.started[-1].pid


@pytest.fixture
def programs() -> Iterator[Programs]:
    programs = Programs()
    yield programs
    for program in programs.started:
        program.kill()
        program.wait()


@pytest.fixture
def templates(programs: Programs) -> Iterator[Templates]:
    templates = Templates(Reaper())
    templates.enable(programs.fork, WarmLimits(most=2, idle_s=60.0, import_max_s=60.0))
    yield templates
    templates.end_all()


def read(templates: Templates) -> Templates:
    templates.read()
    return templates


def reported(templates: Templates, name: str = "one") -> Start:
    """Start a run, once its template has reported."""
    starts: list[Start] = []

    def has_reported() -> bool:
        templates.read()
        starts.append(templates.start(name, b"{}", []))
        return starts[-1] != Start()

    wait_until(has_reported, what="the report")
    return starts[-1]


def test_a_run_waits_for_the_process_of_its_template(templates: Templates) -> None:
    templates.keep("one", is_explicit=True)

    assert reported(templates) == Start(waits=True)


@pytest.mark.parametrize(("is_explicit", "text"), [(True, "cold: importing it opened a device"), (False, "")])
def test_a_reason_is_told_to_who_asked(templates: Templates, programs: Programs, is_explicit: bool, text: str) -> None:
    programs.says = REPORT % "opened a device"
    templates.keep("one", is_explicit=is_explicit)
    wait_until(lambda: not read(templates)._templates["one"].is_importing, what="the report")

    assert templates.start("one", b"{}", []) == Start(text=text)


@pytest.mark.parametrize("says", ["nonsense\n", '{"type":"forked","number":"x"}\n', REPORT[:20]])
def test_an_invalid_report_ends_the_template(templates: Templates, programs: Programs, says: str) -> None:
    programs.says = says
    templates.keep("one", is_explicit=True)
    if says.endswith("\n"):
        wait_until(lambda: not read(templates)._templates["one"].has_process, what="the end")
    else:
        programs.started[0].kill()
        wait_until(lambda: not read(templates)._templates["one"].has_process, what="the end")

    assert templates.start("one", b"{}", []) == Start(text="cold: importing it ended its template process")


def test_short_memory_ends_templates_and_makes_none(
    templates: Templates, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates_module, "CHECK_EVERY_S", 0.0)
    templates.keep("one", is_explicit=True)
    reported(templates)
    monkeypatch.setattr(templates_module, "memory_is_short", lambda: True)
    templates.work()
    templates.keep("two", is_explicit=True)

    assert templates.start("one", b"{}", []) == Start()
    assert programs.started[0].wait(20) == 0
    assert len(programs.started) == 1


def test_one_that_was_used_lately_makes_no_room(
    templates: Templates, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three"):
        templates.keep(name, is_explicit=True)
    assert len(programs.started) == 2
    monkeypatch.setattr(templates_module, "REPLACE_AFTER_S", 0.0)
    templates.keep("three", is_explicit=True)

    assert len(programs.started) == 3
    assert templates.start("one", b"{}", []) == Start()
