"""sys.stdout and sys.stderr of a run: text streams with a buffer and a raw stream below, as in any Python program.

All three write to the records pipe, in order. A complete line is sent immediately. Unfinished text is kept per thread,
so that two threads do not mix their lines. It is sent when it is flushed, or when it redraws earlier text; the
supervisor makes lines of it.

Closing one of these streams flushes it, and it stays writable.
"""

from __future__ import annotations

import codecs
import io
import os
import threading
from dataclasses import dataclass, field
from typing import Any

from runs.child.importlines import LineWriter
from runs.lines.folding import redraws
from runs.lines.levels import level_of
from runs.states import Level, Source

_INFO, _LOGGING = Level.INFO.value, Source.LOGGING.value
_PENDING_MAX_CHARS = 32 * 1024
"""Longer text without a newline is sent without a flush."""


@dataclass(slots=True)
class _Pending:
    """Unsent text of one thread, and the beginning of a character."""

    thread: int
    parts: list[str] = field(default_factory=list)
    chars: int = 0
    is_open: bool = False
    """True if its text is sent unfinished, up to the next newline: its beginning was sent, or it redraws."""
    decoder: codecs.IncrementalDecoder | None = None

    @property
    def is_done(self) -> bool:
        return not (self.parts or self.is_open or self.decoder)


class Sink:
    """Write text and bytes of one source to the records pipe. Thread-safe. Raises PipeClosed."""

    def __init__(self, pipe: LineWriter, source: Source) -> None:
        self.pipe, self._source = pipe, source.value
        self._is_stderr = source is Source.STDERR
        self._pending: dict[int, _Pending] = {}  # by thread

    def write(self, text: str) -> None:
        thread = threading.get_ident()
        pending = self._pending.get(thread)
        if text == "\n" and pending and not pending.is_open and pending.decoder is None:  # as `print` ends a line
            del self._pending[thread]
            return self._lines(["".join(pending.parts)])
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        if pending is None:
            if not redraws(text):
                *complete, rest = text.split("\n") if "\n" in text else (text,)
                if rest:
                    self._pending[thread] = _Pending(thread, [rest], len(rest))
                return self._lines(complete) if complete else None
            pending = self._pending[thread] = _Pending(thread)
        if pending.decoder is not None:
            decoder, pending.decoder = pending.decoder, None
            text = decoder.decode(b"", True) + text
        return self._add(pending, text)

    def write_bytes(self, data: bytes) -> None:
        pending = self._pending.get(threading.get_ident())
        decoder = pending.decoder if pending else None
        if decoder is None:
            try:
                return self.write(data.decode())
            except UnicodeDecodeError:
                decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        if pending:
            pending.decoder = None
        text = decoder.decode(data)
        if text:
            self.write(text)
        if decoder.getstate()[0]:
            thread = threading.get_ident()
            self._pending.setdefault(thread, _Pending(thread)).decoder = decoder
        return None

    def flush(self) -> None:
        """Send the unfinished text of this thread."""
        pending = self._pending.get(threading.get_ident())
        if pending is not None:
            self._send(pending)
            if pending.is_done:
                self._pending.pop(threading.get_ident(), None)

    def log(self, level: int, text: str, logger: str) -> None:
        """Write a log record as its own line."""
        self.pipe.line(level, _LOGGING, text, {"logger": logger})

    def finish(self) -> None:
        """Send the unfinished text of all threads."""
        pending, self._pending = self._pending, {}
        for each in pending.values():
            if each.decoder is not None:
                each.parts.append(each.decoder.decode(b"", True))
            self._send(each)

    def after_fork(self) -> None:
        """Discard unfinished text in a forked process: the parent sends it."""
        self._pending = {}

    def _add(self, pending: _Pending, text: str) -> None:
        pending.parts.append(text)
        pending.chars += len(text)
        if pending.is_open or redraws(text):
            if "\n" in text or "\r" in text or pending.chars > _PENDING_MAX_CHARS:
                self._send(pending)
            else:
                pending.is_open = True
        elif "\n" in text:
            *complete, rest = "".join(pending.parts).split("\n")
            pending.parts, pending.chars = [rest] if rest else [], len(rest)
            self._lines(complete)
        elif pending.chars > _PENDING_MAX_CHARS:
            self._send(pending)
        if pending.is_done:
            self._pending.pop(threading.get_ident(), None)

    def _lines(self, lines: list[str]) -> None:
        if self._is_stderr:
            for line in lines:
                self.pipe.line(level_of(line, Level.INFO).value, self._source, line)
        elif len(lines) == 1:
            self.pipe.line(_INFO, self._source, lines[0])
        elif lines:
            self.pipe.batch(_INFO, self._source, lines)

    def _send(self, pending: _Pending) -> None:
        text = "".join(pending.parts)
        pending.parts, pending.chars = [], 0
        if text:
            pending.is_open = not text.endswith("\n")
            self.pipe.text(self._source, f"{os.getpid()}-{pending.thread}", text)


class LineStream(io.TextIOWrapper):
    """Replacement for sys.stdout or sys.stderr."""

    def __init__(self, sink: Sink, name: str, fd: int) -> None:
        super().__init__(
            _Buffer(_Raw(sink, name, fd)), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
        vars(self)["mode"] = "w"
        self.sink = sink
        self._is_detached = self._writes_through = False
        self._codec: tuple[str, str] | None = None  # None for UTF-8 that accepts any text

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self._is_detached:
            self._refuse_detached()
        if self._codec is None:
            self.sink.write(text)
        else:
            self.sink.write(text.encode(*self._codec).decode(self._codec[0], "backslashreplace"))
        if self._writes_through:
            self.sink.flush()
        return len(text)

    def flush(self) -> None:
        self._refuse_detached()
        self.sink.flush()

    def close(self) -> None:
        if not self._is_detached:
            self.sink.flush()

    def detach(self) -> Any:
        buffer = super().detach()
        self._is_detached = True
        return buffer

    def reconfigure(self, **options: Any) -> None:
        super().reconfigure(**options)
        errors = self.errors or "strict"
        is_own = codecs.lookup(self.encoding).name == "utf-8" and errors == "backslashreplace"
        self._codec = None if is_own else (self.encoding, errors)
        self._writes_through = self.write_through

    def _refuse_detached(self) -> None:
        if self._is_detached:
            raise ValueError("underlying buffer has been detached")


class _Buffer(io.BufferedWriter):
    """`sys.stdout.buffer`: keeps the order of bytes and text."""

    raw: _Raw

    def write(self, data: Any, /) -> int:
        super().flush()  # raises ValueError if it was detached
        content = memoryview(data).tobytes()
        self.raw.sink.write_bytes(content)
        return len(content)

    def flush(self) -> None:
        super().flush()
        self.raw.sink.flush()

    def close(self) -> None:
        self.flush()


class _Raw(io.RawIOBase):
    """`sys.stdout.buffer.raw`: sends bytes immediately."""

    def __init__(self, sink: Sink, name: str, fd: int) -> None:
        super().__init__()
        self.sink, self.name, self._fd = sink, name, fd
        self.mode = "wb"

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        content = memoryview(data).tobytes()
        self.sink.write_bytes(content)
        self.sink.flush()
        return len(content)

    def close(self) -> None:
        self.sink.flush()
