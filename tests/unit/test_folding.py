"""Redrawn text is folded as a terminal shows it, unfinished text becomes a line once it is at rest."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.lines.folding import Folding, LineFolder

LIMITS = Folding(line_max_bytes=1000, redraw_every_s=1.0, rest_s=0.5, rows_max=10)


def shown(*texts: str) -> list[str]:
    """Return the lines of texts that arrive at once."""
    folder = LineFolder(LIMITS)
    return [line for text in texts for line in folder.feed(text, 100.0)] + folder.close()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("long text\rab", ["long text", "abng text"]),
        ("50%\b\b\b99%", ["99%"]),
        ("abc\r\x1b[Kx", ["abc", "x"]),
        ("abc\x1b[2K\rx", ["x"]),
        ("abc\x1b[2Dx", ["axc"]),
        ("ab\x1b[5Gx", ["ab  x"]),
        ("bar\r   \r", ["bar"]),
        ("bar\r   \rnext\n", ["bar", "next"]),
        ("\x1b[?25lspin\x1b[?25h\n", ["spin"]),
        ("\x1b[31mred\x1b[0m text\n", ["\x1b[31mred\x1b[0m text"]),
        ("\x1b[31mred\r\x1b[32mtop", ["\x1b[31mred", "\x1b[32mtop"]),
        ("one\ntwo\n\x1b[2A1\n2\n", ["one", "two", "1", "2"]),
        ("\x1b[0m", []),
        ("\n\n", ["", ""]),
        ("a\x1b", ["a\x1b"]),
    ],
)
def test_it_is_what_a_terminal_shows(text: str, lines: list[str]) -> None:
    assert shown(text) == lines
    assert shown(*text)[-1:] == lines[-1:]


def nested_bars(steps: int, every_s: float) -> tuple[list[str], float]:
    """Lines of an outer and an inner bar, drawn as tqdm draws them."""
    folder, now, lines = LineFolder(LIMITS), 100.0, []
    for outer in range(steps):
        for inner in range(steps):
            for text in (f"\router {outer}", "\n", f"\rinner {inner}", "\x1b[A"):
                lines += folder.feed(text, now)
            now += every_s
    return lines + folder.feed("\n\n", now) + folder.close(), now - 100.0


def test_nested_bars_are_one_line_of_each_a_second() -> None:
    lines, took_s = nested_bars(steps=10, every_s=0.03)

    assert took_s == pytest.approx(3.0)
    assert len(lines) <= 9
    assert {"outer 9", "inner 9"} <= set(lines[-2:])


def test_unfinished_text_is_returned_at_rest_and_again_when_it_grew() -> None:
    folder = LineFolder(LIMITS)

    assert folder.feed("loading", 100.0) == []
    assert folder.due_at == 100.5
    assert (folder.rest(100.4), folder.rest(100.5)) == ([], ["loading"])
    assert (folder.due_at, folder.rest(200.0)) == (float("inf"), [])
    assert folder.feed(" done\n", 300.0) == ["loading done"]


def test_text_that_was_returned_is_not_repeated_at_its_newline() -> None:
    folder = LineFolder(LIMITS)
    folder.feed("waiting", 100.0)

    assert folder.rest(101.0) == ["waiting"]
    assert folder.feed("\nnext\n", 102.0) == ["next"]


def test_text_that_never_rests_is_returned_at_ever_longer_intervals() -> None:
    folder, times = LineFolder(LIMITS), []
    for tenth in range(6000):
        now = 100 + tenth / 10
        folder.feed(".", now)
        if folder.rest(now):
            times.append(now)

    assert len(times) < 20
    assert times[0] <= 101.1
    assert all(later - earlier >= 1 for earlier, later in pairwise(times))


@given(st.lists(st.text(alphabet="ab\r\n\b\x1b[0129;?ABCDEFGHJKm ", max_size=60), max_size=30))
def test_any_controls_stay_within_the_limits(texts: list[str]) -> None:
    folder = LineFolder(LIMITS)
    for number, text in enumerate(texts):
        for line in folder.feed(text, float(number)) + folder.rest(number + 0.9):
            assert "\n" not in line
        assert folder.held_chars <= LIMITS.line_max_bytes
        assert len(folder._screen.rows) <= LIMITS.rows_max
    folder.close()
    assert folder.is_empty
