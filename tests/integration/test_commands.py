"""Commands: output, refusals and exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from experiments.models import Instance
from runs import wake
from runs.lines.reading import Follower
from runs.lines.records import Line
from runs.management import exporting, watching
from runs.management.screens import Plain, Screen, Silence, Terminal
from runs.management.watching import Left, Watcher
from runs.models import Attempt, Run
from runs.states import Level, Status
from tests.factories import make_attempt, make_run, make_worker
from tests.output import end_run, store_lines, store_metric, store_result
from tests.schedules import make_schedule

pytestmark = pytest.mark.django_db


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _nobody_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "workers", lambda queue, count=1: None)
    monkeypatch.setattr(watching, "POLL_S", 0.0)


def say(*arguments: object) -> Said:
    """Run a command in this process, as the command line would: its exit code and what it wrote."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command(str(arguments[0]), *map(str, arguments[1:]), stdout=out, stderr=err)
    except SystemExit as end:
        code = int(end.code or 0)
    except CommandError as error:
        code = error.returncode
        err.write(str(error))
    return Said(code, out.getvalue(), err.getvalue())


def finished_attempt(status: Status = Status.COMPLETED, **values: Any) -> Attempt:
    """An ended attempt with three lines, two results and a metric of two points."""
    attempt = make_attempt()
    store_lines(attempt, [1, 2])
    store_lines(attempt, [3], level=Level.WARNING, source="stderr", message="\x1b[31mcare\x07", metadata={"a": [1]})
    store_metric(attempt, "loss", [0.5, 0.25])
    store_result(attempt, "best", {"epoch": 2}, seq=3)
    store_result(attempt, "note", "a, b", seq=4)
    end_run(attempt, status, **values)
    return attempt


def test_launch_makes_a_run_of_what_is_said() -> None:
    said = say(
        *(
            "launch_run",
            "scripted",
            "-c",
            "behaviour=print",
            "-c",
            "count=7",
            "--name",
            "n",
            "--tag",
            "x",
            "--seed",
            "5",
        ),
        *("--timeout", "2h", "--memory-limit", "1G", "--limit", "cancel_grace_s=60", "--priority", "3", "--json"),
    )
    run = Run.objects.get(pk=said.json["id"])
    assert said.code == 0
    assert (run.configuration["behaviour"], run.configuration["count"]) == ("print", 7)
    assert (run.limits["timeout_s"], run.limits["memory_limit_bytes"]) == (7200, 1 << 30)
    assert run.limits["cancel_grace_s"] == 60
    assert (run.name, run.tags, run.seed, run.priority, run.launched_via) == ("n", ["x"], 5, 3, "shell")


@pytest.mark.parametrize("text", ["007", "1.10", "null", "9509425349e4", "true"])
def test_a_text_field_takes_what_was_typed(text: str) -> None:
    launched, scheduled = "launch_run scripted --json", "schedule_run scripted --every 1h --json"

    for command in (launched, scheduled):
        assert say(*command.split(), "-c", f"text={text}").json["configuration"]["text"] == text


def test_settings_of_the_command_line_win_over_the_file_and_it_over_the_instance(tmp_path: Path) -> None:
    Instance.objects.create(name="mine", experiment="scripted", configuration={"behaviour": "print", "count": 9})
    (tmp_path / "c.toml").write_text('text = "from the file"\nlines = 1\n')
    said = say("launch_run", "mine", "--config", tmp_path / "c.toml", "-c", "lines=2", "--json")
    configuration = said.json["configuration"]
    assert [configuration[key] for key in ("behaviour", "count", "text", "lines")] == ["print", 9, "from the file", 2]
    assert said.json["instance"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["scriptet"], "did you mean 'scripted'"),
        (["scripted", "-c", "behavior=ok"], "configuration.behavior: unknown; did you mean 'behaviour'?"),
        (["scripted", "-c", "count=many"], "configuration.count: Input should be a valid integer"),
        (["scripted", "--memory-limit", "1k"], "limits.memory_limit_bytes: "),
        (["scripted", "--seed", "-1"], "Must be a whole number from 0"),
        (["scripted", "-c", "count"], "Use KEY=VALUE"),
        (["scripted", "--timeout", "soon"], "Use 90, 10m or 2h"),
        (["scripted", "--limit", "cancel_grace=60"], "cancel_grace_s"),
    ],
)
def test_a_launch_that_cannot_be_is_wrong_use_and_says_where(arguments: list[str], says: str) -> None:
    said = say("launch_run", *arguments)
    assert says in said.err
    assert not Run.objects.exists()
    assert said.out == ""


