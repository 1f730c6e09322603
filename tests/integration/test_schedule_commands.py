"""Commands of schedules: their output and exit codes."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command, load_command_class

from experiments.models import Instance
from runs import wake
from runs.management.base import WrongUse
from runs.management.commands import backfill_schedule, list_schedules
from runs.models import Run, Schedule
from runs.schedules.timetable import Cron
from runs.states import SlotState
from tests.schedules import aged, database_now, make_schedule, states, tick

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nobody_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "workers", lambda queue, count=1: None)


def run(command: str, *arguments: str) -> str:
    out = StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


def answer(command: str, *arguments: str) -> Any:
    return json.loads(run(command, *arguments, "--json"))


def test_an_experiment_is_scheduled_and_told_in_words_with_its_next_fires() -> None:
    text = run("schedule_run", "scripted", "--cron", "30 2 * * MON-FRI", "--zone", "Europe/Berlin", "-c", "count=5")
    schedule = Schedule.objects.get(name="scripted")
    assert "At 02:30 on Monday through Friday, Europe/Berlin" in text
    assert text.count("  next  ") == 10
    assert (schedule.configuration, schedule.owner) == ({"count": 5}, None)


def test_everything_can_be_said() -> None:
    get_user_model().objects.create_superuser("ada")
    Instance.objects.create(name="mine", experiment="scripted")
    said = "--every 6h --jitter 5m --start 2026-01-01 --end 2030-01-01 --zone Europe/Berlin --overlap queue_all"
    more = "--catch-up all --catch-up-window 1d --pause-after 3 --queue gpu --priority 5 --owner ada --timeout 2h"
    found = answer("schedule_run", "mine", "--name", "nightly", *said.split(), *more.split())
    assert (found["instance"], found["every_s"], found["jitter_s"], found["owner"]) == ("mine", 21600, 300, "ada")
    assert (found["starts_at"], found["overlap"]) == ("2025-12-31T23:00:00+00:00", "queue_all")
    assert (found["catch_up_window_s"], found["limits"], found["priority"]) == (86400, {"timeout_s": 7200.0}, 5)


def test_what_was_said_is_shown() -> None:
    said = (
        "--every 6h --start 2026-01-01 --end 2030-01-01 --zone Europe/Berlin --pause-after 3 --queue gpu --priority 0"
    )
    text = run("schedule_run", "scripted", *said.split(), "--timeout", "2h", "-c", "count=5", "--description", "Sums")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for line in (
        "about Sums",
        "starts 2026-01-01 00:00:00 CET",
        "ends 2030-01-01 00:00:00 CET",
        "pauses after 3 failures in a row",
        "queue gpu",
        "priority 0",
        'limits {"timeout_s": 7200.0}',
        'configuration {"count": 5}',
    ):
        assert line in lines
    assert "queue" not in run("schedule_run", "scripted", "--name", "plain", "--every", "6h")


def test_a_list_of_dates() -> None:
    found = answer("schedule_run", "scripted", "--at", "2030-12-24T18:00", "--at", "2030-12-31", "--zone", "UTC")
    assert found["next"] == ["2030-12-24T18:00:00+00:00", "2030-12-31T00:00:00+00:00"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["scripted"], "Choose when it runs"),
        (["nothing", "--every", "1h"], "There is no experiment 'nothing'"),
        (["scripted", "--cron", "61 * * * *"], "cron: Invalid minute '61'. Use 0 to 59"),
        (["scripted", "--every", "0"], "every_s: The interval must be 1s to 366d"),
        (["scripted", "--every", "1h", "--jitter", "99999999d"], "Jitter must be 0s to"),
        (["scripted", "--every", "1h", "--catch-up-window", "99999999d"], "Enter a window of 0s to 366d"),
        (["scripted", "--every", "1h", "--start", "2027-01-02", "--end", "2027-01-01"], "ends_at: The end is before"),
        (["scripted", "--every", "1h", "--zone", "Europe/Berln"], "did you mean Europe/Berlin"),
        (["scripted", "--every", "1h", "-c", "count=many"], "configuration.count"),
        (["scripted", "--every", "1h", "--owner", "nobody"], "There is no user named nobody"),
        (["scripted", "--every", "1h", "--change"], "There is no schedule scripted to change"),
        (["scripted", "--every", "1h", "--name", "minutely"], "already"),
    ],
)
def test_wrong_use_is_refused_in_a_sentence(arguments: list[str], complaint: str) -> None:
    make_schedule()
    with pytest.raises(WrongUse, match=complaint):
        run("schedule_run", *arguments)
    assert Schedule.objects.count() == 1


def test_a_change_keeps_what_is_not_said() -> None:
    run("schedule_run", "scripted", "--every", "1h", "--overlap", "allow", "-c", "count=5")
    found = answer("schedule_run", "scripted", "--change", "--cron", "0 4 * * *")
    assert (found["cron"], found["every_s"], found["overlap"]) == ("0 4 * * *", None, "allow")
    assert found["configuration"] == {"count": 5}


def test_a_change_can_take_away_what_there_was() -> None:
    run("schedule_run", "scripted", "--every", "1h", "--jitter", "5m", "--start", "2026-01-01", "--end", "2030-01-01")
    found = answer("schedule_run", "scripted", "--change", "--jitter", "0", "--start", "none", "--end", "none")
    assert (found["jitter_s"], found["starts_at"], found["ends_at"]) == (0, None, None)


def test_one_that_will_never_fire_is_said_to_be_so() -> None:
    assert "none: all scheduled times have passed" in run("schedule_run", "scripted", "--at", "2020-01-01")


def test_a_delete_keeps_the_runs_and_must_be_agreed_to() -> None:
    schedule = make_schedule()
    run("trigger_schedule", schedule.name)
    with pytest.raises(WrongUse, match="Use --yes to delete without confirmation"):
        run("delete_schedule", schedule.name)
    with pytest.raises(WrongUse, match="There is no schedule nothing"):
        run("delete_schedule", schedule.name, "nothing", "--yes")
    assert Schedule.objects.exists()
    assert answer("delete_schedule", schedule.name, "--yes") == ["minutely"]
    assert not Schedule.objects.exists()
    assert Run.objects.get().schedule is None


@pytest.mark.parametrize(("said", "is_left"), [("y", False), ("n", True), ("", True)])
def test_at_a_terminal_a_delete_asks(monkeypatch: pytest.MonkeyPatch, said: str, is_left: bool) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(f"{said}\n"))
    make_schedule()
    with suppress(WrongUse):
        run("delete_schedule", "minutely")
    assert Schedule.objects.exists() == is_left


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_the_list_says_what_did_not_run_and_why() -> None:
    aged(make_schedule(every_s=600), minutes=35)
    tick()
    assert "1 ran; 2 missed: Processed" in run("list_schedules")
    assert answer("list_schedules")[0]["week"]["did_not_run"] == {"missed": 2}


def test_a_list_that_is_cut_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(list_schedules, "SHOWN", 2)
    for name in ("a", "b", "c"):
        make_schedule(name)
    assert [each["name"] for each in answer("list_schedules")] == ["a", "b"]
    assert "warning: only the first 2 of 3 schedules are listed, by name." in capsys.readouterr().err
    run("list_schedules")
    assert "warning: only the first 2 of 3 schedules are listed, by name." in capsys.readouterr().err


def test_a_schedule_is_shown_with_its_last_slots() -> None:
    schedule = aged(make_schedule(every_s=600), minutes=35)
    tick()
    text = run("show_schedule", schedule.name)
    assert "Caught up, run" in text
    assert [slot["state"] for slot in answer("show_schedule", schedule.name)["slots"]] == [
        "caught_up",
        "missed",
        "missed",
    ]
    with pytest.raises(WrongUse, match="There is no schedule nothing"):
        run("show_schedule", "nothing")


def test_pause_and_resume() -> None:
    make_schedule()
    assert "shell" in answer("pause_schedule", "minutely")[0]["paused"]
    assert answer("resume_schedule", "minutely")[0]["paused"] == ""


def test_a_trigger_says_what_came_of_it_by_its_exit_code_too() -> None:
    make_schedule()
    assert answer("trigger_schedule", "minutely")["state"] == "launched"
    with pytest.raises(SystemExit) as exit_:
        run("trigger_schedule", "minutely")
    assert exit_.value.code == 1
    assert answer("trigger_schedule", "minutely", "--anyway")["state"] == "launched"
    assert Run.objects.count() == 2


def test_a_backfill_is_dry_first() -> None:
    schedule = make_schedule(every_s=3600)
    now = database_now()
    span = (str(now - timedelta(hours=3, minutes=5)), str(now - timedelta(minutes=5)))
    assert "3 of 3 scheduled times would run" in run("backfill_schedule", schedule.name, *span, "--dry-run")
    assert states(schedule) == []
    assert [each["runs"] for each in answer("backfill_schedule", schedule.name, *span)] == [True] * 3
    assert states(schedule) == [SlotState.WAITING] * 3
    assert "0 of 3 scheduled times" in run("backfill_schedule", schedule.name, *span)
    run("pause_schedule", schedule.name)
    with pytest.raises(WrongUse, match="is paused"):
        run("backfill_schedule", schedule.name, *span)


def test_a_backfill_from_later_to_earlier_is_refused() -> None:
    schedule = make_schedule()
    with pytest.raises(WrongUse, match="The end is before the start"):
        run("backfill_schedule", schedule.name, "2026-03-05", "2026-03-02", "--dry-run")


def test_a_day_alone_is_the_whole_day() -> None:
    run("schedule_run", "scripted", "--cron", "0 */6 * * *", "--zone", "Europe/Berlin")
    found = answer("backfill_schedule", "scripted", "2026-03-28", "2026-03-28", "--dry-run")
    assert [each["slot"][:16] for each in found] == [
        "2026-03-27T23:00",
        "2026-03-28T05:00",
        "2026-03-28T11:00",
        "2026-03-28T17:00",
    ]


COMMANDS = [path.stem for path in Path(backfill_schedule.__file__).parent.glob("*schedule*.py")]


def test_the_page_of_schedules_names_every_command_and_no_option_that_there_is_not() -> None:
    page = (settings.BASE_DIR / "docs" / "schedules.md").read_text()
    parsers = [load_command_class("runs", name).create_parser("manage.py", name) for name in COMMANDS]
    options = {option for parser in parsers for action in parser._actions for option in action.option_strings}
    ours = "\n".join(line.rsplit("| ", 1)[-1] for line in page.splitlines())  # of a table the cells that are about us
    assert [name for name in COMMANDS if name not in page] == []
    assert set(re.findall(r"--[a-z][a-z-]+", ours)) - options == set()


def test_every_cron_expression_of_the_page_is_understood() -> None:
    page = (settings.BASE_DIR / "docs" / "schedules.md").read_text()
    found = re.findall(r'--cron "([^"]+)"', page)
    assert len(found) >= 3
    assert all(Cron.parse(expression).words() for expression in found)
