"""Children for tests: spawned by a real fork server, heard to their end."""

from __future__ import annotations

import array
import fcntl
import itertools
import json
import os
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from runs.folders import stacks_file
from runs.forkserver.client import Child, ChildSpec, Exit, ForkServer
from runs.forkserver.ready import READY_NAME
from runs.lines.folding import Folding
from runs.lines.records import LINE, TEXT, End
from runs.states import AttemptKey
from runs.supervisor.capture import Writers
from runs.supervisor.channel import Channel
from tests.waiting import wait_until

EXPERIMENTS = Path(__file__).parent / "child_experiments"
_numbers = itertools.count(1)


def spec(
    folder: Path, experiment: str = "probe", *, restored: dict[str, Any] | None = None, **configuration: Any
) -> ChildSpec:
    key = AttemptKey(next(_numbers), 1)
    return ChildSpec(
        key=key,
        experiment=experiment,
        configuration=configuration,
        limits={},
        seed=42,
        slot="2026-01-02T03:04:05+00:00",
        folder=folder / "run",
        stacks_path=stacks_file(folder / "run", key.number),
        restored=restored,
        line_max_bytes=256 * 1024,
        record_max_bytes=2 * 1024 * 1024,
        checkpoint_max_bytes=1024 * 1024,
    )


def keep_alive(server: ForkServer, until: float) -> None:
    """Move the deadline of every child so far, and of the next ones, to a moment of the lease clock."""
    made = next(_numbers)
    server.deadlines.publish({"until": {f"{number}.1": until for number in range(1, made + 50)}})


class Heard:
    """A child, and all that came through its pipes so far."""

    def __init__(self, server: ForkServer, about: ChildSpec) -> None:
        self._exits: list[Exit] = []
        self._ended = threading.Event()
        self._channel = Channel(record_max_bytes=1 << 21, line_max_bytes=1 << 18, senders_max=64)
        self._writers = Writers(Folding(1 << 18, 1.0, 0.5, 50), writers_max=64, held_max_chars=1 << 21)
        self.records: list[tuple[str, Any]] = []
        self._lines: list[Any] = []
        self.raw = {1: b"", 2: b""}
        self.spec = about
        self.child: Child = server.spawn(about, self._exited)

    def _exited(self, exit_: Exit) -> None:
        self._exits.append(exit_)
        self._ended.set()

    def read(self) -> Heard:
        """Take what is there."""
        for fd, number in ((self.child.stdout_fd, 1), (self.child.stderr_fd, 2)):
            self.raw[number] += _available(fd)
        for record in self._channel.feed(_available(self.child.records_fd)):
            self.records.append((chr(record[0]), json.loads(record[1:])))
            if record[0] == TEXT:
                self._add_lines(self._writers.feed(record, time.monotonic()))
            elif record[0] == LINE:
                self._add_lines([record])
        return self

    def _add_lines(self, records: list[bytes]) -> None:
        self._lines += [json.loads(record[1:]) for record in records]

    def wait(self, timeout_s: float = 20.0) -> Exit:
        """Read to the end of the child; the pipes are closed then."""
        wait_until(self._is_over, timeout_s=timeout_s, what="the end of the child")
        self.read()
        self._add_lines(self._writers.close(time.time()))
        self.child.close()
        return self.exit

    def _is_over(self) -> bool:
        self.read()
        return self._ended.is_set()

    def wait_for(self, message: str, timeout_s: float = 20.0) -> None:
        """Read until a line says this."""
        wait_until(lambda: message in self.read().lines(), timeout_s=timeout_s, what=repr(message))

    @property
    def exit(self) -> Exit:
        (exit_,) = self._exits
        return exit_

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def payloads(self, kind: str) -> list[Any]:
        return [payload for letter, payload in self.records if letter == kind]

    def line_records(self) -> list[Any]:
        """Payloads of all lines, unfinished ones once it has ended."""
        return self._lines

    def lines(self, *sources: str) -> list[str]:
        return [line[3] for line in self._lines if not sources or line[2] in sources]

    @property
    def end(self) -> End | None:
        ends: list[End] = self.payloads("E")
        return ends[0] if ends else None

    @property
    def summary(self) -> Any:
        assert self.end is not None, self.raw[2].decode()
        assert self.end["outcome"] == "returned", self.end
        return self.end.get("summary")

    def tree(self) -> list[psutil.Process]:
        """Return the processes below the child, now."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.child.pid).children(recursive=True)
        return []


def _available(fd: int) -> bytes:
    data = b""
    with suppress(BlockingIOError):
        while chunk := os.read(fd, 1 << 20):
            data += chunk
    return data


def run(server: ForkServer, about: ChildSpec) -> Heard:
    """Spawn, hear to the end."""
    heard = Heard(server, about)
    heard.wait()
    return heard


def probe(server: ForkServer, folder: Path, do: str, **configuration: Any) -> Heard:
    """Have the probe do something, hear to the end."""
    return run(server, spec(folder, do=do, **configuration))


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are the same process still, and not only an exit status."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def ready_children(server: int | None) -> list[psutil.Process]:
    """Return the children that a fork server keeps ready."""
    return kept_processes(server, READY_NAME)


def kept_processes(server: int | None, *names: str) -> list[psutil.Process]:
    """Return the processes with these names that a fork server keeps for later runs."""
    ready = []
    for process in psutil.Process(server).children():
        with suppress(psutil.NoSuchProcess):
            if process.name() in names:
                ready.append(process)
    return ready


def unread_bytes(fd: int) -> int:
    """Return the number of unread bytes in a pipe."""
    return array.array("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]


def seconds(action: Callable[[], Any]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def warm_up(
    server: ForkServer, folder: Path, experiment: str = "probe", *, is_explicit: bool = True, **configuration: Any
) -> str:
    """Have a server keep a template of an experiment. Return the start of the next run: "warm, ..." or the reason."""
    first = run(server, spec(folder, experiment, **configuration))
    first.child.keep_warm(is_explicit=is_explicit)
    starts = (run(server, spec(folder, experiment, **configuration)).child.start for _ in range(200))
    return next(filter(None, starts))