def test_a_refused_launch_has_exit_code_2() -> None:
    assert say("launch_run", "scripted", "-c", "behavior=ok").code == 2


def test_show_run_tells_everything_as_json() -> None:
    attempt = finished_attempt(summary={"pi": 3.1})
    Attempt.objects.filter(pk=attempt.pk).update(child_pid=7, exit_status=0, peak_memory_bytes=9)
    said = say("show_run", attempt.run_id, "--json").json
    assert (said["id"], said["status"], said["failure_kind"], said["error"]) == (attempt.run_id, "completed", "", "")
    assert (said["experiment"], said["summary"], said["progress"]) == ("scripted", {"pi": 3.1}, None)
    assert said["lines"] == {"emitted": 3, "stored": 3}
    assert [(r["key"], r["value"]) for r in said["results"]][1:3] == [("loss", 0.25), ("best", {"epoch": 2})]
    of = said["attempts"][0]
    assert attempt.worker is not None
    assert (of["number"], of["worker"], of["pid"], of["exit_status"]) == (1, attempt.worker.name, 7, 0)
    assert (of["signal"], of["peak_memory_bytes"], of["started_at"]) == (None, 9, None)
    assert of["finished_at"].endswith("+00:00")


def test_show_run_tells_people_why_it_failed() -> None:
    attempt = finished_attempt(Status.FAILED, failure_kind="memory", error="It used 3 GiB.")
    said = say("show_run", attempt.run_id).out
    assert "failed. Failed after" in said
    assert "It used 3 GiB." in said
    assert "3 of 3 lines stored" in said


@pytest.mark.parametrize(
    ("queues", "says"), [(["runs"], "Waiting for a free worker"), (["other"], "no worker listens to queue “runs”")]
)
def test_show_run_says_whether_a_worker_serves_the_queue(queues: list[str], says: str) -> None:
    make_worker(queues=queues)
    assert says in say("show_run", make_run().pk).out


def test_list_runs_filters_and_pages() -> None:
    runs = [make_run(experiment="a" if number % 2 else "b") for number in range(6)]
    said = say("list_runs", "--experiment", "a", "--limit", "2", "--json").json
    assert [run["id"] for run in said] == [runs[5].pk, runs[3].pk]
    older = say("list_runs", "--experiment", "a", "--before", runs[3].pk, "--json").json
    assert [run["id"] for run in older] == [runs[1].pk]
    assert str(runs[0].pk) in say("list_runs", "--status", "pending").out
    assert say("list_runs", "--status", "failed").out == "No runs match.\n"


def test_list_runs_says_how_many_match_and_where_the_next_page_is() -> None:
    runs = [make_run() for _ in range(5)]
    assert say("list_runs", "--limit", "2").out.splitlines()[-1] == f"2 of 5 runs. Next page: --before {runs[3].pk}"
    assert say("list_runs").out.splitlines()[-1] == "5 runs"
    assert "There are no runs yet." not in say("list_runs", "--search", "nothing").out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--tag", "baseline"], [0, 2]),
        (["--tag", "baseline", "--tag", "größe"], [2]),
        (["--tag", 'a "quoted" one'], [1]),
        (["--tag", "base"], []),
        (["--search", "nightly"], [0, 1]),
        (["--search", "nightly big"], [1]),
        (["--search", "NIGHTLY"], [0, 1]),
        (["--search", "100%"], []),
        (["--search", "99999999999999999999999"], []),
    ],
)
def test_runs_are_found_by_tag_and_text(options: list[str], expected: list[int]) -> None:
    runs = [
        make_run(name="nightly small", tags=["baseline"]),
        make_run(name="nightly big", tags=['a "quoted" one']),
        make_run(name="other", tags=["baseline", "größe"]),
    ]
    found = [run["id"] for run in say("list_runs", "--json", *options).json]
    assert found == [runs[index].pk for index in reversed(expected)]


def test_a_run_is_found_by_its_number() -> None:
    run = [make_run(), make_run()][0]
    assert [found["id"] for found in say("list_runs", "--search", f"#{run.pk}", "--json").json] == [run.pk]


def test_a_limit_that_is_no_count_is_wrong_use() -> None:
    assert "Use a whole number from 1" in say("list_runs", "--limit", "0").err


