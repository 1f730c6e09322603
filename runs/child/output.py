"""Capture of everything that an experiment prints, logs and warns, as lines on the records pipe, in order.

Sub-processes and C code write to descriptors 1 and 2 instead, which the supervisor reads.
"""

from __future__ import annotations

import gc
import io
import sys
import sysconfig
import threading
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from types import ModuleType
from typing import Any, TextIO

from experiments.folders import imported_since
from runs.child import logs
from runs.child.importlines import LineWriter
from runs.child.streams import LineStream, Sink
from runs.forkserver import prctl
from runs.states import Level, Source

_LIBRARIES = tuple({sysconfig.get_path(name) + "/" for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_STREAM: Any = io.IOBase.__base__  # in C: its check is many times faster
_BUFFERED = (io.BufferedWriter, io.BufferedRandom, io.BufferedRWPair)


class Output:
    """Capture of this process. `inherited`: modules that are not the experiment's, and that loaded before any other."""

    def __init__(self, pipe: LineWriter, inherited: Collection[str]) -> None:
        self._pipe = pipe
        self._sinks = (Sink(pipe, Source.STDOUT), Sink(pipe, Source.STDERR))
        self._inherited, self._last = inherited, next(reversed(sys.modules))

    def install(self) -> None:
        gc.freeze()  # inherited objects are not flushed at the end, nor scanned by each collection
        out, err = self._sinks
        sys.stdout = sys.__stdout__ = LineStream(out, "<stdout>", 1)  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = LineStream(err, "<stderr>", 2)  # type: ignore[misc]
        self._handler = logs.install(self._pipe)
        warnings.showwarning = self._show_warning

    def move_to(self, pipe: LineWriter) -> None:
        """Write to another pipe from now on."""
        self._pipe = pipe
        for writer in (*self._sinks, self._handler):
            writer.pipe = pipe

    def end_lines(self) -> None:
        """Send everything that was printed."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(BaseException):  # the experiment may have replaced it
                stream.flush()
        prctl.flush_c_output()
        for sink in self._sinks:
            sink.finish()

    def flush_files(self) -> None:
        """Flush every open file of this process."""
        _flush_open_files()
        with suppress(BaseException):
            self.end_lines()

    def finish(self) -> None:
        """Take the last steps of an interpreter, after all exit functions: delete the globals of the experiment's
        modules, which closes their files, and flush the files that are still open. The process exits after it.
        """
        threading.excepthook = _ignore  # daemon threads continue without their globals
        _flush_open_files()  # cycles are collected in any order, lower files before upper ones
        with suppress(BaseException):
            _delete_globals([name for name in reversed(imported_since(self._last)) if name not in self._inherited])
            gc.collect()
        _close_wrappers()
        self.flush_files()

    def after_fork(self) -> None:
        """Discard the parent's unfinished text. Called in a process that the experiment has forked."""
        for sink in self._sinks:
            sink.after_fork()

    def _show_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if file is not None:
            file.write(warnings.formatwarning(message, category, filename, lineno, line))
            return
        about = {"category": category.__name__, "file": filename, "line": lineno}
        self._pipe.line(Level.WARNING.value, Source.WARNING.value, str(message), about)


def _ignore(_: Any) -> None:
    pass


def _delete_globals(names: list[str]) -> None:
    """Set the globals of these modules to None, those with an underscore first, as an interpreter does at its end.

    Modules of Python and of installed packages are skipped.
    """
    for name in names:
        module = sys.modules.get(name)
        if isinstance(module, ModuleType) and _is_own(module):
            variables = vars(module)
            first = [key for key in variables if key.startswith("_") and not key.startswith("__")]
            for key in [*first, *(key for key in variables if not key.startswith("__"))]:
                with suppress(BaseException):
                    variables[key] = None


def _is_own(module: ModuleType) -> bool:
    file = vars(module).get("__file__")
    return isinstance(file, str) and file.endswith(".py") and not file.startswith(_LIBRARIES)


def _flush_open_files() -> None:
    """Flush the files that are still open, text layers before binary ones."""
    streams = _open_streams()
    for kind in (io.TextIOWrapper, _BUFFERED):
        for stream in streams:
            if issubclass(type(stream), kind):
                _quietly(stream.flush)


def _close_wrappers() -> None:
    """Close file objects written in Python: gzip and similar ones write their trailer then."""
    for stream in _open_streams():
        if type(stream).__module__ != "_io" and not issubclass(type(stream), (io.TextIOWrapper, *_BUFFERED)):
            _quietly(stream.close)


def _open_streams() -> list[Any]:
    return [stream for stream in gc.get_objects() if issubclass(type(stream), _STREAM) and _is_written(stream)]


def _is_written(stream: Any) -> bool:
    with suppress(BaseException):
        return not stream.closed and bool(stream.writable())
    return False


def _quietly(action: Callable[[], object]) -> None:
    with suppress(BaseException):
        action()
