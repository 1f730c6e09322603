"""Child process, from the fork to its exit. This is the only module that calls the code of experiments.

Its records are, in order: hello (`H`) when the experiment is imported and its configuration validated, then the output
of the experiment, and the end (`E`). Between the return of `run` and that record, the process ends as an interpreter
does (see shutdown.py). The fork server kills the processes that are left.

Only this process reports the end. A process that the experiment forked, and that returns from `run`, exits as in a
script: with its own status and exit functions.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import platform
import signal
import sys
import traceback
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, NoReturn

import msgspec

from experiments import remembered
from experiments.base import Experiment
from experiments.conf import experiments_settings
from experiments.discovery import ENTRY_POINT_GROUP
from experiments.exceptions import InvalidDefinition
from experiments.jsonvalues import unpack
from experiments.registry import load_one
from experiments.source import source_digest, source_file
from experiments.validation import restored_configuration
from runs.child import bytecode, endings, importable
from runs.child import interrupts as interrupts_module
from runs.child.clocks import CLOCKS
from runs.child.context import AttemptInfo, ChildContext
from runs.child.control import Control
from runs.child.interrupts import Interrupts
from runs.child.isolation import Descriptors, connect, detach
from runs.child.output import Output
from runs.child.pipe import RecordPipe
from runs.child.rehearsal import rehearse
from runs.child.shutdown import Limits, Shutdown, exit_status, finalize
from runs.child.template import Loaded, fork_template, serves_templates
from runs.conf import runs_settings
from runs.forkserver import environment, ready
from runs.forkserver.spec import ChildSpec
from runs.lines.records import END, HELLO, End

UNREPORTED_STATUS = 70
"""Exit status of a child that could not report its end."""

SPAWNED_MAIN = "runs.child.spawned"
"""Main module of processes that multiprocessing spawns."""

_decode_spec = msgspec.json.Decoder(ChildSpec, dec_hook=lambda kind, value: kind(value)).decode
_inherited: frozenset[str] = frozenset()
"""Modules that the fork server had loaded. A set that is made before the fork, since a look at each module would copy
its page.
"""
_OWN_FILES = frozenset({__file__, interrupts_module.__file__})


def warm_up() -> None:
    """Prepare the fork server, once. This halves the start time of each child."""
    global _inherited  # noqa: PLW0603  # set once
    experiments_settings()
    runs_settings()
    entry_points(group=ENTRY_POINT_GROUP)
    bytecode.install(runs_settings().var.absolute() / "bytecode")
    remembered.refresh()
    for candidate in remembered.known_candidates():
        candidate.hinted_names()  # reads the modules of experiments, and imports none
    platform.python_version()
    imports = importable.write_packages()
    environment.leave_to_programs(os.environ, project=str(importable.PROJECT), imports=imports)
    importlib.util.find_spec("no_such_module_of_an_experiment")  # lists the folders of sys.path
    logging.getLogger().setLevel(logging.INFO)
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]  # no public name
        finalizer.atexit = False  # the server's: a child would call them all at its end
    _inherited = frozenset(sys.modules)


def ready_limits() -> tuple[int, float]:
    """Return the number of ready children, and the idle time after which they are released."""
    conf = runs_settings()
    return conf.ready_children_max, conf.ready_idle_s


def warm_limits() -> tuple[int, float, float] | None:
    """Return the limits of templates: their number, idle time and longest import. None where they cannot work."""
    conf = runs_settings()
    return (conf.warm_templates_max, conf.warm_idle_s, conf.start_timeout_s) if serves_templates() else None


def fork(spec: bytes, fds: Sequence[int]) -> int:
    """Fork a child for an encoded ChildSpec. Return its pid. `fds`: records, stdout, stderr (write), control (read)."""
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        _live(server, fds, lambda: (spec, fds))
    return pid


def fork_ready(connection: int, is_calm: bool) -> int:
    """Fork a child that prepares itself, and waits on a socket for what `fork` takes. Return its pid.

    `is_calm`: there is time for a rehearsal, which makes the run start faster, and costs more than it saves.
    """
    with suppress(OSError):
        remembered.refresh()
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        _live(server, [connection], lambda: _received(connection, is_calm))
    return pid


def _received(connection: int, is_calm: bool) -> tuple[bytes, Sequence[int]] | None:
    if is_calm:
        rehearse()
    return ready.receive(connection)


def fork_warm(experiment: str, is_explicit: bool, connection: int) -> int:
    """Fork a process that imports an experiment, and forks the processes of its runs. Return its pid."""
    return fork_template(experiment, is_explicit, connection, _begin_warm, _replace_main, _inherited)


def _begin_warm(server: int, connection: int, loaded: Loaded) -> NoReturn:
    _live(server, [connection], lambda: ready.receive(connection), loaded)


def _live(
    server: int,
    kept: Sequence[int],
    receive: Callable[[], tuple[bytes, Sequence[int]] | None],
    loaded: Loaded | None = None,
) -> NoReturn:
    """Run as the child, which may have the experiment `loaded`. Never returns."""
    status = UNREPORTED_STATUS
    try:
        detach(server, kept)
        if (received := receive()) is not None:
            raw, fds = received
            spec = _decode_spec(raw)
            _Child(spec, connect(spec, fds), loaded).live()
        status = 0
    except BaseException:
        with suppress(BaseException):
            os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(status)


class _Child:
    """One attempt in its own process."""

    def __init__(self, spec: ChildSpec, descriptors: Descriptors, loaded: Loaded | None) -> None:
        self._spec, self._loaded = spec, loaded
        self._pipe = RecordPipe(descriptors.records, line_max_bytes=spec.line_max_bytes, raw_fds=(1, 2))
        self._control = Control(descriptors.control, on_gone=_end_own_group)
        self._interrupts = Interrupts(self._control)
        self._output = Output(self._pipe, _inherited) if loaded is None else loaded.output
        self._context: ChildContext[Any] | None = None
        self._pid = os.getpid()
        conf = runs_settings()
        limits = Limits(conf.exit_wait_s, conf.end_grace_s)
        self._shutdown = Shutdown(self._pipe, self._control, self._interrupts, limits, descriptors.stacks)

    def live(self) -> None:
        """Run the experiment and report its end. Raises PipeClosed if the pipe is broken."""
        if self._loaded is None:
            self._output.install()
            _replace_main(self._spec.experiment)
        self._interrupts.install()
        self._control.listen()
        os.register_at_fork(after_in_child=self._after_fork)
        end = self._execute()
        if self._is_forked:
            self._exit_forked(end)
        self._control.on_tick = self._on_tick_at_end
        self._shutdown.run(lambda: self._report(end))
        if self._is_forked:
            self._exit_forked({"outcome": "returned"}, is_final=True)
        self._output.finish()

    @property
    def _is_forked(self) -> bool:
        """True in a process that the experiment forked and that has returned from `run`."""
        return os.getpid() != self._pid

    def _execute(self) -> End:
        """Load, validate and run the experiment. Return every end as an End."""
        started_at = CLOCKS.monotonic()
        try:
            experiment = load_one(self._spec.experiment) if self._loaded is None else self._loaded.begin(self._pipe)
        except BaseException as error:
            return endings.of_start(error, _OWN_FILES)
        import_s = CLOCKS.monotonic() - started_at
        try:
            config = restored_configuration(experiment, self._spec.configuration)
        except InvalidDefinition as error:
            return endings.of_exception(error)
        except BaseException as error:  # raised by a validator of the experiment
            return {**endings.of_exception(error, _OWN_FILES), "outcome": "config"}
        self._context = context = ChildContext(_attempt_info(self._spec), config, self._pipe, self._control)
        self._control.on_tick = context.flush_progress
        try:
            self._send_hello(experiment, import_s)
            value = self._interrupts.call(lambda: self._run(experiment, context))
            if self._is_forked:
                return {"outcome": "returned"}
            return endings.of_value(value, summary_max_bytes=self._spec.record_max_bytes // 2)
        except BaseException as error:
            return endings.of_exception(error, _OWN_FILES)

    def _run(self, experiment: type[Experiment], context: ChildContext[Any]) -> Any:
        value = experiment().run(context)
        return self._interrupts.run_async(value) if inspect.isawaitable(value) else value

    def _send_hello(self, experiment: type[Experiment], import_s: float) -> None:
        hello = {
            "source_file": str(source_file(experiment) or ""),
            "source_digest": source_digest(experiment),
            "python": platform.python_version(),
            "pid": os.getpid(),
            "import_s": round(import_s, 3),
            "wants_warm_start": experiment.warm,
        }
        self._pipe.send(HELLO, msgspec.json.encode(hello))

    def _on_tick_at_end(self) -> None:
        if self._context is not None:
            self._context.flush_progress()
        self._shutdown.check()

    def _report(self, end: End) -> None:
        """Write the buffered output, then the end."""
        self._output.end_lines()
        if self._context is not None:
            self._context.flush_progress()
        with suppress(OSError):
            if not self._spec.stacks_path.stat().st_size:
                self._spec.stacks_path.unlink()
        self._pipe.send(END, endings.encoded(end))
        self._output.flush_files()

    def _exit_forked(self, end: End, *, is_final: bool = False) -> NoReturn:
        """End a process that the experiment forked, as an interpreter would. `is_final`: exit functions have run."""
        status = exit_status(end)
        if not is_final:
            finalize()
        self._output.finish()
        os._exit(status)

    def _after_fork(self) -> None:
        """Reset locks and unfinished lines in a process that the experiment forks."""
        self._output.after_fork()
        if self._context is not None:
            self._context.after_fork()


def _attempt_info(spec: ChildSpec) -> AttemptInfo:
    return AttemptInfo(
        key=spec.key,
        seed=spec.seed,
        slot=spec.slot,
        folder=spec.folder,
        restored=unpack(spec.restored),
        checkpoint_max_bytes=spec.checkpoint_max_bytes,
    )


def _replace_main(experiment: str) -> None:
    """Replace `__main__`, which is the fork server's, with a module that multiprocessing can spawn processes from."""
    main = ModuleType("__main__", f"Process of a run of {experiment}")
    main.__spec__ = ModuleSpec(SPAWNED_MAIN, None)
    sys.modules["__main__"] = main
    sys.argv = [experiment]


def _end_own_group() -> None:
    """Kill the whole run, since its worker has ended."""
    os.killpg(0, signal.SIGKILL)
