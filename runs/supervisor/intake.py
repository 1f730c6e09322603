"""Intake: read the child's pipes, and pass its records to the window and the recorder, in one order."""

from __future__ import annotations

import fcntl
import logging
import os
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

from runs.conf import RunsSettings
from runs.forkserver.client import Child
from runs.lines import control_records, records
from runs.lines.buffer import Stream
from runs.lines.folding import Folding
from runs.lines.records import ArtifactRecord, End, Hello, Progress
from runs.states import Level, Source
from runs.supervisor.capture import RawStream, Writers
from runs.supervisor.channel import Channel
from runs.supervisor.recorder import RunRecords
from runs.supervisor.timestamps import Timestamp
from runs.supervisor.window import Window

logger = logging.getLogger(__name__)

_ONLY_LINES = {records.LINE}

SHOWN_BYTES = 200
"""Number of bytes shown of a record that cannot be read."""


@dataclass(slots=True)
class ChildState:
    """State of the child, from its records. Times are monotonic seconds."""

    last_sign_at: float = field(default_factory=time.monotonic)
    last_line_at: float | None = None
    last_progress_at: float | None = None
    started_at: float | None = None
    cancel_seen: bool = False
    end: End | None = None
    end_refusal: str = ""
    """Why its report of the end could not be read; empty if it could."""
    ended_at: float | None = None


