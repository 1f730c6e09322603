"""Raw output as lines: whatever bytes come, in whatever portions."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runs.lines.folding import Folding, LineFolder, cut
from runs.states import Source
from runs.supervisor.capture import RawStream


def limits(line_max_bytes: int = 1000) -> Folding:
    return Folding(line_max_bytes, redraw_every_s=1.0, rest_s=0.5, rows_max=10)


def stream(*, line_max_bytes: int = 1000) -> RawStream:
    return RawStream(Source.STDERR, limits(line_max_bytes))


def messages(found: list[bytes]) -> list[str]:
    return [json.loads(record[1:])[3] for record in found]


def read(*portions: bytes, every_s: float = 0.0, line_max_bytes: int = 1000) -> list[str]:
    """Return the lines of portions that arrive `every_s` apart, until the stream ends."""
    raw = stream(line_max_bytes=line_max_bytes)
    out = [record for n, portion in enumerate(portions) for record in raw.feed(portion, 0.0, 100 + n * every_s)]
    return messages(out + raw.close(0.0, 100 + len(portions) * every_s))


def test_a_line_has_its_time_level_and_source() -> None:
    record: list[Any] = json.loads(stream().feed(b"hello\n", 12.5, 1.0)[0][1:])

    assert record == [12.5, 20, "stderr", "hello", None]


def test_lines_are_put_together_from_portions() -> None:
    assert read(b"one\ntw", b"o\n", b"", b"\nthree") == ["one", "two", "", "three"]


def test_windows_newlines_are_newlines() -> None:
    assert read(b"one\r\ntwo\r", b"\nthree\r\n") == ["one", "two", "three"]


def test_invalid_and_torn_characters_are_shown() -> None:
    assert read(b"a\xffb\n", "ä".encode()[:1], "ä".encode()[1:] + b"\n", b"\xc3") == ["a\\xffb", "ä", "\\xc3"]


def test_nul_is_kept_for_whoever_stores_it() -> None:
    assert read(b"a\0b\n") == ["a\0b"]


def test_a_progress_bar_is_folded_to_its_last_state() -> None:
    bar = [b"\r%d %%" % percent for percent in range(101)]

    assert read(*bar, b"\n", every_s=0.001) == ["0 %", "100 %"]


def test_a_progress_bar_shows_one_state_a_second() -> None:
    bar = [b"%d\r" % number for number in range(40)]

    assert read(*bar, b"\n", every_s=0.1) == ["0", "10", "20", "30", "39"]


def test_a_state_that_was_shown_is_not_shown_again_at_the_end() -> None:
    assert read(b"done\r", b"\n", b"done\n") == ["done", "done"]


def test_a_line_that_is_too_long_is_cut_with_a_mark() -> None:
    assert read(*[b"x" * 10_000] * 10, b"\nnext\n") == ["x" * 1000 + " … [cut, 100000 bytes in all]", "next"]


def test_a_cut_never_splits_a_character() -> None:
    assert cut("ä" * 10, 5) == "ää … [cut, 20 bytes in all]"


def test_a_redrawn_line_without_an_end_takes_no_memory() -> None:
    folder = LineFolder(limits())
    for _ in range(1000):
        folder.feed("x" * 10_000, 1.0)
        folder.feed("\r\x1b[K" + "y" * 3, 1.0)

    assert folder.held_chars == 3
    assert folder.close() == ["yyy"]


def test_a_line_written_letter_by_letter_takes_no_memory() -> None:
    folder = LineFolder(limits(100_000))
    for _ in range(50_000):
        folder.feed("x", 1.0)

    assert len(folder._screen.rows[0].parts) <= 1025
    assert folder.close() == ["x" * 50_000]


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_bytes_become_lines_within_the_limit(portions: list[bytes]) -> None:
    for line in read(*portions, line_max_bytes=50):
        assert "\n" not in line
        assert len(line.encode()) <= 50 + len(" … [cut, 10000 bytes in all]".encode())


@given(
    st.text(alphabet=st.characters(blacklist_characters="\r\b\x1b", blacklist_categories=["Cs"]), max_size=300),
    st.integers(1, 40),
)
def test_without_carriage_returns_it_is_the_text_by_lines(text: str, step: int) -> None:
    data = text.encode()
    expected = text.split("\n") if text else [""]

    got = read(*[data[start : start + step] for start in range(0, len(data), step)], line_max_bytes=10_000)

    assert got == (expected if expected[-1] else expected[:-1])
