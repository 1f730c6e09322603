"""Worker's end of a child's records pipe: bytes in, whole records out. Pure.

For any input (torn, interleaved, forged or random bytes), `feed` never raises, never loses a valid frame that follows,
and holds at most `senders_max` unfinished records and the bytes of four of the largest size. An unreadable record
becomes a line of source `system` that shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import time as clock

from runs.lines import records
from runs.lines.records import FRAME_MAX_BYTES, LAST_PIECE, LINE, PIECE, RESULT, TEXT
from runs.states import Level, Source

_WHOLE = frozenset(b"LTRPCAHSEB")
_LETTERS = frozenset(b"%c" % kind for kind in _WHOLE)
_SHOWN_BYTES = 500
_SENDER_MAX_BYTES = 64


@dataclass(slots=True)
class _Unfinished:
    """Long record that has not arrived as a whole. `serial` separates a sender's records if it abandons one."""

    serial: bytes
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    is_dropped: bool = False


class Channel:
    """Split a child's bytes into records, in the order in which they are completed."""

    def __init__(self, *, record_max_bytes: int, line_max_bytes: int, senders_max: int) -> None:
        self._record_max = record_max_bytes
        self._line_max = 2 * line_max_bytes + FRAME_MAX_BYTES  # a message and its metadata, each cut by the child
        self._senders_max = senders_max
        self._held_max = 4 * record_max_bytes
        self._rest = b""
        self._skipping = False  # until the next newline
        self._unfinished: dict[bytes, _Unfinished] = {}
        self._held = 0
        self._garbage: list[bytes] = []
        self._garbage_frames = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the records (letter and JSON, no newline) that `data` completes. Pieces are joined."""
        frames = (self._rest + data).split(b"\n")
        self._rest = frames.pop()
        if self._skipping and frames:
            self._skipping = False
            frames[0] = b""
        out = frames if _are_whole(frames) else self._sorted_out(frames)
        if len(self._rest) >= FRAME_MAX_BYTES:
            if not self._skipping:
                self._reject(self._rest)
            self._rest, self._skipping = b"", True
        if self._garbage_frames:
            out.append(self._shown_garbage())
        return out

    def _sorted_out(self, frames: list[bytes]) -> list[bytes]:
        """Return the records among frames of any form."""
        out: list[bytes] = []
        for frame in frames:
            if frame and frame[0] in _WHOLE and len(frame) < FRAME_MAX_BYTES:
                if self._garbage_frames:
                    out.append(self._shown_garbage())
                out.append(frame)
            elif frame:
                self._take(frame, out)
        return out

    def close(self) -> list[bytes]:
        """Return the rest at end of file: an unfinished frame or record becomes a line that shows its beginning."""
        if self._rest and not self._skipping:
            self._reject(self._rest)
        for unfinished in self._unfinished.values():
            if not unfinished.is_dropped:
                self._reject(b"".join(unfinished.pieces))
        self._rest, self._held = b"", 0
        self._unfinished.clear()
        return [self._shown_garbage()] if self._garbage_frames else []

    def _take(self, frame: bytes, out: list[bytes]) -> None:
        """Take a frame that is a piece of a record, or unreadable."""
        colon = frame.find(b":", 1, _SENDER_MAX_BYTES)
        if frame[0] not in (PIECE, LAST_PIECE) or colon < 2 or len(frame) >= FRAME_MAX_BYTES:
            return self._reject(frame)
        unfinished = self._of_sender(frame[1:colon])
        self._add(unfinished, frame[colon + 1 :])
        if frame[0] == LAST_PIECE:
            self._forget(frame[1:colon])
            self._finish(unfinished, out)
        return None

    def _of_sender(self, name: bytes) -> _Unfinished:
        sender, _, serial = name.partition(b".")
        unfinished = self._unfinished.get(sender)
        if unfinished is not None and unfinished.serial != serial:
            self._abandon(sender)  # the sender was interrupted within a record, and started another
            unfinished = None
        if unfinished is None:
            if len(self._unfinished) >= self._senders_max:
                self._abandon(next(iter(self._unfinished)))
            unfinished = self._unfinished[sender] = _Unfinished(serial)
        return unfinished

    def _add(self, unfinished: _Unfinished, piece: bytes) -> None:
        if unfinished.is_dropped:
            return
        unfinished.pieces.append(piece)
        unfinished.size += len(piece)
        self._held += len(piece)
        if unfinished.size > self._record_max:
            self._drop(unfinished)
        while self._held > self._held_max:
            self._drop(max(self._unfinished.values(), key=lambda other: other.size))

    def _drop(self, unfinished: _Unfinished) -> None:
        """Drop the bytes of a record, but keep its entry, so that its further pieces are recognized."""
        self._reject(b"".join(unfinished.pieces))
        self._held -= unfinished.size
        unfinished.pieces, unfinished.size, unfinished.is_dropped = [], 0, True

    def _forget(self, name: bytes) -> None:
        sender = name.partition(b".")[0]
        self._held -= self._unfinished.pop(sender).size

    def _abandon(self, sender: bytes) -> None:
        unfinished = self._unfinished.pop(sender)
        self._held -= unfinished.size
        if not unfinished.is_dropped:
            self._reject(b"".join(unfinished.pieces))

    def _finish(self, unfinished: _Unfinished, out: list[bytes]) -> None:
        if unfinished.is_dropped:
            return None
        record = b"".join(unfinished.pieces)
        kind = record[0] if record else 0
        if kind not in _WHOLE or (kind in (LINE, TEXT, RESULT) and len(record) > self._line_max):
            return self._reject(record)
        if self._garbage_frames:
            out.append(self._shown_garbage())
        out.append(record)
        return None

    def _reject(self, frame: bytes) -> None:
        if not self._garbage_frames:
            self._garbage = [frame[:_SHOWN_BYTES], b"%d" % len(frame)]
        self._garbage_frames += 1

    def _shown_garbage(self) -> bytes:
        """Return one line for all unreadable frames in a row, however many."""
        beginning, size = self._garbage
        frames, self._garbage_frames, self._garbage = self._garbage_frames, 0, []
        text = beginning.decode("utf-8", "backslashreplace").replace("\0", "␀")
        more = f", and {frames - 1} more" if frames > 1 else ""
        message = f"unreadable record of {size.decode()} bytes{more}: {text}"
        return records.encode(LINE, (clock(), Level.WARNING.value, Source.SYSTEM.value, message, None))


def _are_whole(frames: list[bytes]) -> bool:
    """Return whether each frame is a whole record. Fast: nearly all reads hold nothing else."""
    return {frame[:1] for frame in frames} <= _LETTERS and max(map(len, frames), default=0) < FRAME_MAX_BYTES
