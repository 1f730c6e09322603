"""Conversion of captured text to lines: raw bytes of descriptors 1 and 2, and unfinished text of Python streams. Pure;
bounded for any input.
"""

from __future__ import annotations

import codecs

from runs.lines import records
from runs.lines.folding import Folding, LineFolder
from runs.lines.levels import level_of
from runs.states import Level, Source


class TextStream:
    """Convert the text of one source to L records.

    `at` is the time of the lines, in seconds since the epoch. `now` is monotonic seconds, and decides which redrawn and
    unfinished lines are due.
    """

    def __init__(self, source: Source, limits: Folding) -> None:
        self._source = source
        self._folder = LineFolder(limits)

    @property
    def is_empty(self) -> bool:
        return self._folder.is_empty

    @property
    def held_chars(self) -> int:
        return self._folder.held_chars

    @property
    def due_at(self) -> float:
        """Time at which `rest` has lines to return; infinite if it has none."""
        return self._folder.due_at

    def feed(self, text: str, at: float, now: float) -> list[bytes]:
        """Return the lines that `text` completes."""
        return self._records(self._folder.feed(text, now), at)

    def rest(self, at: float, now: float) -> list[bytes]:
        """Return the text that has not changed for long enough."""
        return self._records(self._folder.rest(now), at)

    def close(self, at: float) -> list[bytes]:
        """Return the remaining text, at the end."""
        return self._records(self._folder.close(), at)

    def _records(self, lines: list[str], at: float) -> list[bytes]:
        source = self._source.value
        if self._source is not Source.STDERR:
            return [records.encode(records.LINE, (at, Level.INFO.value, source, line, None)) for line in lines]
        return [
            records.encode(records.LINE, (at, int(level_of(line, Level.INFO)), source, line, None)) for line in lines
        ]


class RawStream:
    """Convert the raw bytes of one descriptor to L records. Invalid UTF-8 is shown as `\\xff`."""

    def __init__(self, source: Source, limits: Folding) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._text = TextStream(source, limits)

    @property
    def due_at(self) -> float:
        return self._text.due_at

    def feed(self, data: bytes, at: float, now: float) -> list[bytes]:
        return self._text.feed(self._decoder.decode(data), at, now)

    def rest(self, at: float, now: float) -> list[bytes]:
        return self._text.rest(at, now)

    def close(self, at: float, now: float) -> list[bytes]:
        return self._text.feed(self._decoder.decode(b"", final=True), at, now) + self._text.close(at)


class Writers:
    """Convert the unfinished text of the threads and processes of a run to L records, each on its own.

    Holds at most `writers_max` texts and `held_max_chars` characters. Above that, the oldest text becomes a line.
    """

    def __init__(self, limits: Folding, *, writers_max: int, held_max_chars: int) -> None:
        self._limits, self._writers_max, self._held_max = limits, writers_max, held_max_chars
        self._streams: dict[tuple[str, str], TextStream] = {}

    @property
    def due_at(self) -> float:
        """Time at which `rest` has lines to return; infinite if it has none."""
        return min((stream.due_at for stream in self._streams.values()), default=float("inf"))

    def feed(self, record: bytes, now: float) -> list[bytes]:
        """Return the lines that a T record completes. Raises ValueError for an invalid record."""
        text = records.text(record)
        key = (text.source, text.writer)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = TextStream(Source(text.source), self._limits)
        lines = stream.feed(text.text, text.time, now)
        if stream.is_empty:
            del self._streams[key]
        return lines + self._make_room(text.time)

    def rest(self, at: float, now: float) -> list[bytes]:
        """Return the text that has not changed for long enough."""
        return [line for stream in self._streams.values() for line in stream.rest(at, now)]

    def close(self, at: float) -> list[bytes]:
        """Return the remaining text, at the end."""
        lines = [line for stream in self._streams.values() for line in stream.close(at)]
        self._streams.clear()
        return lines

    def _make_room(self, at: float) -> list[bytes]:
        lines: list[bytes] = []
        while len(self._streams) > self._writers_max or self._held_chars > self._held_max:
            lines += self._streams.pop(next(iter(self._streams))).close(at)
        return lines

    @property
    def _held_chars(self) -> int:
        return sum(stream.held_chars for stream in self._streams.values())
