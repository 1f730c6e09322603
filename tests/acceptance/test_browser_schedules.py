"""Schedules in a real browser: made, watched, paused, found wanting and mended, on a stack that fires them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth import get_user_model
from playwright.sync_api import Locator, Page, expect

from experiments.models import Instance
from runs.models import Run, Schedule, Slot
from runs.schedules.timetable import Timetable
from runs.states import CatchUp, SlotState, Status, TimetableKind
from tests.browser import PHONE, check_fit, picture
from tests.factories import make_run
from tests.schedules import at_once, database_now, make_schedule
from tests.stack import Process, Stack, frozen

pytestmark = [pytest.mark.acceptance, pytest.mark.browser]

Visit = Callable[..., Page]
LIST, ADD, HOME = "/admin/runs/schedule/", "/admin/runs/schedule/add/", "/admin/"
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
PATIENCE_MS = 30_000
QUICK = {"behaviour": "ok", "count": 1}


@pytest.fixture(autouse=True)
def _no_schedules_are_left(open_database: None) -> Iterator[None]:
    yield
    Schedule.objects.all().delete()
    Instance.objects.all().delete()


def yearly(name: str, **values: Any) -> Schedule:
    """One that does not fire while a test looks."""
    return make_schedule(name, kind=TimetableKind.CRON, cron="30 2 29 2 *", every_s=None, **values)


def fill(page: Page, **said: str) -> None:
    for name, value in said.items():
        field = page.locator(f"#id_{name}")
        if field.evaluate("node => node.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def save(page: Page) -> None:
    page.locator('[name="_save"]').click()


def said(page: Page, field: str) -> Locator:
    """Return the form's text at a field while typing."""
    return page.locator(f".field-{field} .sched-note")


def shown(moment: datetime, zone: ZoneInfo) -> str:
    """Format a time as pages do: `Sat 28 Nov 02:30`, with the year unless it is the current one."""
    local = moment.astimezone(zone)
    year = f" {local.year}" if local.year != datetime.now(zone).year else ""
    return f"{local:%a %-d %b}{year} {local:%H:%M}"


def test_one_is_made_in_the_form_once_what_is_wrong_at_its_field_is_mended(visit: Visit) -> None:
    page = visit(ADD)
    fill(page, name="nightly", experiment="scripted", cron="61 2 * * *", time_zone="Europe/Berln")
    expect(said(page, "time_zone")).to_have_text(re.compile("did you mean Europe/Berlin"))
    fill(page, time_zone="Europe/Berlin")
    expect(said(page, "cron")).to_have_text(re.compile("Invalid minute '61'. Use 0 to 59"))
    expect(page.locator("#id_cron")).to_have_attribute("aria-invalid", "true")
    save(page)
    expect(page.locator(".field-cron .errorlist")).to_contain_text("Invalid minute '61'")
    picture(page, "schedule-form-wrong")
    fill(page, cron="30 2 * * MON-FRI")
    count = page.locator('[name="configuration.count"]')
    count.fill("-1")
    expect(said(page, "cron")).to_have_text("At 02:30 on Monday through Friday, Europe/Berlin")
    save(page)
    expect(page.locator("#content")).to_contain_text("Input should be greater than or equal to 0")
    count.fill("1")
    save(page)
    expect(page.locator("h2.run-name")).to_have_text("nightly")
    expect(page.locator(".run-sentence")).to_contain_text("At 02:30 on Monday through Friday, Europe/Berlin")
    schedule = Schedule.objects.get()
    assert (schedule.cron, schedule.owner_name, schedule.catch_up_window_s) == ("30 2 * * MON-FRI", "ada", 3600)


def test_the_next_ten_fires_are_told_by_the_schedules_clock_and_the_readers(visit: Visit) -> None:
    page = visit(ADD, timezone_id=NEW_YORK.key)
    fill(page, cron="30 2 * * *", time_zone=BERLIN.key)
    expect(page.locator("[data-words]")).to_have_text("At 02:30 every day, Europe/Berlin")
    expect(page.locator(".sched-soon th")).to_have_text(["Europe/Berlin", "America/New_York (yours)"])
    expect(page.locator("[data-fires] tr")).to_have_count(10)
    timetable = Timetable(TimetableKind.CRON, cron="30 2 * * *", time_zone=BERLIN.key)
    for row, slot in zip(page.locator("[data-fires] tr").all(), timetable.slots(database_now()), strict=False):
        expect(row.locator("td").first).to_contain_text(shown(slot, BERLIN))
        expect(row.locator("td").last).to_have_text(shown(slot, NEW_YORK))
    expect(page.locator("[data-change]")).to_have_text(re.compile("02:30 (does not occur|occurs twice) on that day"))
    picture(page, "schedule-form")
    fill(page, time_zone="Asia/Tokyo")
    expect(page.locator("[data-change]")).to_have_text("This time zone has no daylight saving.")


