"""Texts for people: durations, sizes, ages, progress, the status of a run in a sentence. No markup, no database."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.utils import timezone

from experiments import signal_names
from experiments.jsonvalues import unpack
from runs.states import FailureKind, Level, Status

NOTHING = "—"
GAPS_MAX = 10
"""Maximum number of gaps that are listed."""
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"} | {0x7F: "␡"}
_CONTROLS |= {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
_SURROGATES = {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}
_DIRECTIONS = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Characters that change the direction of the text after them: they can make a text look like another one."""
_CONTROLS |= _SURROGATES | _DIRECTIONS
_JSON_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *_SURROGATES, *_DIRECTIONS)}
EXACT_BELOW = 10**21
"""Integers below this are shown with all digits; larger ones are rounded."""
FORMULA_STARTS = ("=", "+", "-", "@", "'", "\t", "\r")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def printable(text: str) -> str:
    """Remove colours, and make control characters and lone surrogates, which UTF-8 cannot encode, visible."""
    return _COLOURS.sub("", text).translate(_CONTROLS)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Encode as JSON that a terminal shows as it is: control characters are escaped, other characters are not."""
    return json.dumps(value, indent=indent, ensure_ascii=False).translate(_JSON_ESCAPES)


def via(name: str) -> str:
    """Return the way by which a run was launched as people write it: admin, shell, Python, schedule."""
    return "Python" if name == "python" else name


def duration(seconds: float | None) -> str:
    """Format as `0.42 s`, `12.3 s`, `4 min 05 s`, `3 h 07 min` or `2 d 04 h`; a dash for None."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds from `start` to `end`; None if one of them is None."""
    return None if start is None or end is None else (end - start).total_seconds()


def size(count: float | None) -> str:
    """Format as `512 B`, `1.5 KiB` or `2.0 GiB`; a dash for None."""
    if count is None:
        return NOTHING
    value = float(count)
    for unit in _UNITS:
        if abs(value) < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{int(value)} B" if unit == "B" else f"{value:.1f} {unit}"


def number(value: float | None) -> str:
    """Round and format a number: `48,213`, `0.9722`, `1.25e-07`, `1.000e+400`; a dash for None."""
    if value is None:
        return NOTHING
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < EXACT_BELOW else f"{Decimal(value):.4g}"
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if 1e-4 <= abs(value) < 1e6:
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return f"{value:.4g}"


def cell(value: Any) -> str:
    """Format a stored value for a table cell; a dash for None."""
    value = unpack(value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NOTHING}[value]
    if isinstance(value, int | float):
        return number(value)
    return printable(value) if isinstance(value, str) else pretty(value, indent=None)


def csv_cell(text: str) -> str:
    """Escape a text for CSV: put an apostrophe before a text that a spreadsheet would take for a formula, and before a
    leading apostrophe. Numbers stay as they are.
    """
    return f"'{text}" if text[:1] in FORMULA_STARTS and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True


def exact_json(value: Any) -> str:
    """Encode as JSON on one line. Lone surrogates stay escaped: JSON can hold them, UTF-8 cannot."""
    text = json.dumps(value, ensure_ascii=False)
    return text if is_encodable(text) else json.dumps(value)


def is_encodable(text: str) -> bool:
    """Return False for text with lone surrogates, which neither a page nor a link can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def pretty(value: Any, *, indent: int | None = 2) -> str:
    """Format a stored value as JSON for people, or say why the encoder refuses it (nesting, too many digits)."""
    value = unpack(value)
    for spaces in (indent, None):
        try:
            return printable(json.dumps(value, indent=spaces, ensure_ascii=False))
        except RecursionError:  # without indentation the encoder is in C, which goes deeper
            continue
        except ValueError:
            return "Not shown: it contains a number with too many digits."
    return "Not shown: it is nested too deeply."


def age(moment: datetime | None, now: datetime) -> str:
    """Format as `12 s ago` or `in 4 min`, rounded so that the text of an open page rarely changes."""
    if moment is None:
        return NOTHING
    seconds = (now - moment).total_seconds()
    return f"{roughly(seconds)} ago" if seconds >= 0 else f"in {roughly(-seconds)}"


def roughly(seconds: float) -> str:
    """Format in whole units: `0 s`, `12 s`, `4 min`, `3 h`, `2 d`."""
    for unit, size_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size_s:
            return f"{int(seconds // size_s)} {unit}"
    return f"{int(seconds)} s"


def clock(moment: datetime | float) -> str:
    """Time of day with milliseconds in the server's time zone, of a datetime or of seconds since the epoch."""
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment, UTC)
    local = timezone.localtime(moment)
    return f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"


