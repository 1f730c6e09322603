"""Formats of values for people."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runs import formatting
from runs.states import Level, Status

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
FACTS = formatting.RunFacts(
    status=Status.RUNNING,
    failure_kind="",
    error="",
    attempt=1,
    queue="runs",
    not_before=None,
    started_at=NOW - timedelta(seconds=90),
    finished_at=None,
    cancel_requested_at=None,
    cancel_requested_by="",
)

ALONE = "a worker without other runs, because the run was lost 2 times."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (0, "0.00 s"),
        (-3, "0.00 s"),
        (0.417, "0.42 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (65, "1 min 05 s"),
        (3599.6, "1 h 00 min"),
        (11220, "3 h 07 min"),
        (86400 * 2 + 4 * 3600, "2 d 04 h"),
    ],
)
def test_a_duration_is_as_exact_as_is_of_use(seconds: float | None, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "—"), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2 << 30, "2.0 GiB"), (1 << 62, "4096.0 PiB")],
)
def test_a_size_has_a_binary_unit(count: int | None, text: str) -> None:
    assert formatting.size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "—"), (48213, "48,213"), (0.97222, "0.9722"), (2.0, "2"), (1.25e-7, "1.25e-07"), (math.inf, "inf")],
)
def test_a_number_is_short(value: float | None, text: str) -> None:
    assert formatting.number(value) == text


@pytest.mark.parametrize(
    ("current", "total", "fraction"),
    [(None, 10, None), (1, None, None), (1, 0, None), (5, 10, 0.5), (11, 10, 1.0), (-1, 10, 0.0), (math.nan, 10, None)],
)
def test_progress_is_known_only_with_a_total_and_never_leaves_its_bounds(
    current: float | None, total: float | None, fraction: float | None
) -> None:
    assert formatting.fraction(current, total) == fraction


def test_a_hundred_per_cent_is_not_said_before_it_is_all() -> None:
    assert (formatting.percent(0.999), formatting.percent(0.29), formatting.percent(1.0)) == ("99 %", "29 %", "100 %")


def test_completeness_is_a_promise_only_once_the_attempt_has_ended() -> None:
    assert formatting.completeness(48213, None) == "48,213 lines stored so far"
    assert formatting.completeness(48000, 48213) == "48,000 of 48,213 lines stored"
    assert formatting.completeness(41, None, is_final=True) == "41 lines stored; the total is unknown (worker lost)"


def test_control_characters_are_shown_and_colours_are_left_out() -> None:
    assert formatting.printable("\x1b[31mred\x1b[0m\x1b]0;title\x07\ttab\r\x9b") == "red␛]0;title␇\ttab␍\\x9b"


def test_characters_that_reverse_the_text_are_shown() -> None:
    assert formatting.printable("a\u202egpj.exe\u2066\u200fא") == "a\\u202egpj.exe\\u2066\u200fא"


@pytest.mark.parametrize("text", ["\x1b[31m", "\x7f\x9b2J", "\u202e\u2069", "é 漢 😀", "\udc80"])
def test_json_text_shows_no_control_character_and_changes_no_value(text: str) -> None:
    encoded = formatting.json_text({text: [text]})
    assert encoded == formatting.printable(encoded)
    assert json.loads(encoded) == {text: [text]}
    assert "é 漢 😀" not in text or text in encoded


def test_an_error_that_the_sentence_has_said_is_not_said_again() -> None:
    assert formatting.error_beside("Cancelled by ada", "Cancelled by ada; gone 0.25 s after the request.") == ""
    assert formatting.error_beside("It used 3 GiB.", "It used more memory than its limit.") == "It used 3 GiB."


@pytest.mark.parametrize("text", ["warning", "WARNING", " 30 "])
def test_a_level_is_read_by_name_and_number(text: str) -> None:
    assert formatting.level_of(text) == Level.WARNING


def test_an_unknown_level_is_told_which_there_are() -> None:
    with pytest.raises(ValueError, match="debug, info, warning, error, critical"):
        formatting.level_of("loud")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "Running for 1 min 30 s."),
        ({"attempt": 2}, "Running for 1 min 30 s. Attempt 2."),
        (
            {"cancel_requested_at": NOW - timedelta(seconds=2), "cancel_requested_by": "ada"},
            "Cancelling… requested by ada 2 s ago.",
        ),
        ({"status": Status.PENDING, "attempt": 0}, "Waiting for a free worker of queue “runs”."),
        (
            {"status": Status.PENDING, "attempt": 0, "is_served": False},
            "Waiting: no worker listens to queue “runs”.",
        ),
        ({"status": Status.PENDING}, "Attempt 1 did not finish. Waiting for a free worker of queue “runs”."),
        (
            {"status": Status.PENDING, "not_before": NOW + timedelta(minutes=5)},
            "Starts in 5 min, not before 2026-03-01 12:05:00 UTC.",
        ),
        (
            {"status": Status.PENDING, "not_before": NOW + timedelta(minutes=5), "losses": 2},
            f"Starts in 5 min, not before 2026-03-01 12:05:00 UTC, on {ALONE}",
        ),
        ({"status": Status.COMPLETED, "finished_at": NOW}, "Completed after 1 min 30 s."),
        (
            {"status": Status.COMPLETED, "finished_at": NOW, "cancel_requested_at": NOW},
            "Completed after 1 min 30 s. The cancel request came too late.",
        ),
        (
            {"status": Status.FAILED, "failure_kind": "memory", "finished_at": NOW},
            "Failed after 1 min 30 s: memory limit exceeded.",
        ),
        (
            {"status": Status.CANCELLED, "started_at": None, "cancel_requested_by": "ada"},
            "Cancelled by ada before it started.",
        ),
        (
            {"status": Status.CANCELLED, "cancel_requested_at": NOW - timedelta(seconds=0.25), "finished_at": NOW},
            "Cancelled; all processes exited 0.25 s after the request.",
        ),
    ],
)
def test_a_status_is_a_sentence_with_its_reason(changes: dict[str, object], sentence: str) -> None:
    assert formatting.status_sentence(replace(FACTS, **changes), NOW) == sentence  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s ago"),
        (12.9, "12 s ago"),
        (65, "1 min ago"),
        (11220, "3 h ago"),
        (200_000, "2 d ago"),
        (-90, "in 1 min"),
    ],
)
def test_an_age_is_said_in_whole_units(seconds: float, text: str) -> None:
    assert formatting.age(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("current", "pace", "time_left"),
    [
        (541, "4.9 per s", "about 10.0 s left"),
        (90_100, "1,000.0 per s", ""),
        (109, "10.0 s each", "about 1 h 20 min left"),
        (100, "", ""),
        (99, "", ""),
        (None, "", ""),
        (math.inf, "", ""),
        (math.nan, "", ""),
    ],
)
def test_the_pace_is_measured_from_where_the_attempt_began(current: float | None, pace: str, time_left: str) -> None:
    start = formatting.ProgressStart(100.0, NOW - timedelta(seconds=90))
    rate = formatting.rate(Status.RUNNING, current, start, NOW)
    assert (formatting.pace(rate), formatting.time_left(rate, current, 590)) == (pace, time_left)


def test_a_run_that_is_not_running_has_no_pace() -> None:
    start = formatting.ProgressStart(0.0, NOW - timedelta(seconds=90))
    assert formatting.rate(Status.COMPLETED, 10, start, NOW) is None
    assert formatting.rate(Status.RUNNING, 10, None, NOW) is None
    assert formatting.rate(Status.RUNNING, 10, start, start.at) is None


def test_times_are_labelled_with_the_zone_that_they_are_shown_in(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Kolkata"
    assert formatting.date_time(NOW) == "2026-03-01 17:30:00 IST"
    assert formatting.clock(NOW) == "17:30:00.000"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10**400, "1.000e+400"),
        (-(10**400), "-1.000e+400"),
        (2**64, "18,446,744,073,709,551,616"),
        (5e-324, "4.941e-324"),
        (math.nan, "nan"),
        ("\ud800", "\\ud800"),
        ({"\udfff": ["\x00"]}, '{"\\udfff": ["\\u0000"]}'),
        pytest.param(10**5000, "1.000e+5000", id="too many digits for str"),
        pytest.param([10**5000], "Not shown: it contains a number with too many digits.", id="too many digits within"),
    ],
)
def test_every_value_has_a_text(value: Any, text: str) -> None:
    assert formatting.cell(value) == text


def test_a_value_nested_too_deeply_for_the_encoder_is_named() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    assert formatting.pretty(value) == "Not shown: it is nested too deeply."