def test_show_run_sums_a_metric_up() -> None:
    attempt = make_attempt()
    store_metric(attempt, "loss", [0.5, 0.123456789012345, 0.25])
    store_result(attempt, "best", {"epoch": 2}, seq=4)
    text = say("show_run", attempt.run_id).out
    assert "metric         loss = 0.25 at step 2 (last of 3, lowest 0.1235, highest 0.5)" in text
    assert 'result         best = {"epoch": 2}' in text
    assert f"all 4 values: `export_results {attempt.run_id}`" in text


def test_show_run_says_that_there_are_more_keys() -> None:
    attempt = make_attempt()
    for seq in range(1, 26):
        store_result(attempt, f"key{seq:02}", seq, seq=seq)
    text = say("show_run", attempt.run_id).out
    assert (text.count("  result  "), "more than 20 keys; all 25 values" in text) == (20, True)


def test_a_launch_prints_the_address_of_its_page_or_how_to_follow_it(settings: Any) -> None:
    settings.SITE_URL = "http://127.0.0.1:8000"
    launched = say("launch_run", "scripted", "--name", "first").out
    assert re.fullmatch(r"Launched run (\d+) \(first\): http://127\.0\.0\.1:8000/admin/runs/run/\1/change/\n", launched)
    settings.SITE_URL = ""
    assert re.search(r"Follow it with `tail_run \d+ --follow`", say("launch_run", "scripted").out)


def test_a_watched_failure_ends_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def executed_at_once(queue: str, count: int = 1) -> None:
        attempt = make_attempt(Run.objects.get())
        end_run(attempt, Status.FAILED, failure_kind="error", error="ValueError: no")
        Attempt.objects.filter(pk=attempt.pk).update(traceback="Traceback (most recent call last):\nValueError: no\n")

    monkeypatch.setattr(wake, "workers", executed_at_once)
    monkeypatch.setattr("django.db.transaction.on_commit", lambda call: call())
    said = say("launch_run", "scripted", "--watch")
    assert said.out.endswith("  Traceback (most recent call last):\n  ValueError: no\n")
    assert said.code == 1


def test_list_experiments_tells_what_can_be_configured() -> None:
    Instance.objects.create(name="mine", experiment="scripted")
    scripted = next(entry for entry in say("list_experiments", "--json").json if entry["name"] == "scripted")
    assert scripted["configuration"]["properties"]["behaviour"]["default"] == "ok"
    assert scripted["instances"] == ["mine"]
    assert 'behaviour = "ok"' in say("list_experiments").out


def test_list_workers_tells_who_is_up() -> None:
    attempt = make_attempt()
    assert attempt.worker is not None
    found = say("list_workers", "--json").json
    assert [(worker["name"], worker["busy"]) for worker in found] == [(attempt.worker.name, 1)]
    assert attempt.worker.name in say("list_workers").out


def test_tail_prints_lines_as_data() -> None:
    lines = say("tail_run", finished_attempt().run_id).out.splitlines()
    assert lines[0] == "12:00:00.001 info     line 1"
    assert lines[2] == "12:00:00.003 warning  [stderr] care␇  a=[1]"


HOSTILE = "a\x1b]0;owned\x07\x9b2J\u202eb"
BARE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("json_option", [[], ["--json"]])
@pytest.mark.parametrize(
    "command",
    ["list_runs", "show_run", "tail_run", "export_results", "list_workers", "list_schedules", "list_experiments"],
)
def test_no_stored_text_controls_the_terminal(command: str, json_option: list[str]) -> None:
    worker = make_worker(name=f"w{HOSTILE}", host=HOSTILE)
    attempt = make_attempt(run=make_run(name=HOSTILE, tags=[HOSTILE], configuration={HOSTILE: HOSTILE}), worker=worker)
    store_lines(attempt, [1], message=HOSTILE, metadata={HOSTILE: HOSTILE})
    store_result(attempt, HOSTILE, HOSTILE, seq=1)
    end_run(attempt, Status.FAILED, error=HOSTILE)
    make_schedule("s", description=HOSTILE)
    takes_a_run = command in ("show_run", "tail_run", "export_results")
    option = [] if command == "export_results" else json_option
    answer = say(command, *([attempt.run_id] if takes_a_run else []), *option)
    assert answer.code == 0
    assert "owned" in answer.out or command not in ("list_runs", "show_run", "tail_run", "export_results")
    assert BARE.findall(answer.out + answer.err) == []