def date_time(moment: datetime | None) -> str:
    """Format as `2026-03-01 12:00:00 UTC`, in the server's time zone and with its label; empty for None."""
    return "" if moment is None else f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S %Z}"


def level_name(level: int) -> str:
    """Name of a level: `info` for 20; the number itself if it has no name."""
    return str(Level(level).label) if level in Level.values else str(level)


def level_of(name: str) -> int:
    """Parse a level: 20 for `info`, `INFO` or `20`. Raises ValueError that lists the levels."""
    text = name.strip().lower()
    for level in Level:
        if text in (level.label, str(level.value)):
            return level.value
    raise ValueError(f"{name!r} is no level; the levels are {', '.join(str(level.label) for level in Level)}")


def fraction(current: float | None, total: float | None) -> float | None:
    """Progress from 0 to 1; None while it is unknown."""
    if current is None or not total or total <= 0 or not math.isfinite(current) or not math.isfinite(total):
        return None
    return min(1.0, max(0.0, current / total))


def percent(part: float | None) -> str:
    """Format as `42 %`, rounded down; empty for None."""
    return "" if part is None else f"{math.floor(part * 100 + 1e-9)} %"


def progress_words(current: float | None, total: float | None, message: str) -> str:
    """Format progress as `12 of 40 · Throwing`; empty without any."""
    count = "" if current is None else number(current) + (f" of {number(total)}" if total else "")
    return " · ".join(part for part in (count, message) if part)


class ProgressStart(NamedTuple):
    """Progress from which the pace of the newest attempt is measured."""

    current: float
    at: datetime


def rate(status: str, current: float | None, start: ProgressStart | None, at: datetime) -> float | None:
    """Progress per second since `start`; None while it is unknown."""
    if status != Status.RUNNING or start is None or current is None or not math.isfinite(current):
        return None
    done, elapsed = current - start.current, (at - start.at).total_seconds()
    return done / elapsed if done > 0 and elapsed > 0 else None


def time_left(per_second: float | None, current: float | None, total: float | None) -> str:
    """Format as `about 2 min 05 s left`; empty while it is unknown."""
    if per_second is None or current is None or total is None or not math.isfinite(total) or current >= total:
        return ""
    return f"about {duration((total - current) / per_second)} left"


def pace(per_second: float | None) -> str:
    """Format as `4.9 per s`, or `12.0 s each` for slow work; empty while it is unknown."""
    if per_second is None:
        return ""
    return f"{per_second:,.1f} per s" if per_second >= 1 else f"{duration(1 / per_second)} each"


def completeness(stored: int, emitted: int | None, *, is_final: bool = False) -> str:
    """Format as `48,213 of 48,213 lines stored`, or only the stored lines while `emitted` is unknown."""
    if emitted is not None:
        return f"{stored:,} of {emitted:,} lines stored"
    lines = f"{stored:,} line{'' if stored == 1 else 's'} stored"
    return f"{lines}; the total is unknown (worker lost)" if is_final else f"{lines} so far"


def missing(gaps: Sequence[Sequence[int]]) -> str:
    """Format as `missing: 12 to 14, 20`; empty without gaps. Gaps are closed ranges."""
    shown = [f"{first:,}" if first == last else f"{first:,} to {last:,}" for first, last in gaps[:GAPS_MAX]]
    more = [f"and {len(gaps) - GAPS_MAX:,} more gaps"] if len(gaps) > GAPS_MAX else []
    return f"missing: {', '.join(shown + more)}" if shown else ""


