"""Client's handle of one catalog process: start, load, ask, kill. A process is replaced, never repaired."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from experiments.catalog.entries import Catalog, loaded
from experiments.catalog.watched import Stamp, Watched, stamps, stamps_below
from experiments.catalog.wire import Closed, Message, TooLate, Wire
from experiments.conf import experiments_settings

_PROJECT = Path(__file__).resolve().parent.parent.parent
_LIBRARY = sysconfig.get_path("stdlib")
_FRAME = re.compile(r'^\s*File "(.+)", line (\d+)', re.MULTILINE)
_MACHINERY = ("<frozen ", "/importlib/", "/contextlib.py", *(f"{_PROJECT}/experiments/{name}" for name in
              ("catalog/", "discovery.py", "registry.py", "folders.py")))  # fmt: skip
DUMP_WAIT_S = 1.0
"""Longest time that a hanging process may take to write its stacks."""


@dataclass(frozen=True, slots=True)
class Loaded:
    catalog: Catalog
    watched: Watched


@dataclass(frozen=True, slots=True)
class Blame:
    """Module of an author that hung or ended the process."""

    module: str
    error: str
    """Error in one line."""
    traceback: str
    is_slow: bool
    """True if it exceeded its time: it may succeed later."""
    files: dict[str, Stamp] = field(default_factory=dict)
    """Its files; after a change of one of them it is tried again."""


class Died(Exception):
    """Raised when the process hung or ended. `error` is a sentence without its subject, `where` the recorded stacks."""

    def __init__(self, error: str, where: str = "", *, is_slow: bool = False, is_killed: bool = False) -> None:
        super().__init__(error)
        self.error, self.where, self.is_slow, self.is_killed = error, where, is_slow, is_killed


class CatalogProcess:
    """Not thread-safe, except `kill`. A caller of `ask` must hold `lock`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.lock = threading.Lock()
        ours, theirs = socket.socketpair()
        life, self._life = os.pipe()  # closed by the kernel when this process ends in any way
        self._wire = Wire(ours)
        self._crashes = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `_close`
        descriptors = (theirs.fileno(), life, self._crashes.fileno())
        python_path = environ.get("PYTHONPATH")
        ours_first = os.pathsep.join([str(_PROJECT), *([python_path] if python_path else [])])
        try:
            self._process = subprocess.Popen(  # noqa: S603  # Athanor's own program
                [sys.executable, "-P", "-m", "experiments.catalog.process", *map(str, descriptors)],
                env={**environ, "PYTHONPATH": ours_first},
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,
            )
        except OSError:
            self._close()
            raise
        finally:
            theirs.close()
            os.close(life)
        self._start: Message = {"sys_path": [path or str(Path.cwd()) for path in sys.path], "python_path": python_path}

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def load(self, blamed: Mapping[str, Blame]) -> Loaded | Blame:
        """Import and describe everything except the `blamed` modules. Raises Died if no module is to blame."""
        conf = experiments_settings()
        running: Message = {}
        try:
            skipped = {name: {"error": each.error, "traceback": each.traceback} for name, each in blamed.items()}
            self._wire.send({**self._start, "skipped": skipped}, time.monotonic() + conf.catalog_start_s)
            limit_s = conf.catalog_start_s
            while True:
                message = self._received(limit_s)
                if "failed" in message:
                    raise Died("failed to start", message["failed"])
                if "catalog" in message:
                    return Loaded(loaded(Catalog, message["catalog"]), loaded(Watched, message["watched"]))
                running, limit_s = message, conf.import_max_s
        except Died as died:
            self.kill()
            if running:
                return _blame(running, died)
            raise
        except (Closed, TooLate, ValueError) as error:
            self.kill()
            raise Died(f"did not start: {type(error).__name__}: {error}") from error

    def ask(self, question: Message, limit_s: float) -> Message:
        """Return its answer. Raises Died if it ended, or hung and was killed; Closed if it had already ended."""
        if not self.is_alive:
            raise Closed
        self._wire.send(question, time.monotonic() + limit_s)
        return self._received(limit_s)

    def kill(self) -> None:
        """Kill the process and those that it started."""
        if self.is_alive:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._close()

    def _close(self) -> None:
        self._wire.close()
        self._crashes.close()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    def _received(self, limit_s: float) -> Message:
        try:
            return self._wire.receive(time.monotonic() + limit_s)
        except TooLate as error:
            os.kill(self.pid, signal.SIGUSR2)
            where = self._dump(until=time.monotonic() + DUMP_WAIT_S)
            raise Died(f"did not end within {limit_s:g} s{_at(where)}", where, is_slow=True) from error
        except Closed as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(DUMP_WAIT_S)
            where = self._dump(until=0.0)
            status = self._process.poll()
            is_killed = status == -signal.SIGKILL
            raise Died(f"ended the process ({_cause(status)}){_at(where)}", where, is_killed=is_killed) from error

    def _dump(self, until: float) -> str:
        """Return the stacks that the process wrote, without Athanor's own frames."""
        while True:
            text = os.pread(self._crashes.fileno(), 100_000, 0).decode(errors="replace")
            if text.endswith("\n") or time.monotonic() >= until:
                break
            _pause.wait(0.02)
        return "\n".join(line for line in text.splitlines() if not any(part in line for part in _MACHINERY))


_pause = threading.Event()  # never set


def _blame(running: Message, died: Died) -> Blame:
    sources = {file for file in running["files"] if file}
    frames = {file for file, _ in _FRAME.findall(died.where)}
    files = stamps(sorted(sources | frames))
    if not frames:
        files |= {path: at for file in sources for path, at in stamps_below(Path(file).parent).items()}
    error = f"Its import {died.error}."
    return Blame(running["running"], error, f"{died.where}\n{error}".strip(), died.is_slow, files)


def _at(where: str) -> str:
    """Return the innermost line of an author's file in the stacks, or else of a library."""
    frames = list(_FRAME.finditer(where))
    own = [frame for frame in frames if not frame[1].startswith(_LIBRARY) and "site-packages" not in frame[1]]
    for frame in (own or frames)[:1]:
        return f" at {Path(frame[1]).name}, line {frame[2]}"
    return ""


def _cause(status: int | None) -> str:
    if status is None:
        return "it closed its connection"
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
