"""Child's end of its records pipe.

Each write(2) is one or more whole frames of at most PIPE_BUF bytes in all, which the kernel writes atomically: any
thread and any forked child of the experiment may write at any time, without a lock.

Descriptors 1 and 2 (sub-processes, C code) have their own pipes. A record that is written while those hold unread bytes
is preceded by a barrier, so that the reader keeps the order.

A full pipe makes the writer wait. A writer that is interrupted within a long record leaves it unfinished; its next
record has another serial number, by which the reader notices.
"""

from __future__ import annotations

import itertools
import os
import select
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec

from runs.child import jsonable
from runs.child.clocks import CLOCKS
from runs.child.unread import unread_in
from runs.exceptions import RunsError
from runs.lines.folding import cut, size_of
from runs.lines.records import BARRIER, FRAME_MAX_BYTES, LAST_PIECE, LINE, PIECE, RESULT, TEXT
from runs.states import ResultKind

_encode = msgspec.json.Encoder().encode
_METRIC = ResultKind.METRIC.value
_BARRIER_FRAME = b"%cnull\n" % BARRIER


class PipeClosed(RunsError):
    """Raised if the records pipe is broken."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"Cannot write to the supervisor's pipe ({error.strerror}). Did the experiment close file descriptors that"
            " it did not open?"
        )


class RecordPipe:
    """Write records. `line_max_bytes` limits a message and its metadata: a longer one is truncated, with a mark.

    `raw_fds` are the descriptors of raw output, whose order with the records is kept.
    """

    def __init__(
        self, fd: int, *, line_max_bytes: int, frame_max_bytes: int = 0, raw_fds: tuple[int, ...] = ()
    ) -> None:
        self.fd = fd
        self._unread = unread_in(raw_fds)
        self._wall = CLOCKS.wall
        self._line_max = line_max_bytes
        self._frame_max = frame_max_bytes or min(FRAME_MAX_BYTES, select.PIPE_BUF)
        self._whole_max = self._frame_max - 2  # without the letter and the newline
        self._serials = itertools.count(1)

    def line(self, level: int, source: str, message: str, metadata: dict[str, Any] | None = None) -> None:
        """Write one line, with any message and metadata. Raises PipeClosed."""
        try:
            if type(message) is not str:
                message = _text_of(message)
            body = self._body(level, source, message, metadata)
        except UnicodeEncodeError:
            message = _text_of(message)
            body = self._body(level, source, message, metadata)
        if len(body) <= self._whole_max:
            self._write(b"L%b\n" % body)
        else:
            self._send_long(LINE, self._fitting_line(body, level, source, message, metadata))

    def batch(self, level: int, source: str, messages: Iterable[str]) -> None:
        """Write many lines with the same time, several at once. Raises PipeClosed."""
        start = b"L" + _encode((CLOCKS.wall(), level, source))[:-1] + b","
        room = self._frame_max
        frames: list[bytes] = []
        size = 0
        for message in messages:
            frame = self._frame(start, message)
            if size + len(frame) > room or not frame:
                self._write(b"".join(frames))
                frames, size = [], 0
            if frame:
                frames.append(frame)
                size += len(frame)
            else:
                self.line(level, source, message)
        self._write(b"".join(frames))

    def _frame(self, start: bytes, message: str) -> bytes:
        """Encode a line of a batch. Empty if it does not fit into one frame or is not plain text."""
        try:
            frame = b"%b%b,null]\n" % (start, _encode(message)) if type(message) is str else b""
        except UnicodeEncodeError:
            return b""
        return frame if len(frame) <= self._frame_max else b""

    def text(self, source: str, writer: str, text: str) -> None:
        """Write text of a standard stream that is not a whole line, or redraws one. Raises PipeClosed."""
        room = max(self._line_max // 6, 1)  # JSON may need six bytes for one
        for start in range(0, len(text), room):
            self.send(TEXT, _encode((CLOCKS.wall(), source, writer, _text_of(text[start : start + room]))))

    def result(self, kind: str, key: str, step: int | None, value: bytes) -> None:
        """Write one result or metric. Its key and value (JSON) are valid. Raises PipeClosed."""
        self.send(RESULT, b"%b,%b]" % (_encode((CLOCKS.wall(), kind, key, step))[:-1], value))

    def metric(self, name: str, step: int | None, value: float) -> None:
        """Write one point of a metric. All values are valid, and `value` is finite. Raises PipeClosed."""
        self.send(RESULT, _encode((self._wall(), _METRIC, name, step, value)))

    def send(self, kind: int, body: bytes) -> None:
        """Write a record of any kind from its JSON. Raises PipeClosed."""
        if len(body) <= self._whole_max:
            self._write(b"%c%b\n" % (kind, body))
        else:
            self._send_long(kind, body)

    def _send_long(self, kind: int, body: bytes) -> None:
        if len(body) <= self._whole_max:
            return self._write(b"%c%b\n" % (kind, body))
        sender = b"%d-%d.%d" % (os.getpid(), threading.get_native_id(), next(self._serials))
        room = self._frame_max - len(sender) - 3
        record = b"%c%b" % (kind, body)
        for start in range(0, len(record), room):
            mark = PIECE if start + room < len(record) else LAST_PIECE
            self._write(b"%c%b:%b\n" % (mark, sender, record[start : start + room]))
        return None

    def _body(self, level: int, source: str, message: str, metadata: dict[str, Any] | None) -> bytes:
        if not metadata:
            return _encode((self._wall(), level, source, message, None))
        if jsonable.is_plain(metadata):
            with suppress(UnicodeEncodeError):
                return _encode((self._wall(), level, source, message, metadata))
        about = jsonable.lenient(metadata, max_bytes=2 * self._line_max)
        return b"%b,%b]" % (_encode((CLOCKS.wall(), level, source, message))[:-1], about)

    def _fitting_line(
        self, body: bytes, level: int, source: str, message: str, metadata: dict[str, Any] | None
    ) -> bytes:
        """Return the JSON of a line, with message and metadata cut to the limit. `body` is its uncut JSON."""
        if len(body) <= self._line_max:
            return body
        text = self._cut(message)
        about = jsonable.lenient(metadata, max_bytes=2 * self._line_max) if metadata else b"null"
        if len(about) > self._line_max:
            about = _encode({"cut": self._cut(about.decode())})
        return b"%b,%b]" % (_encode((CLOCKS.wall(), level, source, text))[:-1], about)

    def _cut(self, text: str) -> str:
        """Cut `text` to the limit, also as JSON, which may need six bytes for one."""
        if len(_encode(text)) <= self._line_max + 2:
            return text
        shorter = cut(text, self._line_max)
        if len(_encode(shorter)) > self._line_max + 100:
            shorter = cut(text[: self._line_max // 6], self._line_max // 6, size_of(text))
        return shorter

    def _write(self, data: bytes) -> None:
        if data:
            try:
                if self._unread():
                    os.write(self.fd, _BARRIER_FRAME)
                os.write(self.fd, data)
            except OSError as error:
                raise PipeClosed(error) from error


def _text_of(message: Any) -> str:
    """Convert a message to text that UTF-8 can encode."""
    try:
        return jsonable.clean(message if isinstance(message, str) else str(message))
    except Exception:
        return jsonable.shown(message)
