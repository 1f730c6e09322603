"""A line as HTML: colours become classes, everything else is text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.lines.records import Line
from runs.live.markup import SHOWN_CHARS, coloured, line_html


def line(message: str = "x", metadata: dict[str, object] | None = None) -> Line:
    return Line(1, 7, 1e9, 20, "stdout", message, metadata)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain & <b>", "plain &amp; &lt;b&gt;"),
        ("\x1b[31mred\x1b[0m on", '<span class="ansi-fg-1">red</span> on'),
        ("\x1b[1;92mok\x1b[22m!", '<span class="ansi-bold ansi-fg-10">ok</span><span class="ansi-fg-10">!</span>'),
        ("\x1b[38;5;196mx\x1b[39my", '<span class="ansi-fg-9">x</span>y'),
        ("\x1b[48;2;0;0;255mx", '<span class="ansi-bg-12">x</span>'),
        ("\x1b[31m\x1b[32mx\x1b[m", '<span class="ansi-fg-2">x</span>'),
        ("\x1b[2Kgone", "␛[2Kgone"),
        ("\x1b[38mx", "x"),
    ],
)
def test_colours_become_classes(text: str, html: str) -> None:
    assert coloured(text) == html


@given(st.text(st.sampled_from("\x1b[;:m0123456789<>&\"'abc\n\0"), max_size=60))
def test_whatever_is_in_a_line_is_text(text: str) -> None:
    html = coloured(text)
    assert "\x1b" not in html
    assert re.fullmatch(r'(?:<span class="[a-z0-9 -]+">|</span>|&[a-z#0-9x]+;|[^<>&"])*', html)


def test_a_line_has_its_address_and_its_source() -> None:
    html = line_html(line('<img src="x">'))
    assert 'id="L1.7"' in html
    assert "stdout" in html
    assert "<img" not in html


def test_a_long_message_is_cut_and_long_metadata_is_folded() -> None:
    html = line_html(line("x" * (SHOWN_CHARS + 5), {"a": ["y"] * 100}))
    assert "… 5 characters more" in html
    assert "<details" in html
    assert 'class="run-meta">a=1' in line_html(line(metadata={"a": 1}))
