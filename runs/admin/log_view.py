"""Log lines on a run's page: the query, and the page of lines that it selects. `runs.live.markup` renders a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

from django.http import QueryDict
from django.utils import timezone
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
PLACES = ("after", "before", "around")


@dataclass(frozen=True, slots=True)
class LinesQuery:
    """Query of a page of lines. At most one place is set; without one the page shows the newest lines and follows."""

    wanted: Wanted
    after: Place | None = None
    before: Place | None = None
    around: Place | None = None
    problem: str = ""
    """Problem of the query, for people; the valid rest of it is used."""

    @property
    def follows(self) -> bool:
        return not (self.after or self.before or self.around)

    @property
    def filter(self) -> dict[str, str]:
        level = formatting.level_name(self.wanted.level) if self.wanted.level else ""
        values = {"level": level, "source": self.wanted.source, "text": self.wanted.text}
        return {name: value for name, value in values.items() if value}

    def link(self, **place: str) -> str:
        """Return the query string of another place with the same filter."""
        return "?" + urlencode({**self.filter, **place})


@dataclass(frozen=True, slots=True)
class LinesPage:
    query: LinesQuery
    lines: list[Line]
    seen: dict[int, int]
    """State of a follower that has read everything that is stored."""
    links: dict[str, str]
    """first, older, newer, newest → query string; places without lines are missing."""
    notice: str
    """Set if the search ran out of time."""
    matches: str
    """`12 matching lines`; empty without a filter."""

    @property
    def html(self) -> SafeString:
        text = self.query.wanted.text
        return mark_safe("".join(line_html(line, text) for line in self.lines))  # noqa: S308  # nosec B308  # escaped there

    def empty(self, *, is_final: bool) -> str:
        """Text in place of lines where there are none."""
        if self.query.filter:
            return "No matching lines."
        return "This run has no logs." if is_final else "No logs yet."


def parse(parameters: QueryDict, run: Run) -> LinesQuery:
    """Parse a query. An invalid part is named in `problem` and ignored, so that no link breaks a page."""
    given = {
        name: parameters.get(name, "").replace("\0", "")[:TEXT_MAX] for name in ("level", "source", "text", *PLACES)
    }
    level, source = _level(given["level"]), _source(given["source"])
    wanted = Wanted(level=level or 0, source=source or "", text=given["text"])
    problems = [
        f"There is no {name} “{given[name]}”."
        for name, value in (("level", level), ("source", source))
        if given[name] and value is None
    ]
    places = {name: _place(given[name]) for name in PLACES if given[name]}
    problems += [f"Invalid line “{given[name]}”. Use 500 or 2.500." for name, place in places.items() if not place]
    if (go := parameters.get("go", "").strip()[:TEXT_MAX]) and not any(places.values()):
        places["around"], problem = _jump(go, run)
        problems += [problem] if problem else []
    name = next((name for name, place in places.items() if place), None)
    return LinesQuery(wanted, **({name: places[name]} if name else {}), problem=" ".join(problems))


def read(run_id: int, query: LinesQuery) -> LinesPage:
    """Read the lines that the query selects."""
    budget_s = runs_settings().search_s
    if query.around and not reading.after(run_id, Place(query.around.attempt, query.around.seq - 1), limit=1):
        query = replace(query, around=None, problem=_no_such_line(run_id, query.around))
    follower = Follower(run_id)
    if query.follows and not query.wanted.is_searched:
        follower = Follower(run_id, wanted=query.wanted)
        found = Found(follower.rewind(), None)
    else:
        follower.seen = dict(following.marks(run_id, Follower.column).upto)
        found = _find(run_id, query, follower.seen, budget_s)
    notice = f"Search stopped at line {found.stopped} after {budget_s:g} s." if found.stopped else ""
    return LinesPage(
        query, found.lines, follower.seen, _links(run_id, query, found), notice, _matches(run_id, query, budget_s / 2)
    )


def _find(run_id: int, query: LinesQuery, seen: Mapping[int, int], budget_s: float) -> Found:
    if query.around:
        return _around(run_id, query.around, query.wanted, budget_s)
    if query.after:
        return reading.find(run_id, query.after, query.wanted, budget_s=budget_s)
    place = query.before or _end(seen)
    return reading.find_back(run_id, place, query.wanted, budget_s=budget_s) if place else Found([], None)


def _matches(run_id: int, query: LinesQuery, budget_s: float) -> str:
    if query.wanted.is_everything:
        return ""
    lines, is_complete = reading.count(run_id, query.wanted, budget_s=budget_s)
    return f"{'' if is_complete else 'at least '}{lines:,} matching line{'' if lines == 1 else 's'}"


def _end(seen: Mapping[int, int]) -> Place | None:
    """Return the place after everything that is stored without a gap. The stream sends what follows."""
    stored = [(attempt, seq) for attempt, seq in seen.items() if seq]
    return Place(max(stored)[0], max(stored)[1] + 1) if stored else None


def _around(run_id: int, place: Place, wanted: Wanted, budget_s: float) -> Found:
    above = reading.find_back(run_id, place, wanted, limit=100, budget_s=budget_s / 2)
    below = reading.find(run_id, Place(place.attempt, place.seq - 1), wanted, limit=400, budget_s=budget_s / 2)
    return Found(above.lines + below.lines, below.stopped or above.stopped)


def _links(run_id: int, query: LinesQuery, found: Found) -> dict[str, str]:
    links = {} if query.follows else {"newest": query.link()}
    if not found.lines:
        if found.stopped:
            links["older" if query.follows or query.before else "newer"] = query.link(
                **{"before" if query.follows or query.before else "after": str(found.stopped)}
            )
        return links
    first, last = (Place(line.attempt, line.seq) for line in (found.lines[0], found.lines[-1]))
    cheap = Wanted(level=query.wanted.level if query.wanted.level >= Level.WARNING else 0)
    if reading.before(run_id, first, cheap, limit=1):
        links |= {"first": query.link(after="1.0"), "older": query.link(before=str(first))}
    if not query.follows and reading.after(run_id, last, cheap, limit=1):
        links["newer"] = query.link(after=str(last))
    return links


def _jump(text: str, run: Run) -> tuple[Place | None, str]:
    """Parse an entered place. Returns it, or an error message."""
    if ":" not in text:
        place = _place(text.replace(",", ""))
        return place, "" if place else _invalid(text)
    zone = timezone.get_current_timezone()
    day = f"{(run.started_at or run.created_at).astimezone(zone):%Y-%m-%d}"
    try:
        moment = datetime.fromisoformat(text if "-" in text else f"{day} {text}")
        moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        place = reading.at(run.pk, moment)
    except (ValueError, OverflowError):
        return None, _invalid(text)
    if place and (last := next(iter(reading.before(run.pk, limit=1)), None)) and last.time < moment.timestamp():
        return None, f"There is no line at {text} or later. The last one is from {formatting.clock(last.time)}."
    return place, ""


def _invalid(text: str) -> str:
    return f"Invalid line or time “{text}”. Use 500, 2.500, 12:34:56 or 2026-03-01 12:34:56."


def _no_such_line(run_id: int, place: Place) -> str:
    last = reading.last_place(run_id)
    end = f" The last one is {last if last.attempt > 1 else last.seq}." if last else ""
    return f"There is no line {place if place.attempt > 1 else place.seq}.{end}"


def _place(text: str) -> Place | None:
    try:
        return reading.place(text)
    except ValueError:
        return None


def _level(text: str) -> int | None:
    try:
        level = formatting.level_of(text)
    except ValueError:
        return None
    return 0 if level == Level.DEBUG else level


def _source(text: str) -> str | None:
    return text if text in Source.values else None