def test_each_kind_of_timetable_has_its_field_and_is_said_in_words(visit: Visit) -> None:
    page = visit(ADD)
    expect(page.locator("[data-problem]")).to_be_hidden()  # nobody has said anything wrong yet
    fill(page, kind="interval", every_s="90m", jitter_s="5m")
    expect(page.locator("#id_cron")).to_be_hidden()
    expect(said(page, "every_s")).to_have_text("Every 90 minutes, up to 5 minutes later")
    fill(page, jitter_s="-5m")
    expect(said(page, "jitter_s")).to_have_text(re.compile("Use 90, 10m or 2h"))
    fill(page, jitter_s="", starts_at="2027-05-01", ends_at="2027-04-01")
    expect(said(page, "ends_at")).to_have_text(re.compile("The end is before the start"))
    fill(page, starts_at="", ends_at="", kind="dates", dates="2020-01-01 12:00\n2020-01-02")
    expect(said(page, "dates")).to_have_text("On 2 dates, UTC")
    expect(page.locator("[data-fires]")).to_have_text("None: all scheduled times have passed.")
    save(page)
    expect(page.locator(".field-name")).to_contain_text("This field is required.")


def test_it_is_paused_resumed_and_triggered_and_its_page_follows_the_run(visit: Visit) -> None:
    schedule = yearly("buttons", configuration=QUICK)
    page = visit(schedule.get_absolute_url())
    chip = page.locator("#sched-head .run-chip")
    page.get_by_role("button", name="Pause").click()
    expect(chip).to_have_text("Paused")
    expect(page.locator("#sched-head")).to_contain_text("Paused by ada")
    page.get_by_role("button", name="Resume").click()
    expect(chip).to_have_text("Active")
    page.get_by_role("button", name="Trigger now").click()
    expect(page.get_by_text(re.compile("UTC: Launched, run")).first).to_be_visible()
    expect(page.locator(".sched-strip .sched-completed")).to_have_count(1, timeout=PATIENCE_MS)
    expect(page.locator("#sched-main")).to_contain_text("Durations")
    page.locator(".sched-strip a").click()
    expect(page.locator("#content")).to_contain_text("buttons")
    page.get_by_role("link", name="buttons", exact=True).click()
    expect(page.locator("h2.run-name")).to_have_text("buttons")
    assert Run.objects.filter(schedule=schedule, launched_by__username="ada").count() == 1


def test_a_backfill_is_shown_first_and_then_runs_one_after_another(visit: Visit) -> None:
    schedule = make_schedule("past", every_s=86400, configuration=QUICK)
    page = visit(schedule.get_absolute_url())
    now = database_now()
    page.locator("#from").fill(f"{now - timedelta(days=3):%Y-%m-%d %H:%M:%S}")
    page.locator("#to").fill(f"{now:%Y-%m-%d}")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".sched-dry li").first).to_contain_text("not in the history")
    count = page.locator(".sched-dry li").count()
    assert not schedule.slots.exists()
    page.get_by_role("button", name="Backfill").click()
    page.wait_for_timeout(3000)
    page.screenshot(path="/tmp/w/s5-shots/bf.png", full_page=True)
    expect(page.get_by_text(f"{count} runs will be launched one after another.")).to_be_visible()
    expect(page.locator(".sched-strip .sched-completed")).to_have_count(count, timeout=PATIENCE_MS)
    assert not at_once(schedule)