@pytest.mark.parametrize("arguments", [("show_run", HOSTILE), ("launch_run", HOSTILE), ("pause_schedule", HOSTILE)])
def test_no_error_controls_the_terminal(arguments: tuple[str, str]) -> None:
    done = manage(*arguments)
    assert done.returncode == 2
    assert BARE.findall(done.stdout + done.stderr) == []


def test_tail_as_json_is_one_line_per_record() -> None:
    found = [json.loads(line) for line in say("tail_run", finished_attempt().run_id, "--json").out.splitlines()]
    assert [line["seq"] for line in found] == [1, 2, 3]
    assert found[2] == {
        "attempt": 1,
        "seq": 3,
        "time": "2026-03-01T12:00:00.003000+00:00",
        "level": "warning",
        "source": "stderr",
        "message": "\x1b[31mcare\x07",
        "metadata": {"a": [1]},
    }


@pytest.mark.parametrize(
    ("options", "seqs"),
    [
        (["--since", "1"], [2, 3]),
        (["--level", "warning"], [3]),
        (["--last", "2"], [2, 3]),
        (["--last", "2", "--since", "2"], [3]),
        (["--source", "log"], [1, 2]),
        (["--since", "3"], []),
        (["--follow"], [1, 2, 3]),
        (["--follow", "--since", "2"], [3]),
        (["--follow", "--last", "1"], [3]),
    ],
)
def test_tail_can_be_narrowed(options: list[str], seqs: list[int]) -> None:
    said = say("tail_run", finished_attempt().run_id, "--json", *options)
    assert [json.loads(line)["seq"] for line in said.out.splitlines()] == seqs
    assert said.code == 0


class Staged:
    """A screen on which something happens at each look: the acts, one after the other."""

    def __init__(self, acts: Sequence[Callable[[], Any]]) -> None:
        self.acts = list(acts)
        self.shown: list[int] = []
        self.pauses = 0

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exc_info: object) -> None: ...

    def show(self, run: Run, lines: Sequence[Line]) -> None:
        self.shown += [line.seq for line in lines]
        if self.acts:
            self.acts.pop(0)()

    def pause(self) -> None:
        self.pauses += 1


def interrupt() -> None:
    raise KeyboardInterrupt


def test_watching_ends_when_the_run_is_final_and_its_lines_were_shown() -> None:
    attempt = make_attempt()
    screen = Staged([lambda: store_lines(attempt, [1, 2]), lambda: store_lines(attempt, [3]), lambda: end_run(attempt)])
    run = Watcher(attempt.run_id, screen, follower=Follower(attempt.run_id)).watch(lambda: False)
    assert (screen.shown, run.status) == ([1, 2, 3], Status.COMPLETED)


def test_an_interrupt_asks_and_yes_cancels(django_capture_on_commit_callbacks: Any) -> None:
    attempt = make_attempt()
    screen = Staged([interrupt, lambda: end_run(attempt, Status.CANCELLED)])
    run = Watcher(attempt.run_id, screen).watch(lambda: True)
    assert run.cancel_requested_at is not None
    assert screen.pauses == 1


@pytest.mark.parametrize("answer", [lambda: False, interrupt])
def test_no_or_a_second_interrupt_leaves_the_run_alone(answer: Callable[[], bool]) -> None:
    attempt = make_attempt()
    with pytest.raises(Left):
        Watcher(attempt.run_id, Staged([interrupt])).watch(answer)
    attempt.run.refresh_from_db()
    assert attempt.run.cancel_requested_at is None


@pytest.mark.parametrize(("status", "code"), [(Status.COMPLETED, 0), (Status.FAILED, 1), (Status.CANCELLED, 3)])
def test_the_exit_code_of_a_watched_run_tells_its_end(
    monkeypatch: pytest.MonkeyPatch, status: Status, code: int
) -> None:
    def executed_at_once(queue: str, count: int = 1) -> None:
        end_run(make_attempt(Run.objects.get()), status)

    monkeypatch.setattr(wake, "workers", executed_at_once)
    monkeypatch.setattr("django.db.transaction.on_commit", lambda call: call())
    said = say("launch_run", "scripted", "--watch", "--json")
    assert (said.code, said.json["status"]) == (code, status)