class Intake:
    """Reads the pipes of one child through the selector of its watch loop."""

    def __init__(
        self, child: Child, conf: RunsSettings, window: Window, writes: RunRecords, selector: selectors.BaseSelector
    ) -> None:
        self._child, self._conf, self._window, self._writes, self._selector = child, conf, window, writes, selector
        self._channel = Channel(
            record_max_bytes=conf.record_max_bytes,
            line_max_bytes=conf.line_max_bytes,
            senders_max=conf.channel_senders_max,
        )
        folding = Folding(conf.line_max_bytes, conf.redraw_every_s, conf.rest_s, conf.redraw_rows_max)
        self._raw = {
            child.stdout_fd: RawStream(Source.STDOUT, folding),
            child.stderr_fd: RawStream(Source.STDERR, folding),
        }
        self._writers = Writers(folding, writers_max=conf.channel_senders_max, held_max_chars=4 * conf.record_max_bytes)
        # Records first: one that was written after raw output has a barrier before it.
        self._pipes = [child.records_fd, child.stdout_fd, child.stderr_fd]
        self._open = set(self._pipes)
        self._listening = False
        self._is_pipe_large = not hasattr(fcntl, "F_SETPIPE_SZ")
        self._bytes_read = 0
        """Number of bytes of records in the last read."""
        self.state = ChildState()

    def listen_while_there_is_room(self) -> None:
        """Register the pipes, or unregister them while the window is full: then the experiment waits."""
        room = self._window.has_room and self._writes.has_room
        if not room:
            self.state.last_sign_at = time.monotonic()  # not stalled: its pipes are not read
        if room == self._listening:
            return
        self._listening = room
        for fd in self._open:
            if room:
                self._selector.register(fd, selectors.EVENT_READ)
            else:
                self._selector.unregister(fd)

    def read(self, ready: set[int]) -> None:
        """Take what the ready ones of the pipes have, some of it at once."""
        self._bytes_read = 0
        for fd in self._pipes:
            if fd in ready and fd in self._open:  # a barrier may have read it to its end
                self._read(fd)

    @property
    def pause_s(self) -> float:
        """Return the pause before the next read: with many records, fewer and larger reads cost less.

        None after a read of half the pipe, which is large already.
        """
        is_small = self._conf.gather_above_bytes <= self._bytes_read < self._conf.busy_pipe_bytes // 2
        return self._conf.gather_s if is_small else 0.0

    @property
    def rest_at(self) -> float:
        """Return when `rest` has something to do; infinite while the pipes are not read."""
        if not self._listening:
            return float("inf")
        return min(self._writers.due_at, *(raw.due_at for raw in self._raw.values()))

    def rest(self) -> None:
        """Add unfinished and redrawn text that has not changed for a while as lines."""
        at, now = time.time(), time.monotonic()
        if self.rest_at <= now:
            for raw in self._raw.values():
                self._add(raw.rest(at, now), [])
            self._add(self._writers.rest(at, now), [])

    def read_the_rest(self, relieve: Callable[[], None]) -> None:
        """Read the pipes to their ends, after every process has exited. `relieve` makes room in the window."""
        for fd in self._pipes:
            while fd in self._open and self._read(fd):
                if not (self._window.has_room and self._writes.has_room):
                    relieve()
        for stream in self._raw.values():
            self._window.add(Stream.LINES, stream.close(time.time(), time.monotonic()))
        self._take(self._channel.close())
        self._window.add(Stream.LINES, self._writers.close(time.time()))

    def _read(self, fd: int) -> bool:
        try:
            data = os.read(fd, self._conf.read_bytes)
        except BlockingIOError:
            return False
        if not data:
            self._open.discard(fd)
            if self._listening:
                self._selector.unregister(fd)
            return False
        self.state.last_sign_at = time.monotonic()
        if fd in self._raw:
            self.state.last_line_at = time.monotonic()
            self._window.add(Stream.LINES, self._raw[fd].feed(data, time.time(), time.monotonic()))
        else:
            self._bytes_read += len(data)
            self._take(self._channel.feed(data))
            if not self._is_pipe_large and len(data) >= self._conf.gather_above_bytes:
                self._enlarge_pipe(fd)
        return True

    def _enlarge_pipe(self, fd: int) -> None:
        self._is_pipe_large = True
        with suppress(OSError):  # beyond the limits of this user
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, self._conf.busy_pipe_bytes)

    def _take(self, arrived: list[bytes]) -> None:
        if {record[0] for record in arrived} == _ONLY_LINES:
            return self._add(arrived, [])
        lines: list[bytes] = []
        results: list[bytes] = []
        for record in arrived:
            kind = record[0]
            if kind == records.LINE:
                lines.append(record)
            elif kind == records.TEXT:
                lines += self._text(record)
            elif kind == records.RESULT:
                results.append(record)
            else:
                if kind in (records.CHECKPOINT, records.BARRIER):  # earlier records first
                    self._add(lines, results)
                    lines, results = [], []
                lines += self._control(kind, record)
        return self._add(lines, results)

    def _add(self, lines: list[bytes], results: list[bytes]) -> None:
        if lines:
            self.state.last_line_at = time.monotonic()
        self._window.add(Stream.LINES, lines)
        self._window.add(Stream.RESULTS, results)

    def _text(self, record: bytes) -> list[bytes]:
        """Return the lines that a T record completes. An invalid record becomes a line that shows it."""
        try:
            return self._writers.feed(record, time.monotonic())
        except (ValueError, RecursionError) as error:
            return self._refuse(records.TEXT, record, str(error))

    def _control(self, kind: int, record: bytes) -> list[bytes]:
        """Handle a control record. One that cannot be handled, for any reason, becomes a line that shows it."""
        try:
            self._take_control(kind, record)
        except control_records.UnreadableRecord as error:
            return self._refuse(kind, record, str(error))
        except Exception as error:  # no record of a child may end its supervisor
            logger.exception("Cannot handle a record of kind %c", kind)
            return self._refuse(kind, record, f"{type(error).__name__}: {error}")
        return []

    def _refuse(self, kind: int, record: bytes, why: str) -> list[bytes]:
        if kind == records.CHECKPOINT and (number := control_records.checkpoint_id(record)) is not None:
            self._writes.refuse_checkpoint(number, f"The checkpoint could not be stored: {why}")
        if kind == records.END:
            self.state.end_refusal = why
        shown = record[:SHOWN_BYTES].decode(errors="backslashreplace").replace("\0", "␀")
        return [system_line(Level.WARNING, f"unreadable record ({why}): {shown}")]

    def _take_control(self, kind: int, record: bytes) -> None:
        writes = self._writes
        if kind == records.BARRIER:
            for fd in self._open & self._raw.keys():
                self._read(fd)
        elif kind == records.PROGRESS:
            self._take_progress(control_records.progress(record))
        elif kind == records.CHECKPOINT:
            writes.checkpoint(control_records.checkpoint(record))
        elif kind == records.ARTIFACT:
            self._take_artifact(control_records.artifact(record))
        elif kind == records.HELLO and self.state.started_at is None:
            self._take_hello(control_records.hello(record))
        elif kind == records.SEEN and not self.state.cancel_seen:
            self.state.cancel_seen = True
            writes.mark(cancel_seen_at=Timestamp.now())
        elif kind == records.END and self.state.end is None:
            self.state.end = self._redacted_end(control_records.end(record))
            self.state.ended_at = time.monotonic()

    def _take_progress(self, progress: Progress) -> None:
        self.state.last_progress_at = time.monotonic()
        if redactor := self._window.redactor:
            progress = replace(progress, message=redactor.cut_text(progress.message))
        self._writes.progress(progress)

    def _take_artifact(self, artifact: ArtifactRecord) -> None:
        """Store an artifact; refuse one whose name holds a secret, since it is the name of a file."""
        redactor = self._window.redactor
        if redactor and redactor.has("\n".join((artifact["name"], artifact["path"], artifact["content_type"]))):
            text = f"The artifact {artifact['name']} is not stored: its name contains a secret. Its file is kept."
            self._add([system_line(Level.WARNING, text)], [])
        else:
            self._writes.artifact(artifact)

    def _redacted_end(self, end: End) -> End:
        if redactor := self._window.redactor:
            texts: dict[str, Any] = {
                name: redactor.cut_text(end[name]) for name in ("error", "traceback") if name in end
            }
            if "summary" in end:
                texts["summary"] = redactor.value(end["summary"])
            end = cast(End, {**end, **texts})
        return end

    def _take_hello(self, hello: Hello) -> None:
        self.state.started_at = time.monotonic()
        self._writes.mark(started_at=Timestamp.now())
        import_s, warm = hello.pop("import_s", 0.0), hello.pop("wants_warm_start", False)
        if self._child.start:
            hello["start"] = self._child.start
        _set_user(hello, self._child)
        self._writes.provenance(hello)
        if warm or (warm is None and import_s >= self._conf.warm_import_min_s):
            self._child.keep_warm(is_explicit=bool(warm))


def _set_user(hello: Hello, child: Child) -> None:
    """Set the user and isolation of the child, whatever it reported."""
    hello.pop("user", None)
    hello.pop("isolation", None)
    if child.account:
        hello["user"] = child.account
    if child.isolation:
        hello["isolation"] = child.isolation


def system_line(level: Level, message: str) -> bytes:
    """Encode a message of Athanor itself as an L record."""
    return records.encode(records.LINE, [time.time(), int(level), Source.SYSTEM.value, message, None])
