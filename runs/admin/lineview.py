"""The lines on a run's page: which are asked for, and how one is shown. Lines are data: they are shown as text only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from runs import lines, presenting
from runs.lines import Follower, Place, Wanted
from runs.records import Line
from runs.states import Level, Source

SHOWN_CHARS = 4_000
"""A longer message is cut on the page and linked in full."""
METADATA_CHARS = 200
"""Longer metadata is folded."""


@dataclass(frozen=True, slots=True)
class ShownLine:
    place: str
    seq: int
    attempt: int
    time: str
    iso: str
    level: str
    source: str
    message: str
    cut: int
    """Characters that are not shown."""
    metadata: str
    folded: str
    """Metadata that is too long for the line, as indented JSON."""


@dataclass(frozen=True, slots=True)
class LinesAsked:
    """What the query of a page asks for. At most one place is set; none: the newest, and follow."""

    wanted: Wanted
    after: Place | None = None
    before: Place | None = None
    around: Place | None = None

    @property
    def follows(self) -> bool:
        return not (self.after or self.before or self.around)

    def query(self, **place: str) -> str:
        """The query string of another place with the same filter."""
        level = presenting.level_name(self.wanted.level) if self.wanted.level else ""
        return "?" + urlencode({k: v for k, v in {"level": level, "source": self.wanted.source, **place}.items() if v})


@dataclass(frozen=True, slots=True)
class LinesPage:
    asked: LinesAsked
    lines: list[ShownLine]
    seen: dict[int, int]
    """State of a follower that has had these."""
    links: dict[str, str]
    """first, older, newer, newest → query string; what leads nowhere is missing."""


def asked(query: QueryDict) -> LinesAsked:
    """Read the query; what cannot be read counts as not said, so that no link ever breaks a page."""
    wanted = Wanted(level=_level(query.get("level", "")), source=_source(query.get("source", "")))
    places = {name: _place(query.get(name, "")) for name in ("after", "before", "around")}
    name = next((name for name, place in places.items() if place), None)
    return LinesAsked(wanted, **({name: places[name]} if name else {}))


def read(run_id: int, asked: LinesAsked) -> LinesPage:
    """The page of lines that is asked for."""
    follower = Follower(run_id, wanted=asked.wanted)
    if asked.follows:
        found = follower.rewind()
    elif asked.before:
        found = lines.before(run_id, asked.before, asked.wanted)
    elif asked.after:
        found = lines.after(run_id, asked.after, asked.wanted)
    elif asked.around:
        found = _around(run_id, asked.around, asked.wanted)
    else:
        found = []
    return LinesPage(asked, [shown(line) for line in found], follower.seen, _links(run_id, asked, found))


def _around(run_id: int, place: Place, wanted: Wanted) -> list[Line]:
    above = lines.before(run_id, place, wanted, limit=100)
    return above + lines.after(run_id, Place(place.attempt, place.seq - 1), wanted, limit=400)


def _links(run_id: int, asked: LinesAsked, found: list[Line]) -> dict[str, str]:
    links = {} if asked.follows else {"newest": asked.query()}
    if not found:
        return links
    first, last = (Place(line.attempt, line.seq) for line in (found[0], found[-1]))
    if lines.before(run_id, first, asked.wanted, limit=1):
        links |= {"first": asked.query(after="1.0"), "older": asked.query(before=str(first))}
    if not asked.follows and lines.after(run_id, last, asked.wanted, limit=1):
        links["newer"] = asked.query(after=str(last))
    return links


def shown(line: Line) -> ShownLine:
    """One line as the template shows it."""
    message = presenting.printable(line.message)
    metadata = "  ".join(f"{key}={compact(value)}" for key, value in (line.metadata or {}).items())
    long = len(metadata) > METADATA_CHARS
    return ShownLine(
        place=f"{line.attempt}.{line.seq}",
        seq=line.seq,
        attempt=line.attempt,
        time=presenting.clock(line.time),
        iso=datetime.fromtimestamp(line.time, UTC).isoformat(),
        level=presenting.level_name(line.level),
        source="" if line.source == Source.LOG else line.source,
        message=message[:SHOWN_CHARS],
        cut=max(0, len(message) - SHOWN_CHARS),
        metadata="" if long else presenting.printable(metadata),
        folded=presenting.printable(json.dumps(line.metadata, indent=2, ensure_ascii=False)) if long else "",
    )


def compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _place(text: str) -> Place | None:
    try:
        return lines.place(text)
    except ValueError:
        return None


def _level(text: str) -> int:
    try:
        level = presenting.level_of(text)
    except ValueError:
        return 0
    return 0 if level == Level.DEBUG else level


def _source(text: str) -> str:
    return text if text in Source.values else ""
