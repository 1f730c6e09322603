"""Parts of a run's page that change while it is open, rendered by the same templates on load and on each poll."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from django.http import HttpRequest
from django.template.loader import render_to_string

from runs import comparison
from runs.admin import permissions
from runs.admin.log_view import LinesQuery
from runs.admin.run_page.about import facts
from runs.admin.run_page.attempts import attempt_views
from runs.admin.run_page.head import head, ways_to_launch_again
from runs.admin.run_page.outcome import outcome, outcome_token
from runs.admin.timeline import timeline
from runs.lines import following
from runs.lines.reading import Follower, Read
from runs.live.markup import line_html
from runs.models import Attempt, Run

LOOK_LINES = 1_000
"""Maximum number of lines of one answer; the page polls again at once for more."""


class Part(TypedDict):
    token: str
    html: str


class Look(TypedDict):
    """Answer to a poll of an open page."""

    parts: dict[str, Part]
    """Changed parts."""
    lines: str
    """HTML of new lines."""
    seen: str
    """Lines that the page has, to be sent with the next poll."""
    more: bool
    """True if there are more lines."""
    done: bool
    """True if the run is final and the page has everything, so it need not poll again."""


def attempts_of(run: Run) -> list[Attempt]:
    return list(run.attempts.select_related("worker").order_by("number"))


def parts(
    request: HttpRequest, run: Run, attempts: Sequence[Attempt], known: frozenset[str] = frozenset()
) -> dict[str, Part]:
    """Render the parts with a token that is not in `known`. An expensive part is rendered only if it may differ."""
    makers: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
        "head": ("", lambda: _head(request, run, attempts)),
        "outcome": (outcome_token(run, attempts), lambda: {"outcome": outcome(run)}),
        "about": ("", lambda: {"facts": facts(run)}),
        "attempts": ("", lambda: _attempts(run, attempts)),
    }
    changed: dict[str, Part] = {}
    for name, (token, context) in makers.items():
        if token and f"{name}-{token}" in known:
            continue
        html = render_to_string(f"runs/parts/{name}.html", {"run": run, **context()}, request).strip()
        mark = f"{name}-{token or hashlib.sha256(html.encode()).hexdigest()[:16]}"
        if mark not in known:
            changed[name] = {"token": mark, "html": html}
    return changed


def _attempts(run: Run, attempts: Sequence[Attempt]) -> dict[str, Any]:
    return {"attempts": attempt_views(run, attempts), "timeline": timeline(run, attempts)}


def _head(request: HttpRequest, run: Run, attempts: Sequence[Attempt]) -> dict[str, Any]:
    return {
        "head": head(run, attempts),
        "verdict": comparison.verdict(run),
        "may_cancel": permissions.may_cancel(request, run),
        "again": ways_to_launch_again(run) if permissions.may_launch(request, run) else [],
        "may_delete": permissions.may_delete(request, run),
    }


def look(
    request: HttpRequest, run: Run, query: LinesQuery, seen: dict[int, int], known: frozenset[str], limit: int
) -> Look:
    """Return lines after `seen` and parts not in `known`. Lines are for pages without a stream of events."""
    follower = Follower(run.pk, seen=seen, wanted=query.wanted)
    read = follower.read(limit=limit) if limit else Read([], complete=False)
    return {
        "lines": "".join(line_html(line, query.wanted.text) for line in read.lines),
        "seen": following.write(follower.seen),
        "more": len(read.lines) == limit,
        "done": run.is_final and read.complete,
        "parts": parts(request, run, attempts_of(run), known),
    }
