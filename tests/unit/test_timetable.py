"""Slots of timetables: across both edges of daylight saving, leap days, the ends of months and years."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.schedules.timetable import Cron, Timetable, TimetableError, find_zone, next_change, preview, words
from runs.schedules.timetable.cron import _readable
from runs.states import TimetableKind

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Casablanca",
)


def cron(expression: str, zone: str = "UTC", **values: Any) -> Timetable:
    return Timetable(TimetableKind.CRON, cron=expression, time_zone=zone, **values)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def local(timetable: Timetable, after: str, count: int) -> list[str]:
    """Return the next slots after a wall-clock time, as wall-clock times with their offset."""
    zone = ZoneInfo(timetable.time_zone)
    slots = islice(timetable.slots(at(after, timetable.time_zone)), count)
    return [slot.astimezone(zone).strftime("%m-%d %H:%M%z") for slot in slots]


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        # Clocks go forward: a fixed time that there is not is taken at the leap, once.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00+0200", "03-30 02:30+0200"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00+0200", "03-30 02:00+0200"]),
        ("30 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00+0200", "03-29 03:30+0200"]),
        ("15 2 * * *", "America/New_York", "2026-03-07T12:00", ["03-08 03:00-0400", "03-09 02:15-0400"]),
        ("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00", ["04-24 01:00+0300", "04-25 00:00+0300"]),
        ("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["10-04 02:30+1100", "10-05 02:10+1100"]),
        # Clocks go forward: what repeats follows the clock.
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-30 02:00+0200", "03-30 02:30+0200"]),
        ("0 * * * *", "Europe/Berlin", "2026-03-29T00:30", ["03-29 01:00+0100", "03-29 03:00+0200"]),
        # Clocks go back: a fixed time that comes twice is taken the first time.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ["10-25 02:30+0200", "10-26 02:30+0100"]),
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00", ["11-01 01:30-0400", "11-02 01:30-0500"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", ["04-05 01:45+1100", "04-06 01:45+1030"]),
        ("30 23 * * *", "Africa/Cairo", "2026-10-29T12:00", ["10-29 23:30+0300", "10-30 23:30+0200"]),
        # Clocks go back: what repeats comes in both hours.
        ("*/30 2 * * *", "Europe/Berlin", "2026-10-24T12:00",
         ["10-25 02:00+0200", "10-25 02:30+0200", "10-25 02:00+0100", "10-25 02:30+0100", "10-26 02:00+0100"]),
        ("0 * * * *", "America/New_York", "2026-11-01T00:30",
         ["11-01 01:00-0400", "11-01 01:00-0500", "11-01 02:00-0500"]),
        ("*/15 2 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", ["04-05 02:00+1030", "04-05 02:15+1030"]),
        # A zone that left a whole day out.
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T13:00", ["12-31 00:00+1400", "12-31 12:00+1400"]),
        # Leap days, the ends of months and years.
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00", ["02-29 00:00+0000"]),
        ("0 0 L * *", "UTC", "2028-01-31T12:00", ["02-29 00:00+0000", "03-31 00:00+0000", "04-30 00:00+0000"]),
        ("0 0 L * *", "UTC", "2027-01-31T12:00", ["02-28 00:00+0000"]),
        ("0 0 31 * *", "UTC", "2026-01-31T12:00", ["03-31 00:00+0000", "05-31 00:00+0000"]),
        ("0 9 LW * *", "UTC", "2026-05-01T00:00", ["05-29 09:00+0000"]),
        ("0 9 * * MON#1", "UTC", "2026-06-02T00:00", ["07-06 09:00+0000"]),
        ("0 22 * * FRIL", "UTC", "2026-06-02T00:00", None),
        ("0 22 * * 5L", "UTC", "2026-06-02T00:00", ["06-26 22:00+0000", "07-31 22:00+0000"]),
        ("59 23 31 12 *", "Asia/Kathmandu", "2026-12-01T00:00", ["12-31 23:59+0545"]),
        ("0 0 1 JAN *", "America/Santiago", "2026-12-01T00:00", ["01-01 00:00-0300"]),
        ("0 0 13 * FRI", "UTC", "2026-01-14T00:00", ["01-16 00:00+0000"]),
    ],
)  # fmt: skip
def test_slots_on_the_wall_clock(expression: str, zone: str, after: str, expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(TimetableError):
            cron(expression, zone).check()
    else:
        assert local(cron(expression, zone), after, len(expected)) == expected


EXPRESSIONS = (
    "30 2 * * *",
    "*/20 * * * *",
    "0 * * * *",
    "0,59 0-3 * * *",
    "15 */2 * * SUN",
    "*/7 1,2 * * *",
    "0 0 L * *",
)
moments = st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(
    moments,
    st.integers(0, 30 * 86400),
    st.integers(0, 30 * 86400),
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(ZONES),
)
def test_it_does_not_matter_where_one_begins_to_look(
    start: datetime, first: int, second: int, expression: str, zone: str
) -> None:
    timetable, middle = cron(expression, zone), start + timedelta(seconds=first)
    end = middle + timedelta(seconds=second)
    whole = timetable.between(start, end)
    assert timetable.between(start, middle) + timetable.between(middle, end) == whole
    assert all(earlier < later for earlier, later in pairwise(whole))


@given(moments, st.sampled_from(ZONES))
def test_once_a_day_stays_once_a_day(start: datetime, zone: str) -> None:
    slots = cron("30 1 * * *", zone).between(start, start + timedelta(days=400))
    days = [slot.astimezone(ZoneInfo(zone)).date() for slot in slots]
    assert all((later - earlier).days == 1 for earlier, later in pairwise(days))


@given(moments, st.integers(1, 3600), st.sampled_from(EXPRESSIONS))
def test_jitter_keeps_the_order_and_is_the_same_each_time(start: datetime, jitter: int, expression: str) -> None:
    timetable = cron(expression, "Europe/Berlin", jitter_s=jitter, key="7")
    fires = list(islice(timetable.fires(start), 20))
    assert fires == list(islice(timetable.fires(start), 20))
    assert all(earlier.due_at < later.slot for earlier, later in pairwise(fires))
    assert all(fire.slot <= fire.due_at <= fire.slot + timedelta(seconds=jitter) for fire in fires)


def test_jitter_spreads() -> None:
    delays = {next(cron("0 0 * * *", jitter_s=600, key=str(key)).fires(at("2026-01-01"))).due_at for key in range(50)}
    assert len(delays) > 40


def test_an_interval_counts_elapsed_time_whatever_clocks_do() -> None:
    timetable = Timetable(TimetableKind.INTERVAL, every_s=86400, starts_at=at("2026-03-28T09:00", "Europe/Berlin"))
    slots = list(islice(timetable.slots(at("2026-03-28T00:00")), 3))
    assert slots == [at(f"2026-03-{day}T08:00") for day in (28, 29, 30)]


def test_dates_are_of_the_zone_unless_they_say_their_offset() -> None:
    dates = ("2026-03-29 02:30", "2026-10-25 02:30", "2026-01-01T00:00+00:00", "2026-01-01 01:00")
    timetable = Timetable(TimetableKind.DATES, dates=dates, time_zone="Europe/Berlin")
    assert list(timetable.slots(at("2025-01-01"))) == [
        at("2026-01-01T00:00"),
        at("2026-03-29T01:00"),
        at("2026-10-25T00:30"),
    ]


def test_start_and_end_belong_to_the_timetable() -> None:
    timetable = cron("0 0 * * *", starts_at=at("2026-01-02"), ends_at=at("2026-01-04"))
    assert list(timetable.slots(at("2020-01-01"))) == [at("2026-01-02"), at("2026-01-03"), at("2026-01-04")]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("* * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("* * * * * *", "Seconds are not supported: remove the first field"),
        ("61 * * * *", "Invalid minute '61'. Use 0 to 59"),
        ("0 25 * * *", "Invalid hour '25'.* 0 to 23"),
        ("0 0 ? * MON", r"Invalid day of month '\?'.* use \* instead"),
        ("0 0 * FOO *", "JAN to DEC"),
        ("0 0 * * 8", "MON#1 for the first Monday"),
        ("0 0 30 2 *", "Day 30 does not exist in month 2"),
        ("@reboot", "@hourly, @daily"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_field(expression: str, says: str) -> None:
    with pytest.raises(TimetableError, match=says):
        Cron.parse(expression)


def test_an_unknown_zone_is_refused_with_a_suggestion() -> None:
    with pytest.raises(TimetableError, match="did you mean Europe/Berlin"):
        find_zone("Europe/Berln")


@pytest.mark.parametrize(
    ("timetable", "expected"),
    [
        (cron("30 2 * * MON-FRI", "Europe/Berlin"), "At 02:30 on Monday through Friday, Europe/Berlin"),
        (cron("@daily"), "At 00:00 every day, UTC"),
        (cron("0 0 31 * *"), "At 00:00 on the 31st day of every month, UTC"),
        (cron("0 0 21,22,23 * *"), "At 00:00 on the 21st, the 22nd, and the 23rd day of month, UTC"),
        (cron("0 0 11,12,13 * *"), "At 00:00 on the 11th, the 12th, and the 13th day of month, UTC"),
        (Timetable(TimetableKind.INTERVAL, every_s=5400), "Every 90 minutes"),
        (Timetable(TimetableKind.INTERVAL, every_s=3600), "Every hour"),
        (Timetable(TimetableKind.INTERVAL, every_s=3600, jitter_s=300), "Every hour, up to 5 minutes later"),
    ],
)
def test_a_timetable_in_words(timetable: Timetable, expected: str) -> None:
    assert words(timetable) == expected


@pytest.mark.parametrize(
    ("expression", "now", "effect"),
    [
        ("30 2 * * *", "2026-01-01", "it runs at 03:00 instead, once"),
        ("*/20 * * * *", "2026-01-01", "skipped on that day, and nothing runs instead"),
        ("30 2 * * *", "2026-06-01", "it runs the first time only"),
        ("*/20 * * * *", "2026-06-01", "3 slots more"),
        ("0 9 * * *", "2026-06-01", "No effect"),
    ],
)
def test_the_preview_says_what_the_next_change_of_clocks_does(expression: str, now: str, effect: str) -> None:
    found = preview(cron(expression, "Europe/Berlin"), at(now))
    assert found is not None
    assert effect in found.effect


@pytest.mark.parametrize(
    ("timetable", "now", "effect"),
    [
        (
            cron("15,30 2 * * *", "Europe/Berlin"),
            "2026-01-01",
            "02:15, 02:30 do not occur on that day: they run at 03:00",
        ),
        (cron("30 2 * * *", "Europe/Berlin", ends_at=at("2026-02-01")), "2026-01-01", "No effect"),
        (cron("30 2 * * *", "Europe/Berlin", starts_at=at("2026-05-01")), "2026-01-01", "No effect"),
        (cron("*/20 * * * *", "Europe/Berlin", starts_at=at("2026-05-01")), "2026-01-01", "No effect"),
        (cron("*/20 * * * *", "Europe/Berlin", ends_at=at("2026-07-01")), "2026-06-01", "No effect"),
        (
            cron("*/20 * * * *", "Europe/Berlin", ends_at=at("2026-10-25T01:00")),
            "2026-06-01",
            "1 slot more (02:00 again)",
        ),
    ],
)
def test_the_preview_tells_of_slots_that_there_are(timetable: Timetable, now: str, effect: str) -> None:
    found = preview(timetable, at(now))
    assert found is not None
    assert effect in found.effect


@pytest.mark.parametrize(("every_s", "moves"), [(5, False), (3600, False), (6 * 3600, True), (86400, True)])
def test_an_interval_is_said_to_move_on_the_wall_clock_only_if_it_does(every_s: int, moves: bool) -> None:
    found = preview(Timetable(TimetableKind.INTERVAL, every_s=every_s, time_zone="Europe/Berlin"), at("2026-01-01"))
    assert found is not None
    assert ("at other times" in found.effect) == moves


@pytest.mark.parametrize(
    "timetable",
    [
        Timetable(TimetableKind.INTERVAL, every_s=1, time_zone="Europe/Berlin"),
        Timetable(TimetableKind.INTERVAL, every_s=600, time_zone="Europe/Berlin"),
        cron("* * * * *", "Europe/Berlin"),
    ],
)
def test_the_slots_of_the_preview_are_those_around_the_change(timetable: Timetable) -> None:
    found = preview(timetable, at("2026-01-01"))
    assert found is not None
    assert len(found.slots) == 12
    assert [slot < found.change.at for slot in found.slots] == [True] * 6 + [False] * 6


def test_a_zone_without_daylight_saving_has_no_preview() -> None:
    assert preview(cron("0 9 * * *", "Asia/Kathmandu"), at("2026-01-01")) is None


@pytest.mark.parametrize("zone", ZONES)
def test_changes_are_found_to_the_second(zone: str) -> None:
    change = next_change(find_zone(zone), at("2026-01-01"))
    if change is not None:
        second = timedelta(seconds=1)
        assert (change.at - second).astimezone(ZoneInfo(zone)).utcoffset() == change.before
        assert change.at.astimezone(ZoneInfo(zone)).utcoffset() == change.after != change.before


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/2 * * * *", "Every 2 minutes"),
        ("*/15 9-17 * * MON-FRI", "Every 15 minutes from 09:00 through 17:59 on Monday through Friday"),
        ("*/60 * * * *", "At the start of every hour"),
        ("*/45 * * * *", "At minutes 0 and 45 of every hour"),
        ("*/20,50 * * * *", "At minutes 0, 20, 40, and 50 of every hour"),
        ("7/10 * * * *", "At minutes 7, 17, 27, 37, 47, and 57 of every hour"),
        ("0 */5 * * *", "At minute 0 past hours 0, 5, 10, 15, and 20"),
        ("0 */24 * * *", "At 00:00 every day"),
        ("0 0 * * MON-FRI/2", "At 00:00 on Monday, Wednesday, and Friday"),
        ("0 0 1 JAN/3 *", "At 00:00 on the first day of January, April, July, and October"),
        ("0 0 */2 * MON", "At 00:00 on every second day of month if it's on Monday"),
    ],
)
def test_steps_are_said_as_what_they_match(expression: str, expected: str) -> None:
    assert Cron.parse(expression).words() == expected


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("*/61 * * * *", r"'\*/61' .* would match minute 0 only"),
        ("0-10/20 * * * *", r"'0-10/20' .* would match minute 0 only"),
        ("5,50/20 * * * *", r"'50/20' .* would match minute 50 only"),
        ("0 */25 * * *", "a step of 1 to 24"),
        ("0 0 */40 * *", "would match day of month 1 only"),
        ("0 0 1 */13 *", "would match month 1 only"),
        ("0 0 * * MON-FRI/9", "would match day of week 1 only"),
    ],
)
def test_a_step_that_is_longer_than_its_range_is_refused(expression: str, reason: str) -> None:
    with pytest.raises(TimetableError, match=reason):
        Cron.parse(expression)


@given(st.integers(1, 60), st.sampled_from([0, 1, 2, 3, 4]))
def test_reading_a_step_out_changes_no_slot(step: int, index: int) -> None:
    fields = ["0", "0", "*", "*", "*"]
    fields[index] = f"*/{min(step, (60, 24, 31, 12, 7)[index])}"
    expression = " ".join(fields)
    start = datetime(2026, 1, 1)  # noqa: DTZ001  # a wall clock has no zone
    assert [*islice(Cron(_readable(expression)).walls(start), 20)] == [*islice(Cron(expression).walls(start), 20)]