LOOKS: dict[str, dict[str, Any]] = {
    "completed": {"state": SlotState.LAUNCHED, "outcome": Status.COMPLETED, "duration_s": 3.0},
    "failed": {"state": SlotState.LAUNCHED, "outcome": Status.FAILED, "duration_s": 1.5},
    "cancelled": {"state": SlotState.LAUNCHED, "outcome": Status.CANCELLED, "duration_s": 0.5},
    "caught-up": {"state": SlotState.CAUGHT_UP, "outcome": Status.COMPLETED, "duration_s": 2.0, "reason": "Late."},
    "waiting": {"state": SlotState.WAITING, "reason": "Run 7 was still active."},
    "skipped": {"state": SlotState.SKIPPED, "reason": "Run 7 was still active."},
    "missed": {"state": SlotState.MISSED, "reason": "Processed 5 min 00 s late; this schedule does not catch up."},
    "paused": {"state": SlotState.PAUSED, "reason": "Paused by ada."},
    "refused": {"state": SlotState.REFUSED, "reason": "There is no experiment 'gone'."},
}
"""Look of a mark → its row."""


def enter(schedule: Schedule, rows: list[dict[str, Any]], **each: Any) -> None:
    """Rows of the history, the last of them an hour ago, hour by hour."""
    first = database_now().replace(microsecond=0) - timedelta(hours=len(rows))
    slots = [first + timedelta(hours=number) for number in range(len(rows))]
    Slot.objects.bulk_create(
        Slot(schedule=schedule, slot=slot, due_at=slot, **each | row) for slot, row in zip(slots, rows, strict=True)
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_strip_shows_each_slots_fate_by_a_mark_of_its_own(visit: Visit, scheme: str) -> None:
    schedule = yearly("strip")
    going = make_run(schedule=schedule, queue="nobody")  # therefore what waits is not launched
    enter(schedule, [*LOOKS.values(), {"state": SlotState.LAUNCHED, "run": going}])
    page = visit(schedule.get_absolute_url(), color_scheme=scheme)
    marks = page.locator(".sched-strip .sched-mark")
    expect(marks).to_have_count(len(LOOKS) + 1)
    for mark, look in zip(marks.all(), [*LOOKS, "running"], strict=True):
        expect(mark).to_have_class(re.compile(rf"\bsched-{look}\b"))
        expect(mark).to_have_attribute("title", re.compile(LOOKS.get(look, {}).get("reason", "UTC: Launched")))
    legend = page.locator(".sched-legend")
    for text in ("completed", "failed", "running", "waiting", "skipped", "missed", "paused", "refused", "caught up"):
        expect(legend).to_contain_text(text)
    expect(page.locator(".sched-bar")).to_have_count(4)
    assert len({mark.screenshot() for mark in marks.all()}) == len(LOOKS) + 1
    picture(page, f"schedule-{scheme}")


def test_the_strip_holds_the_last_hundred_slots_oldest_first(visit: Visit) -> None:
    schedule = yearly("long")
    enter(schedule, [{"reason": f"number {number}"} for number in range(130)], state=SlotState.MISSED)
    page = visit(schedule.get_absolute_url(), viewport=PHONE)
    marks = page.locator(".sched-strip .sched-mark")
    expect(marks).to_have_count(100)
    expect(marks.first).to_have_attribute("title", re.compile("number 30$"))
    expect(marks.last).to_have_attribute("title", re.compile("number 129$"))
    check_fit(page)
    picture(page, "schedule-strip-phone")


def test_the_list_shows_what_did_not_run_last_week_and_why(visit: Visit) -> None:
    enter(yearly("fine"), [{"outcome": Status.COMPLETED}] * 3, state=SlotState.LAUNCHED)
    enter(yearly("spotty"), [LOOKS["completed"], LOOKS["missed"], LOOKS["missed"], LOOKS["skipped"]])
    old = yearly("long-ago")
    enter(old, [LOOKS["missed"]])
    old.slots.update(slot=database_now() - timedelta(days=8))
    page = visit(LIST)
    idle = page.locator(".sched-idle")
    expect(idle.locator("tbody tr")).to_have_count(1)
    expect(idle.locator(".sched-count")).to_have_text([re.compile("1 skipped"), re.compile("2 missed")])
    expect(idle.locator("tbody")).to_contain_text("Run 7 was still active.")
    expect(page.locator('.data-row:has-text("fine")')).to_contain_text("3 ran")
    expect(page.locator('.data-row:has-text("spotty")')).to_contain_text("2 missed")
    picture(page, "schedules-light")
    idle.get_by_role("link", name="spotty").click()
    expect(page.locator("h2.run-name")).to_have_text("spotty")


def beat_of(stack: Stack) -> Process:
    return next(process for process in stack.processes if process.name == "beat1")


def test_the_home_page_warns_while_the_beat_is_silent(visit: Visit, stack: Stack) -> None:
    schedule = make_schedule("heartbeat", every_s=2, catch_up=CatchUp.NONE, configuration=QUICK)
    home = visit(HOME)
    expect(home.locator("#content")).to_contain_text("Running now")
    expect(home.locator(".sched-warns")).to_have_count(0, timeout=PATIENCE_MS)
    with frozen(beat_of(stack)):
        warning = home.locator(".sched-warns")
        expect(warning).to_contain_text("The beat has not checked schedules for", timeout=2 * PATIENCE_MS)
        expect(warning).to_contain_text("Check that the beat and a worker of queue system are running.")
        picture(home, "home-silent-beat")
        page = visit(schedule.get_absolute_url())
        expect(page.locator("#sched-head")).to_contain_text("a worker of queue system are running.")
    expect(home.locator(".sched-warns")).to_have_count(0, timeout=PATIENCE_MS)
    expect(page.locator("#sched-head")).not_to_contain_text(
        "The beat has not checked schedules for", timeout=PATIENCE_MS
    )


def test_one_whose_instance_is_gone_says_so_everywhere_and_goes_on_when_it_is_made_again(visit: Visit) -> None:
    instance = Instance.objects.create(name="mine", experiment="scripted", configuration=QUICK)
    owner = get_user_model().objects.get(username="ada")
    schedule = make_schedule("orphan", experiment="", instance=instance, every_s=2, owner=owner)
    instance.delete()
    page, home = visit(schedule.get_absolute_url()), visit(HOME)
    chip, head = page.locator("#sched-head .run-chip"), page.locator("#sched-head")
    expect(chip).to_have_text("Refused", timeout=PATIENCE_MS)
    expect(head).to_contain_text("its instance mine no longer exists; create it, or choose another")
    expect(page.locator(".sched-strip .sched-refused").first).to_be_visible()
    expect(home.locator(".sched-warns")).to_contain_text("its instance mine no longer exists", timeout=PATIENCE_MS)
    expect(visit(LIST).locator(".sched-idle")).to_contain_text("its instance mine no longer exists")
    picture(page, "schedule-refused")
    Instance.objects.create(name="mine", experiment="scripted", configuration=QUICK)
    expect(chip).to_have_text("Active", timeout=PATIENCE_MS)
    expect(page.locator(".sched-strip .sched-completed").first).to_be_visible(timeout=PATIENCE_MS)
    expect(home.locator(".sched-warns")).to_have_count(0, timeout=PATIENCE_MS)
    assert Run.objects.filter(schedule=schedule, instance__name="mine").exists()


def test_one_is_deleted_after_a_question_and_its_runs_are_kept(visit: Visit) -> None:
    schedule = yearly("unloved")
    run = make_run(schedule=schedule)
    page = visit(schedule.get_absolute_url())
    page.get_by_role("link", name="Delete").click()
    expect(page.locator("#content")).to_contain_text("Its runs are kept")
    page.locator('#content [type="submit"]').click()
    expect(page).to_have_url(re.compile("/admin/runs/schedule/$"))
    run.refresh_from_db()
    assert (Schedule.objects.count(), run.schedule) == (0, None)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [None, PHONE], ids=["desktop", "phone"])
def test_pages_fit_and_name_their_controls(visit: Visit, scheme: str, viewport: Any) -> None:
    schedule = yearly("fitting", time_zone="America/Argentina/ComodRivadavia", jitter_s=300)
    enter(schedule, list(LOOKS.values()))
    paths = {"list": LIST, "form": f"{LIST}{schedule.pk}/change/", "page": schedule.get_absolute_url()}
    options = {"color_scheme": scheme} | ({"viewport": viewport} if viewport else {})
    for name, path in paths.items():
        page = visit(path, **options)
        page.wait_for_timeout(300)
        picture(page, f"schedule-{name}-{scheme}-{'phone' if viewport else 'desktop'}")
        check_fit(page)
