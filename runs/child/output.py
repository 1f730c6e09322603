"""What an experiment prints, logs and warns of, as lines on the records pipe, in the order in which it happened.

Sub-processes and C code write to descriptors 1 and 2, which the worker reads; everything of Python's goes this way. A
line that `print` has not ended is held back, for each thread of its own, until its newline or the end of the run; of
a bar that is redrawn by carriage returns a state now and then.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings
from typing import Any, TextIO

from runs.child.clocks import CLOCKS
from runs.child.pipe import RecordPipe
from runs.lines.folding import LineFolder
from runs.states import Level, Source

_LEVELS = sorted(Level.values, reverse=True)


class LineStream(io.TextIOBase):
    """Stands for sys.stdout or sys.stderr. Thread-safe."""

    def __init__(self, pipe: RecordPipe, source: Source, level: Level, fd: int, **folding: Any) -> None:
        super().__init__()
        self._pipe, self._source, self._level, self._fd = pipe, source.value, level.value, fd
        self._folding = folding
        self._folders: dict[int, LineFolder] = {}  # thread → its unfinished line
        self._ends_at_flush = False
        self.buffer = _Bytes(self)
        self.name = f"<{source.value}>"

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    @property
    def line_buffering(self) -> bool:
        return True

    def reconfigure(self, **_: Any) -> None:
        """Accepted, as of any text stream; encoding and buffering are what they are."""

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        """Raises runs.child.pipe.PipeClosed if the experiment has closed the pipe."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        thread = threading.get_ident()
        folder = self._folders.get(thread)
        if folder is None:
            folder = self._folders[thread] = LineFolder(**self._folding)
        lines = folder.feed(text, CLOCKS.monotonic())
        if folder.is_empty:
            self._folders.pop(thread, None)
        for line in lines:
            self._pipe.line(self._level, self._source, line)
        return len(text)

    def flush(self) -> None:
        """Nothing waits but unfinished lines, and they wait for their end: `print(".", end="", flush=True)` is one
        line.
        """
        if self._ends_at_flush:
            self.end_lines()

    def close(self) -> None:
        """Does nothing: the stream is the process' own."""

    def end_lines(self) -> None:
        """Write the unfinished lines of all threads."""
        folders, self._folders = self._folders, {}
        for folder in folders.values():
            for line in folder.close():
                self._pipe.line(self._level, self._source, line)

    def after_fork(self) -> None:
        """In a forked child: the unfinished lines are the parent's; its own are written at flush, which
        multiprocessing calls last.
        """
        self._folders = {}
        self._ends_at_flush = True


class _Bytes(io.BufferedIOBase):
    """`sys.stdout.buffer`: bytes in the same order as text."""

    def __init__(self, stream: LineStream) -> None:
        super().__init__()
        self._stream = stream

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, data: Any, /) -> int:
        raw = bytes(data)
        self._stream.write(raw.decode("utf-8", "backslashreplace"))
        return len(raw)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        pass


class LineHandler(logging.Handler):
    """Log records as lines, the logger's name as metadata."""

    def __init__(self, pipe: RecordPipe) -> None:
        super().__init__()
        self._pipe = pipe

    def createLock(self) -> None:  # noqa: N802  # logging's name
        """None is needed: a line is one write, or tells its pieces apart."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = next((level for level in _LEVELS if level <= record.levelno), Level.DEBUG.value)
            self._pipe.line(level, Source.LOGGING.value, self.format(record), {"logger": record.name})
        except Exception:
            self.handleError(record)


class Output:
    """Everything that is captured in this process."""

    def __init__(self, pipe: RecordPipe, *, line_max_bytes: int, redraw_every_s: float) -> None:
        self._pipe = pipe
        folding = {"line_max_bytes": line_max_bytes, "redraw_every_s": redraw_every_s}
        self._streams = (
            LineStream(pipe, Source.STDOUT, Level.INFO, 1, **folding),
            LineStream(pipe, Source.STDERR, Level.WARNING, 2, **folding),
        )

    def install(self) -> None:
        sys.stdout, sys.stderr = self._streams  # text streams in all but class
        sys.__stdout__, sys.__stderr__ = self._streams  # type: ignore[misc, assignment]
        root = logging.getLogger()
        root.handlers[:] = [LineHandler(self._pipe)]
        root.setLevel(logging.INFO)
        warnings.showwarning = self._warned

    def end_lines(self) -> None:
        for stream in self._streams:
            stream.end_lines()

    def after_fork(self) -> None:
        for stream in self._streams:
            stream.after_fork()

    def _warned(
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
