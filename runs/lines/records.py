r"""Format of the records of a run, from the child to the database. No other module defines it.

**On the child's pipe** a frame is one line of at most `FRAME_MAX_BYTES` (so that one write(2) is atomic, from any
thread or process), ended by a newline. Its first byte is its kind, the rest is compact JSON:

    L[time, level, source, message, metadata]   a line; metadata is an object or null
    T[time, source, writer, text]               text of stdout or stderr without a newline, that redraws, or that
                        continues such text; `writer` is the process and thread, whose texts are one stream
    R[time, kind, key, step, value]             a result or metric; step is an integer or null; NaN as the string "nan"
    P[current, total, message]                  progress; only the newest is kept
    C{"id", "sync", "state"}                    a checkpoint; `ack` on the control pipe acknowledges that it is stored
    A{"name", "path", "size_bytes", "sha256", "content_type"}   an artifact that is complete on disk
    H{"source_file", "source_digest", ...}      hello: the experiment is imported and about to run
    S{"at"}                                     the experiment has noticed the cancel request
    Bnull                                       barrier: the bytes that descriptors 1 and 2 hold now were written before
    E{"outcome", ...}                           the end, see `End`; later records are ignored
    +<sender>:<piece>  and  =<sender>:<piece>   a longer record in pieces, `=` the last; <sender> is
                        pid-thread.serial, which separates an abandoned record from the next one

A line of any other form is unreadable. It becomes a visible line of source `system`, and reading continues at the next
newline.

**After the window** an entry is `<attempt>:<seq>:<json>`, with the JSON of the L or R frame, not decoded. The
supervisor assigns `seq` in the order of arrival, from 1 per attempt and list. `runs.lines.blocks` puts several entries
into one value of a list in Redis.

Decoding of entries never raises: an unreadable one becomes a line (or result) that shows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import time as clock
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from runs.states import AttemptKey, Level, ResultKind, Source

FRAME_MAX_BYTES = 4096
"""PIPE_BUF on Linux. macOS guarantees only 512, which RecordPipe respects."""

LINE, RESULT, PROGRESS, CHECKPOINT, ARTIFACT, HELLO, SEEN, END, BARRIER = (ord(letter) for letter in "LRPCAHSEB")
TEXT = ord("T")
PIECE, LAST_PIECE = ord("+"), ord("=")

DEPTH_MAX = 200
"""Deepest nesting of JSON that is stored. It must stay below the limits of all JSON decoders, databases and pages."""


class Line(NamedTuple):
    """Line as it is shown and stored. `time` is seconds since the epoch, UTC."""

    attempt: int
    seq: int
    time: float
    level: int
    source: str
    message: str
    metadata: dict[str, Any] | None


class ResultRecord(NamedTuple):
    """Result or metric as it is shown and stored. `number` is set for finite metrics, `value` for results.

    A metric that is not finite has the value "nan", "inf" or "-inf", since not every database stores it as a number.
    """

    attempt: int
    seq: int
    time: float
    kind: str
    key: str
    step: int | None
    number: float | None
    value: Any


LineBody = tuple[float, int, str, str, dict[str, Any] | None]
"""Time, level, source, message and metadata of a line."""


class Text(NamedTuple):
    """Unfinished text of one writer. `time` is seconds since the epoch, UTC."""

    time: float
    source: str
    writer: str
    text: str


class End(TypedDict):
    """End of the experiment, as the child reports it."""

    outcome: Literal["returned", "raised", "failed", "exited", "cancelled", "config", "start", "retry_later"]
    error: NotRequired[str]
    """One sentence for users."""
    traceback: NotRequired[str]
    summary: NotRequired[Any]
    """Return value of `run`."""
    exit_code: NotRequired[int]
    """Code of `sys.exit`, for `exited`."""
    after_s: NotRequired[float]
    """For `retry_later`: pause before the next attempt."""


class ArtifactRecord(TypedDict):
    """File of the run. The bounds are those of the columns of `runs.models.Artifact`."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    path: Annotated[str, Meta(min_length=1, max_length=500)]
    """Relative to the run's folder."""
    size_bytes: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    sha256: Annotated[str, Meta(max_length=64)]
    content_type: Annotated[str, Meta(max_length=100)]


