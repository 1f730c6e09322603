"""The lines on a run's page: which are asked for, and what is found. How one is shown is said in runs.live.markup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from django.http import QueryDict
from django.utils.safestring import SafeString, mark_safe

from runs import formatting
from runs.conf import runs_settings
from runs.lines import following, reading
from runs.lines.reading import Follower, Found, Place, Wanted
from runs.lines.records import Line
from runs.live.markup import line_html
from runs.models import Run
from runs.states import Level, Source

TEXT_MAX = 200


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

    @property
    def filter(self) -> dict[str, str]:
        level = formatting.level_name(self.wanted.level) if self.wanted.level else ""
        said = {"level": level, "source": self.wanted.source, "text": self.wanted.text}
        return {name: value for name, value in said.items() if value}

    def query(self, **place: str) -> str:
        """The query string of another place with the same filter."""
        return "?" + urlencode({**self.filter, **place})


@dataclass(frozen=True, slots=True)
class LinesPage:
    asked: LinesAsked
    lines: list[Line]
    seen: dict[int, int]
    """State of a follower that has had everything that is stored."""
    links: dict[str, str]
    """first, older, newer, newest → query string; what leads nowhere is missing."""
    stopped: str
    """The search's time was up at this line; empty: it was not."""

    @property
    def html(self) -> SafeString:
        return mark_safe("".join(map(line_html, self.lines)))  # noqa: S308  # escaped there, piece by piece


def asked(query: QueryDict, run: Run) -> LinesAsked:
    """Read the query; what cannot be read counts as not said, so that no link ever breaks a page."""
    wanted = Wanted(
        level=_level(query.get("level", "")),
        source=_source(query.get("source", "")),
        text=query.get("text", "").replace("\0", "")[:TEXT_MAX],
    )
    places = {name: _place(query.get(name, "")) for name in ("after", "before", "around")}
    go = query.get("go", "").strip()
    if go and not any(places.values()):
        places["around"] = _time(go, run) if ":" in go else _place(go.replace(",", ""))
    name = next((name for name, place in places.items() if place), None)
    return LinesAsked(wanted, **({name: places[name]} if name else {}))


def read(run_id: int, asked: LinesAsked) -> LinesPage:
    """The page of lines that is asked for."""
    budget_s = runs_settings().search_s
    follower = Follower(run_id)
    if asked.follows and not asked.wanted.is_searched:
        follower = Follower(run_id, wanted=asked.wanted)
        found = Found(follower.rewind(), None)
    else:
        follower.seen = dict(following.marks(run_id, Follower.column).upto)
        if asked.around:
            found = _around(run_id, asked.around, asked.wanted, budget_s)
        elif asked.after:
            found = reading.find(run_id, asked.after, asked.wanted, budget_s=budget_s)
        else:
            place = asked.before or _end(follower.seen)
            found = reading.find_back(run_id, place, asked.wanted, budget_s=budget_s) if place else Found([], None)
    stopped = str(found.stopped) if found.stopped else ""
    return LinesPage(asked, found.lines, follower.seen, _links(run_id, asked, found), stopped)


def _end(seen: Mapping[int, int]) -> Place | None:
    """After everything that is stored without a gap: what comes later is told by the stream."""
    stored = [(attempt, seq) for attempt, seq in seen.items() if seq]
    return Place(max(stored)[0], max(stored)[1] + 1) if stored else None


def _around(run_id: int, place: Place, wanted: Wanted, budget_s: float) -> Found:
    above = reading.find_back(run_id, place, wanted, limit=100, budget_s=budget_s / 2)
    below = reading.find(run_id, Place(place.attempt, place.seq - 1), wanted, limit=400, budget_s=budget_s / 2)
    return Found(above.lines + below.lines, below.stopped or above.stopped)


def _links(run_id: int, asked: LinesAsked, found: Found) -> dict[str, str]:
    links = {} if asked.follows else {"newest": asked.query()}
    if not found.lines:
        if found.stopped:
            links["older" if asked.follows or asked.before else "newer"] = asked.query(
                **{"before" if asked.follows or asked.before else "after": str(found.stopped)}
            )
        return links
    first, last = (Place(line.attempt, line.seq) for line in (found.lines[0], found.lines[-1]))
    cheap = Wanted(level=asked.wanted.level if asked.wanted.level >= Level.WARNING else 0)
    if reading.before(run_id, first, cheap, limit=1):
        links |= {"first": asked.query(after="1.0"), "older": asked.query(before=str(first))}
    if not asked.follows and reading.after(run_id, last, cheap, limit=1):
        links["newer"] = asked.query(after=str(last))
    return links


def _place(text: str) -> Place | None:
    try:
        return reading.place(text)
    except ValueError:
        return None


def _time(text: str, run: Run) -> Place | None:
    """`12:03:04` of the run's first day, or `2026-03-01 12:03:04`; UTC."""
    day = f"{run.started_at or run.created_at:%Y-%m-%d}"
    try:
        moment = datetime.fromisoformat(text if "-" in text else f"{day} {text}")
    except ValueError:
        return None
    return reading.at(run.pk, moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _level(text: str) -> int:
    try:
        level = formatting.level_of(text)
    except ValueError:
        return 0
    return 0 if level == Level.DEBUG else level


def _source(text: str) -> str:
    return text if text in Source.values else ""