def test_again_commands_make_a_new_run() -> None:
    old = finished_attempt().run
    Run.objects.filter(pk=old.pk).update(configuration={"behaviour": "ok"})
    made = [say(command, old.pk, "--json").json for command in ("retry_run", "rerun_run")]
    assert [run["origin"] for run in made] == [{"id": old.pk, "kind": "retry"}, {"id": old.pk, "kind": "rerun"}]
    assert say("retry_run", made[0]["id"]).code == 2


def test_cancel_says_what_became_of_each_run() -> None:
    pending, final = make_run(), finished_attempt().run
    said = say("cancel_run", pending.pk, final.pk, "--json")
    assert said.json == [{"id": pending.pk, "status": "cancelled"}, {"id": final.pk, "status": "completed"}]
    assert said.code == 0
    assert "had already ended: completed" in say("cancel_run", final.pk).out


def test_waiting_for_a_cancel_ends_with_its_code() -> None:
    assert say("cancel_run", make_run().pk, "--wait").code == 0
    assert say("cancel_run", finished_attempt().run_id, "--wait").code == 0


@pytest.mark.parametrize("command", ["show_run", "tail_run", "cancel_run", "retry_run", "export_results"])
def test_a_run_that_is_not_there_is_wrong_use(command: str) -> None:
    said = say(command, 12345)
    assert (said.code, said.out) == (2, "")
    assert "There is no run 12345" in said.err


def test_results_are_exported_as_json_in_order() -> None:
    attempt = finished_attempt()
    found = say("export_results", attempt.run_id).json
    assert [(row["seq"], row["key"], row["value"]) for row in found] == [
        (1, "loss", 0.5),
        (2, "loss", 0.25),
        (3, "best", {"epoch": 2}),
        (4, "note", "a, b"),
    ]
    assert say("export_results", make_run().pk).json == []


def test_results_are_exported_as_csv(tmp_path: Path) -> None:
    attempt = finished_attempt()
    path = tmp_path / "r.csv"
    say("export_results", attempt.run_id, "--format", "csv", "--output", path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["value"] for row in rows] == ["0.5", "0.25", '{"epoch": 2}', "a, b"]
    assert path.read_bytes().decode() == say("export_results", attempt.run_id, "--format", "csv").out


def test_exports_go_over_batches_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "BATCH", 3)
    attempt = make_attempt()
    store_metric(attempt, "loss", range(10))
    assert [row["value"] for row in say("export_results", attempt.run_id, "--kind", "metric").json] == list(range(10))


def test_results_are_exported_as_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "r.parquet"
    say("export_results", finished_attempt().run_id, "--format", "parquet", "--output", path)
    rows = parquet.read_table(path).to_pylist()
    assert [(row["number"], row["value"]) for row in rows] == [
        (0.5, None),
        (0.25, None),
        (None, '{"epoch": 2}'),
        (None, '"a, b"'),
    ]


def test_parquet_without_its_package_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = say("export_results", make_run().pk, "--format", "parquet", "--output", tmp_path / "x")
    assert "pip install pyarrow" in said.err
    assert said.code == 1


def test_a_database_that_is_away_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(Run.objects, "filter", away)
    said = say("list_runs")
    assert said.code == 1
    assert "refused the request: connection refused" in said.err


def test_every_screen_shows_a_run() -> None:
    attempt = finished_attempt(progress_current=1, progress_total=2, progress_message="half\x07")
    run = Run.objects.get(pk=attempt.run_id)
    out = io.StringIO()
    for screen in (Silence(), Plain(out), Terminal(out)):
        with screen:
            screen.show(run, Follower(run.pk).read().lines)
            screen.pause()
    assert out.getvalue().count("line 1") == 2
    assert "\x07" not in out.getvalue()


def manage(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_the_command_line_itself_ends_with_the_codes_that_are_promised() -> None:
    wrong = manage("launch_run", "--timeout", "soon", "scripted")
    assert wrong.returncode == 2
    assert "10m or 2h" in wrong.stderr
    helped = manage("launch_run", "--help")
    assert helped.returncode == 0
    assert "manage.py launch_run digits --config digits.toml" in helped.stdout


@pytest.mark.django_db(transaction=True)
def test_a_reader_that_goes_away_ends_a_command_quietly() -> None:
    attempt = make_attempt()
    store_lines(attempt, range(1, 5_001))
    command = f"{sys.executable} manage.py tail_run {attempt.run_id} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("12:00:00.001 info     line 1\n", "")