class CheckpointRecord(TypedDict):
    """State to store. `id` counts the checkpoints of the attempt."""

    id: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    sync: bool
    """True if the experiment waits until it is stored."""
    state: dict[str, Any]


class Hello(TypedDict):
    """Sent when the experiment is imported and about to run."""

    source_file: NotRequired[Annotated[str, Meta(max_length=4096)]]
    source_digest: NotRequired[Annotated[str, Meta(max_length=64)]]
    python: NotRequired[Annotated[str, Meta(max_length=200)]]
    import_s: NotRequired[float]
    """Duration of the import of the experiment."""
    wants_warm_start: NotRequired[bool | None]
    """`warm` of the experiment."""
    start: NotRequired[Annotated[str, Meta(max_length=1000)]]
    """Kind of its start, which the supervisor adds."""
    user: NotRequired[Annotated[str, Meta(max_length=100)]]
    """Unix user of its process, which the supervisor adds if it is not the worker's."""
    isolation: NotRequired[Annotated[str, Meta(max_length=500)]]
    """Isolation besides the user, which the supervisor adds."""


@dataclass(frozen=True, slots=True)
class Progress:
    current: float
    total: float | None
    message: str


_encoder = msgspec.json.Encoder()
_line_decoder = msgspec.json.Decoder(tuple[float, int, str, str, dict[str, Any] | None])
_ValidLevel = Literal[10, 20, 30, 40, 50]
_ValidSource = Literal["log", "stdout", "stderr", "logging", "warning", "system"]
_valid_line_decoder = msgspec.json.Decoder(tuple[float, _ValidLevel, _ValidSource, str, dict[str, Any] | None])
_result_decoder = msgspec.json.Decoder(tuple[float, str, str, int | None, Any])
_text_decoder = msgspec.json.Decoder(tuple[float, str, str, str])
_ESCAPED_NUL = rb"\u0000"
"""Form of NUL in JSON. There is no other."""
_LEVELS = frozenset(Level.values)
_SOURCES = frozenset(Source.values)
_TEXT_SOURCES = frozenset({Source.STDOUT.value, Source.STDERR.value})
WRITER_MAX_CHARS = 64


def encode(kind: int, payload: Any) -> bytes:
    """Encode a whole record, without its newline: the letter of its kind and the JSON of `payload`. Raises TypeError if
    that has no JSON form.
    """
    return bytes((kind,)) + _encoder.encode(payload)


def text(record: bytes) -> Text:
    """Decode a T record. Raises ValueError if it is invalid."""
    decoded = Text(*_text_decoder.decode(record[1:]))
    if decoded.source not in _TEXT_SOURCES or len(decoded.writer) > WRITER_MAX_CHARS or not math.isfinite(decoded.time):
        raise ValueError("no text of a standard stream")
    return decoded


def entry(key: AttemptKey, seq: int, record: bytes) -> bytes:
    """Make a buffer entry from an L or R record."""
    return b"%d:%d:%s" % (key.number, seq, record[1:])


def position(value: bytes) -> tuple[int, int]:
    """Return (attempt, seq) of a buffer entry. Raises ValueError if it is invalid."""
    attempt, seq, _ = value.split(b":", 2)
    return int(attempt), int(seq)