def start(restored: Mapping[str, Any] | None) -> str:
    """Describe the start of an attempt. `restored` is its column."""
    if restored is None:
        return "from scratch"
    if not restored.get("attempt"):
        return "resumed from the last checkpoint of the retried run"
    return f"resumed from checkpoint {restored.get('number')} of attempt {restored['attempt']}"


def signal_name(value: int | None) -> str:
    """Name of a signal: `SIGKILL` for 9; empty for None."""
    return "" if value is None else signal_names.signal_name(value)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Columns and counts from which the sentence about a run is made."""

    status: Status
    failure_kind: str
    error: str
    attempt: int
    queue: str
    not_before: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    cancel_requested_by: str
    is_served: bool = True
    """True if a live worker listens to the queue of a pending run."""
    losses: int = 0
    """Number of lost attempts, if they make a pending run wait for a worker without other runs."""


def status_sentence(facts: RunFacts, now: datetime) -> str:
    """Describe the status and its reason in a sentence."""
    match facts.status:
        case Status.PENDING:
            return _pending(facts, now)
        case Status.RUNNING:
            return _running(facts, now)
        case Status.COMPLETED:
            return _completed(facts)
        case Status.FAILED:
            return _failed(facts)
        case Status.CANCELLED:
            return _cancelled(facts)


def error_beside(error: str, sentence: str) -> str:
    """Return the error, or nothing if the sentence about the run contains it."""
    return "" if error.strip().rstrip(".") in sentence else printable(error)


def _pending(facts: RunFacts, now: datetime) -> str:
    times = f"{facts.losses} time{'' if facts.losses == 1 else 's'}"
    alone = f"a worker without other runs, because the run was lost {times}" if facts.losses else ""
    if facts.not_before is not None and facts.not_before > now:
        starts = f"Starts {age(facts.not_before, now)}, not before {date_time(facts.not_before)}"
        return f"{starts}, on {alone}." if alone else f"{starts}."
    if not facts.is_served:
        waits = f"Waiting: no worker listens to queue “{facts.queue}”."
    elif alone:
        return f"Waiting for {alone}."
    else:
        waits = f"Waiting for a free worker of queue “{facts.queue}”."
    return f"Attempt {facts.attempt} did not finish. {waits}" if facts.attempt else waits


def _running(facts: RunFacts, now: datetime) -> str:
    if facts.cancel_requested_at is not None:
        by = f" by {facts.cancel_requested_by}" if facts.cancel_requested_by else ""
        return f"Cancelling… requested{by} {age(facts.cancel_requested_at, now)}."
    which = f" Attempt {facts.attempt}." if facts.attempt > 1 else ""
    return f"Running for {duration(between(facts.started_at, now))}.{which}"


def _completed(facts: RunFacts) -> str:
    late = " The cancel request came too late." if facts.cancel_requested_at else ""
    return f"Completed after {duration(between(facts.started_at, facts.finished_at))}.{late}"


def _failed(facts: RunFacts) -> str:
    is_known = facts.failure_kind in FailureKind.values
    reason = str(FailureKind(facts.failure_kind).label) if is_known else facts.failure_kind
    took = duration(between(facts.started_at, facts.finished_at))
    failed = "Failed before it started" if facts.started_at is None else f"Failed after {took}"
    return f"{failed}." if facts.failure_kind == FailureKind.ERROR else f"{failed}: {reason[:1].lower()}{reason[1:]}."


def _cancelled(facts: RunFacts) -> str:
    by = f" by {facts.cancel_requested_by}" if facts.cancel_requested_by else ""
    if facts.started_at is None:
        return f"Cancelled{by} before it started."
    took = duration(between(facts.cancel_requested_at, facts.finished_at))
    return f"Cancelled{by}; all processes exited {took} after the request."
