"""Template process of an experiment: it has imported the experiment, and forks the process of each run.

The fork server forks it, and reads its report on a socket: what it has imported, or why no run can be forked from it.
Then each message on that socket brings the socket on which the process of a run will wait for its spec, as a ready
child does. The process is forked twice, so that the fork server adopts it; its pid is announced before that.

A template has one thread, and no descriptors besides the standard ones and its socket. It ends when the fork server
closes the socket or dies. For Linux.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NoReturn, cast

import msgspec

from experiments import folders, umask
from experiments.base import Experiment
from experiments.discovery import candidates
from experiments.registry import load_one
from runs.child.definitions import code_in
from runs.child.generators import Generators
from runs.child.importlines import ImportLines
from runs.child.isolation import detach
from runs.child.output import Output
from runs.child.pipe import RecordPipe
from runs.child.surroundings import Surroundings
from runs.forkserver import prctl
from runs.forkserver.imported import imported, own_modules
from runs.forkserver.template import TEMPLATE_NAME, Forked, Report

ADOPTION_POLL_S = 0.0002
"""Pause between two looks at the parent: an adoption takes less than a millisecond, and delays the run."""
OOM_SCORE = 800
"""Makes the kernel kill templates before runs when memory is short."""
ADOPTED_WITHIN_S = 10.0
"""Longest wait of a run's process for the end of the process that forked it."""
_REASON_MAX_CHARS = 500

Begin = Callable[[int, int, "Loaded"], NoReturn]
"""Runs as a child of the server with this pid: waits on the socket for its spec. Never returns."""


class Loaded:
    """Imported experiment, and everything that its import left in this process."""

    def __init__(self, inherited: Collection[str]) -> None:
        self.lines = ImportLines()
        self.output = Output(self.lines, inherited)
        self.experiment: type[Experiment] | None = None
        self._generators = Generators()
        self._modules = set(sys.modules)

    def load(self, name: str, is_explicit: bool) -> Report:
        """Import the experiment. Report what was imported, and why no run can be forked from this process."""
        self.output.install()
        surroundings = Surroundings.now()
        started_at = time.monotonic()
        try:
            self.experiment = load_one(name)
            problem = ""
        except BaseException as error:  # an author's module may raise anything
            problem = f"failed: {error}"
        import_s = time.monotonic() - started_at
        with suppress(BaseException):
            problem = problem or self._problem(is_explicit, surroundings)
        others = [str(each.file) for each in candidates(with_entry_points=False)[0] if each.file]
        state = imported(own_modules(self._new_modules()), others)
        if state.is_too_large:
            problem = problem or f"reads {len(state.files)} files outside of installed packages"
        gc.collect()
        gc.freeze()  # stays shared with the processes of runs: their collections do not copy it
        return Report(problem[:_REASON_MAX_CHARS], import_s, state)

    def begin(self, pipe: RecordPipe) -> type[Experiment]:
        """Begin a run: write to its pipe, beginning with the lines of the import, and draw numbers of its own."""
        self.output.move_to(pipe)
        self.lines.write_to(pipe)
        self._generators.renew()
        return cast(type[Experiment], self.experiment)

    def _problem(self, is_explicit: bool, surroundings: Surroundings) -> str:
        modules = own_modules(self._new_modules())
        if not is_explicit and (code := code_in(modules)):
            return code
        return self.lines.problem or self._generators.settle(modules) or surroundings.problem_since()

    def _new_modules(self) -> list[str]:
        return [*(set(sys.modules) - self._modules), *(module.__name__ for module in folders.neighbours())]


def fork_template(
    name: str,
    is_explicit: bool,
    connection: int,
    begin: Begin,
    prepare: Callable[[str], None],
    inherited: Collection[str],
) -> int:
    """Fork a template of an experiment from the server. Return its pid. `inherited`: modules that the server loaded."""
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            detach(server, [connection])
            prctl.adopt_orphans(False)
            prctl.prefer_as_oom_victim(OOM_SCORE)
            umask.use_inherited()
            prepare(name)
            _serve(server, name, is_explicit, socket.socket(fileno=connection), begin, Loaded(inherited))
        except BaseException:
            with suppress(BaseException):
                os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
        finally:
            os._exit(0)
    return pid


def _serve(server: int, name: str, is_explicit: bool, connection: socket.socket, begin: Begin, loaded: Loaded) -> None:
    """Import, report, and fork a process for each message, until the server closes the connection."""
    raw = os.memfd_create("athanor-import-output", os.MFD_CLOEXEC)
    os.dup2(raw, 1)
    os.dup2(raw, 2)
    report = loaded.load(name, is_explicit)
    prctl.flush_c_output()
    if os.fstat(raw).st_size and not report.problem:
        report = msgspec.structs.replace(report, problem="wrote to its standard output other than by Python")
    os.close(raw)
    connection.sendall(msgspec.json.encode(report) + b"\n")
    if report.problem:
        return
    number = 0
    while True:
        with prctl.named(TEMPLATE_NAME):
            data, fds, _, _ = socket.recv_fds(connection, 1, 1)
        if not data:
            return
        number += 1
        _fork_run(server, number, fds[0], connection, loaded, begin)


def _fork_run(server: int, number: int, fd: int, connection: socket.socket, loaded: Loaded, begin: Begin) -> None:
    """Fork the process of a run, which the server adopts. The server gets its pid before it is the parent."""
    template = os.getpid()
    between = os.fork()
    if between == 0:
        try:
            between = os.getpid()
            pid = os.fork()
            if pid == 0:
                connection.close()
                _wait_until_adopted(server, (between, template))
                begin(server, fd, loaded)
            connection.sendall(msgspec.json.encode(Forked(number, pid)) + b"\n")
        finally:
            os._exit(0)
    os.close(fd)
    os.waitpid(between, 0)


def _wait_until_adopted(server: int, others: tuple[int, ...]) -> None:
    """Wait until the process that forked this one has ended. Exit if the server does not become the parent."""
    deadline = time.monotonic() + ADOPTED_WITHIN_S
    while (parent := os.getppid()) != server:
        if parent not in others or time.monotonic() > deadline:
            os._exit(1)
        time.sleep(ADOPTION_POLL_S)


def serves_templates() -> bool:
    """Return whether this platform can adopt processes, and shows what an import has left."""
    return prctl.IS_LINUX and hasattr(os, "memfd_create")