def decode_line(value: bytes) -> Line:
    """Decode a line from a buffer entry with a readable `position`. NUL becomes ␀, which all databases accept."""
    attempt, seq, body = value.split(b":", 2)
    try:
        time, level, source, message, metadata = _line_decoder.decode(body)
        if level not in _LEVELS or source not in _SOURCES or not math.isfinite(time):
            raise ValueError(f"level {level} or source {source} is none of ours")
        check_depth(metadata, body)
        if _ESCAPED_NUL in body:
            message, metadata = without_nul(message), without_nul(metadata)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        return unreadable(int(attempt), int(seq), body, str(error))
    return Line(int(attempt), int(seq), time, level, source, message, metadata or None)


def decode_lines(bodies: bytes) -> Sequence[LineBody]:
    """Decode the JSON of several lines, one on each line. Raises ValueError if `decode_line` would change one of them,
    or show it as unreadable, or if that is not certain.
    """
    if _ESCAPED_NUL in bodies:
        raise ValueError("a line contains NUL")
    try:
        lines: Sequence[LineBody] = _valid_line_decoder.decode_lines(bodies)
    except (RecursionError, msgspec.MsgspecError) as error:
        raise ValueError(str(error)) from error
    # The decoder accepts any whitespace between and within records: each line must hold one.
    if not len(lines) == bodies.count(b"]\n[") + 1 == bodies.count(b"\n") + 1:
        raise ValueError("a line does not hold one record")
    flat = len(lines) + sum(line[4] is not None for line in lines)
    if bodies.count(b"[") + bodies.count(b"{") >= flat + DEPTH_MAX:
        raise ValueError("a line may be nested too deep")
    return lines


def decode_result(value: bytes) -> ResultRecord:
    """Decode a result from a buffer entry with a readable `position`. An unreadable one gets the key `unreadable`."""
    attempt, seq, body = value.split(b":", 2)
    try:
        time, kind, key, step, content = _result_decoder.decode(body)
        check_depth(content, body)
        if kind == ResultKind.METRIC:
            number = float(content)
            finite = math.isfinite(number)
            return ResultRecord(
                int(attempt),
                int(seq),
                time,
                kind,
                without_nul(key),
                step,
                number if finite else None,
                None if finite else str(number),
            )
        if kind != ResultKind.RESULT:
            raise ValueError(f"kind {kind} is none of ours")
        return ResultRecord(int(attempt), int(seq), time, kind, without_nul(key), step, None, without_nul(content))
    except (ValueError, TypeError, ArithmeticError, RecursionError, msgspec.MsgspecError):
        text = body[:1000].decode(errors="replace").replace("\0", "␀")
        return ResultRecord(int(attempt), int(seq), clock(), ResultKind.RESULT, "unreadable", None, None, text)


def unreadable(attempt: int, seq: int, body: bytes, why: str) -> Line:
    """Return the line that replaces an unreadable one."""
    text = body[:1000].decode(errors="replace").replace("\0", "␀")
    return Line(attempt, seq, clock(), Level.WARNING, Source.SYSTEM, f"unreadable record ({why}): {text}", None)


def check_depth(value: Any, body: bytes) -> None:
    """Raise ValueError if a value is nested more than DEPTH_MAX deep. Its JSON is part of `body`."""
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return
    depth, containers = 0, [value] if isinstance(value, (dict, list)) else []
    while containers:
        depth += 1
        if depth > DEPTH_MAX:
            raise ValueError(f"nested more than {DEPTH_MAX} deep")
        items = (item for outer in containers for item in (outer.values() if isinstance(outer, dict) else outer))
        containers = [item for item in items if isinstance(item, (dict, list))]


def plain(text: str, max_chars: int = 1000) -> str:
    """Return the beginning of `text`, in characters that every database accepts."""
    return text[:max_chars].encode("utf-8", "backslashreplace").decode().replace("\0", "␀")


def without_nul(value: Any) -> Any:
    """Replace NUL in the strings of `value` by ␀: PostgreSQL's text and jsonb refuse NUL."""
    if isinstance(value, str):
        return value.replace("\0", "␀") if "\0" in value else value
    if isinstance(value, dict):
        return {without_nul(name): without_nul(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nul(item) for item in value]
    return value
