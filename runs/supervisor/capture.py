"""What sub-processes and C code write to descriptors 1 and 2, as lines. Pure; bounded whatever comes in."""

from __future__ import annotations

import codecs

from runs.lines import records
from runs.lines.folding import LineFolder
from runs.states import Level, Source


class RawStream:
    """Raw bytes of one descriptor → L records. Invalid UTF-8 is shown as `\\xff`, carriage returns are folded."""

    def __init__(self, source: Source, level: Level, *, line_max_bytes: int, redraw_every_s: float) -> None:
        self._source, self._level = str(source.value), int(level)
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._folder = LineFolder(line_max_bytes=line_max_bytes, redraw_every_s=redraw_every_s)

    def feed(self, data: bytes, now: float) -> list[bytes]:
        """The lines that `data` completes; `now` is seconds since the epoch."""
        return self._records(self._folder.feed(self._decoder.decode(data), now), now)

    def close(self, now: float) -> list[bytes]:
        """The rest, at end of file."""
        lines = self._folder.feed(self._decoder.decode(b"", final=True), now) + self._folder.close()
        return self._records(lines, now)

    def _records(self, lines: list[str], now: float) -> list[bytes]:
        return [records.encode(records.LINE, (now, self._level, self._source, line, None)) for line in lines]
