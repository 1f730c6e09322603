"""Render a line as HTML. Lines are data: their content becomes text, their colours become classes, never markup."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import escape
from typing import Any

from runs import formatting
from runs.lines.records import Line
from runs.states import Source

SHOWN_CHARS = 4_000
"""Longer messages are cut, with a link to the whole message."""
METADATA_CHARS = 200
"""Longer metadata is folded."""
_SGR = re.compile(r"\x1b\[([0-9;:]*)m")
_STYLES = {1: "bold", 2: "dim", 3: "italic", 4: "under", 7: "inverse", 9: "strike"}
_UNDO = {22: {"bold", "dim"}, 23: {"italic"}, 24: {"under"}, 27: {"inverse"}, 29: {"strike"}}


def line_html(line: Line, search: str = "") -> str:
    """Render one line as a list item, escaped, with matches of `search` marked."""
    place = f"{line.attempt}.{line.seq}"
    level = escape(formatting.level_name(line.level))
    moment = datetime.fromtimestamp(line.time, UTC).isoformat()
    number = place if line.attempt > 1 else line.seq
    message = coloured(line.message[:SHOWN_CHARS], search)
    source = "" if line.source == Source.LOG else f'<span class="run-source">{escape(line.source)}</span> '
    cut = len(line.message) - SHOWN_CHARS
    more = f'<a class="run-cut" href="../line/{place}/"> … {cut} characters more</a>' if cut > 0 else ""
    return (
        f'<li class="run-line run-level-{level}" id="L{place}" data-attempt="{line.attempt}" data-seq="{line.seq}">'
        f'<a class="run-no" href="?around={place}#L{place}" title="Link to line {line.seq} of attempt {line.attempt}">'
        f'{number}</a><time datetime="{moment}" title="{moment}">{formatting.clock(line.time)}</time>'
        f'<span class="run-level">{level}</span><span class="run-text">{source}'
        f'<span class="run-message">{message}</span>{more}{_metadata(line.metadata)}'
        "</span></li>"
    )


def coloured(text: str, search: str = "") -> str:
    """Escape `text`, turn terminal colours into spans, and make other control characters visible."""
    if "\x1b" not in text:
        return _marked(formatting.printable(text), search)
    pieces = _SGR.split(text)
    classes: set[str] = set()
    html = []
    for index, piece in enumerate(pieces):
        if index % 2:
            classes = _after(classes, piece)
        elif piece:
            shown = _marked(formatting.printable(piece), search)
            html.append(f'<span class="{" ".join(sorted(classes))}">{shown}</span>' if classes else shown)
    return "".join(html)


def _marked(text: str, search: str) -> str:
    """Escape `text`, with each match of `search` in a <mark>."""
    if not search:
        return escape(text)
    pieces = re.split(f"({re.escape(formatting.printable(search))})", text, flags=re.IGNORECASE)
    marks = ("{}", "<mark>{}</mark>")
    return "".join(marks[index % 2].format(escape(piece)) for index, piece in enumerate(pieces))


def _after(classes: set[str], codes: str) -> set[str]:
    """Return the classes after a colour sequence. Colours beyond the sixteen are mapped to the nearest of these."""
    numbers = [int(code[:4] or 0) for code in re.split("[;:]", codes)]
    styles = set(classes)
    while numbers:
        code = numbers.pop(0)
        if code == 0:
            styles = set()
        elif code in _STYLES:
            styles.add(f"ansi-{_STYLES[code]}")
        elif code in _UNDO:
            styles -= {f"ansi-{name}" for name in _UNDO[code]}
        elif code in (38, 48):
            styles = _with(styles, "fg" if code == 38 else "bg", _nearest(numbers))
        elif code in (39, 49):
            styles = _with(styles, "fg" if code == 39 else "bg", None)
        elif 30 <= code <= 37 or 90 <= code <= 97:
            styles = _with(styles, "fg", code % 10 + (8 if code >= 90 else 0))
        elif 40 <= code <= 47 or 100 <= code <= 107:
            styles = _with(styles, "bg", code % 10 + (8 if code >= 100 else 0))
    return styles


def _with(classes: set[str], ground: str, colour: int | None) -> set[str]:
    rest = {name for name in classes if not name.startswith(f"ansi-{ground}-")}
    return rest if colour is None else rest | {f"ansi-{ground}-{colour}"}


def _nearest(numbers: list[int]) -> int | None:
    """Consume the numbers after 38 or 48: `5;n` of 256 colours, or `2;r;g;b`."""
    kind = numbers.pop(0) if numbers else None
    if kind == 5 and numbers:
        number = numbers.pop(0)
        if number < 16:
            return number
        if number >= 232:
            return 0 if number < 238 else 8 if number < 248 else 7
        cube = number - 16
        return _of_rgb([cube // 36 * 51, cube // 6 % 6 * 51, cube % 6 * 51])
    if kind == 2 and len(numbers) >= 3:
        rgb, numbers[:3] = numbers[:3], []
        return _of_rgb(rgb)
    return None


def _of_rgb(rgb: list[int]) -> int:
    brightest = max(rgb)
    if brightest < 64:
        return 0
    return sum(1 << bit for bit, part in enumerate(rgb) if part > brightest * 0.6) + (8 if brightest > 200 else 0)


def _metadata(metadata: dict[str, Any] | None) -> str:
    if not metadata:
        return ""
    words = "  ".join(f"{formatting.printable(key)}={_compact(value)}" for key, value in metadata.items())
    if len(words) <= METADATA_CHARS:
        return f' <span class="run-meta">{escape(words)}</span>'
    whole = formatting.pretty(metadata)
    head = escape(words[: METADATA_CHARS // 2])
    return f'<details class="run-meta"><summary>{head} …</summary><pre>{escape(whole)}</pre></details>'


def _compact(value: Any) -> str:
    return formatting.printable(value) if isinstance(value, str) else formatting.pretty(value, indent=None)
