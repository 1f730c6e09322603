"""Whatever user code does to its process: its run ends in a true state with its last lines, and no other is harmed."""

from __future__ import annotations

from typing import Any

import pytest

from runs import services
from runs.conf import runs_settings
from runs.folders import run_folder
from runs.lines.ranges import gaps
from runs.models import Attempt, Run
from runs.states import FailureKind, Source, Status
from runs.supervisor.memory import machine_memory_bytes
from tests.stack import Stack, ended, messages, processes_of
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance

MIB = 1024 * 1024
CREDENTIALS = ("ATHANOR_REDIS_URL", "ATHANOR_DATABASE_URL", "ATHANOR_SECRET_KEY")


def launch(behaviour: str, *, experiment: str = "scripted", limits: dict[str, Any] | None = None, **config: Any) -> Run:
    return services.launch(experiment, configuration={"behaviour": behaviour, **config}, limits=limits)


def last_attempt(run: Run) -> Attempt:
    return run.attempts.latest("number")


def own_messages(run: Run) -> list[str]:
    return messages(run, source=Source.LOG)


def is_complete(run: Run) -> bool:
    """Every line and result that was emitted is stored: the counts agree, and no seq is missing."""
    attempt = last_attempt(run)
    assert attempt.lines_emitted is not None
    assert attempt.results_emitted is not None
    assert run.lines.filter(attempt=attempt.number).count() == attempt.lines_emitted
    return not gaps(attempt.lines_stored, attempt.lines_emitted) + gaps(attempt.results_stored, attempt.results_emitted)


@pytest.mark.parametrize("experiment", ["scripted", "scripted_async"])
def test_a_run_completes_with_everything_that_it_said(stack: Stack, experiment: str) -> None:
    run = ended(launch("ok", experiment=experiment, count=5))
    assert (run.status, run.error) == (Status.COMPLETED, "")
    assert own_messages(run) == [f"scripted {n}" for n in range(5)]
    assert is_complete(run)


def test_results_metrics_artifacts_and_progress_are_stored(stack: Stack) -> None:
    run = ended(launch("ok", count=4, text="hello"))
    assert list(run.results.filter(key="value").order_by("seq").values_list("step", "number")) == [
        (0, 0.0), (1, 0.5), (2, 1.0), (3, 1.5),
    ]  # fmt: skip
    assert run.results.get(key="answer").value == {"count": 4}
    artifact = run.artifacts.get()
    assert (artifact.name, artifact.size_bytes, artifact.content_type) == ("hello.txt", 5, "text/plain")
    assert (run.progress_current, run.progress_total) == (4, 4)
    assert run.summary == {"count": 4, "attempt": 1, "seed": run.seed}


@pytest.mark.parametrize(
    ("config", "status", "kind", "said"),
    [
        ({"behaviour": "raise", "text": "boom"}, Status.FAILED, FailureKind.ERROR, "ValueError: boom"),
        ({"behaviour": "fail", "text": "no data"}, Status.FAILED, FailureKind.ERROR, "no data"),
        ({"behaviour": "exit", "code": 0}, Status.COMPLETED, None, ""),
        ({"behaviour": "exit", "code": None}, Status.COMPLETED, None, ""),
        ({"behaviour": "exit", "code": 3}, Status.FAILED, FailureKind.ERROR, "3"),
        ({"behaviour": "exit", "code": "why"}, Status.FAILED, FailureKind.ERROR, "why"),
        ({"behaviour": "os_exit", "code": 0}, Status.FAILED, FailureKind.CRASHED, "Exited with status 0"),
        ({"behaviour": "os_exit", "code": 7}, Status.FAILED, FailureKind.CRASHED, "Exited with status 7"),
        ({"behaviour": "segfault"}, Status.FAILED, FailureKind.CRASHED, "SIGSEGV"),
        ({"behaviour": "sigkill"}, Status.FAILED, FailureKind.CRASHED, "SIGKILL"),
        ({"behaviour": "unserialisable"}, Status.FAILED, FailureKind.ERROR, "JSON"),
    ],
)
def test_every_way_to_end(
    stack: Stack, config: dict[str, Any], status: Status, kind: FailureKind | None, said: str
) -> None:
    run = ended(launch(**config))
    assert (run.status, run.failure_kind or None) == (status, kind)
    assert said in run.error
    assert is_complete(run)
    assert processes_of(run) == []


@pytest.mark.parametrize("behaviour", ["raise", "exit", "os_exit", "segfault", "sigkill"])
def test_the_last_line_before_the_end_is_stored(stack: Stack, behaviour: str) -> None:
    assert own_messages(ended(launch(behaviour)))[-1].startswith("about to")


def test_an_exception_leaves_its_traceback_and_ctx_fail_leaves_none(stack: Stack) -> None:
    raised, failed = launch("raise"), launch("fail")
    assert "ValueError" in last_attempt(ended(raised)).traceback
    assert last_attempt(ended(failed)).traceback == ""


def test_a_segfault_leaves_its_signal_and_the_stacks(stack: Stack) -> None:
    attempt = last_attempt(ended(launch("segfault")))
    assert attempt.signal == 11
    assert attempt.certificate is not None
    assert "Segmentation fault" in attempt.certificate["stacks"]


def test_memory_beyond_the_limit_ends_the_run(stack: Stack) -> None:
    run = ended(launch("allocate", mib=600, hold_s=60, limits={"memory_limit_bytes": 256 * MIB}))
    assert (run.status, run.failure_kind) == (Status.FAILED, FailureKind.MEMORY)
    assert "256 MiB" in run.error
    peak = last_attempt(run).peak_memory_bytes
    assert peak is not None
    assert peak > 256 * MIB


def test_a_run_within_its_memory_limit_completes(stack: Stack) -> None:
    run = ended(launch("allocate", mib=50, hold_s=2.5, limits={"memory_limit_bytes": 512 * MIB}))
    assert run.status == Status.COMPLETED


def test_a_run_without_a_memory_limit_has_the_default_of_its_worker(stack: Stack) -> None:
    limit = last_attempt(ended(launch("ok"))).memory_limit_bytes
    assert limit is not None
    assert limit == int(machine_memory_bytes() * runs_settings().memory_default_share)


@pytest.mark.parametrize(("behaviour", "is_kept"), [("log_many", False), ("raise", False), ("ok", True)])
def test_only_a_run_that_left_files_leaves_a_folder(stack: Stack, behaviour: str, is_kept: bool) -> None:
    run = ended(launch(behaviour))
    wait_until(lambda: run_folder(run.pk).exists() is is_kept, what="the folder to be as it should")


@pytest.mark.parametrize("mode", ["sleep", "swallow"])
def test_a_time_limit_ends_the_run(stack: Stack, mode: str) -> None:
    limits = {"timeout_s": 0.5, "cancel_grace_s": 0.5, "kill_grace_s": 0.5}
    run = ended(launch("hang", mode=mode, limits=limits))
    assert (run.status, run.failure_kind) == (Status.FAILED, FailureKind.TIMEOUT)
    assert last_attempt(run).interrupted_at is not None


def test_silence_beyond_the_limit_ends_the_run_and_shows_where_it_hung(stack: Stack) -> None:
    run = ended(launch("hang", limits={"stall_timeout_s": 0.5, "cancel_grace_s": 0.5, "kill_grace_s": 0.5}))
    assert (run.status, run.failure_kind) == (Status.FAILED, FailureKind.STALLED)
    certificate = last_attempt(run).certificate
    assert certificate is not None
    assert "hang" in certificate["stacks"]


def test_a_run_that_speaks_does_not_stall(stack: Stack) -> None:
    run = ended(launch("log_many", count=15, pause_s=0.1, limits={"stall_timeout_s": 1.0}))
    assert run.status == Status.COMPLETED


@pytest.mark.parametrize("behaviour", ["close_pipes", "close_output"])
def test_closed_pipes_end_in_a_true_state(stack: Stack, behaviour: str) -> None:
    run = ended(launch(behaviour, hold_s=3))
    assert run.status == (Status.COMPLETED if behaviour == "close_output" else Status.FAILED)
    assert is_complete(run)


FORGED = (
    'A{"name":"x","path":"x","size_bytes":1180591620717411303424,"sha256":"","content_type":"text/plain"}',
    'A{"name":"y","path":"y","size_bytes":1,"sha256":"","content_type":"' + "x" * 5000 + '"}',
    'R[1.0,"metric","' + "n" * 5000 + '",1,0.5]',
    'R[1.0,"metric","loss",1,1' + "0" * 400 + "]",
    'R[1.0,"result","deep",null,' + "[" * 20_000 + "]" * 20_000 + "]",
    'L[1.0,20,"log","deep",{"a":' + "[" * 990 + "]" * 990 + "}]",
    'C{"id":1,"sync":false,"state":{"a":' + "[" * 20_000 + "]" * 20_000 + "}}",
    'P["much",null,""]',
    'E{"outcome":"vanished"}',
    "?garbage",
)


def test_no_record_of_a_child_ends_its_supervisor(stack: Stack) -> None:
    run = ended(launch("forge", text="\n".join(FORGED)))
    assert (run.status, run.attempt, run.summary) == (Status.COMPLETED, 1, {"forged": True})
    assert own_messages(run)[-1] == "still there"
    assert is_complete(run)
    shown = [message for message in messages(run, source=Source.SYSTEM) if "unreadable record" in message]
    assert len(shown) == 7
    assert run.results.filter(key="unreadable").count() == 2


def test_a_flood_is_stored_line_by_line(stack: Stack) -> None:
    run = ended(launch("flood", count=100_000), timeout_s=90)
    assert run.status == Status.COMPLETED
    assert is_complete(run)
    assert own_messages(run) == [f"line {n}" for n in range(100_000)]


def test_a_long_line_is_cut_visibly(stack: Stack) -> None:
    run = ended(launch("flood_raw", size=10 * MIB), timeout_s=60)
    line = run.lines.get(source=Source.STDOUT)
    assert len(line.message.encode()) < 300_000
    assert "cut" in line.message[-100:]


def test_bytes_that_are_no_text_are_shown(stack: Stack) -> None:
    run = ended(launch("raw_bytes"))
    assert messages(run, source=Source.STDOUT) == ["nul ␀ here", r"invalid \xff\xfe here"]
    assert messages(run, source=Source.STDERR) == ["no newline"]


def test_everything_printed_is_captured_with_its_source_in_one_order(stack: Stack) -> None:
    run = ended(launch("print", count=2, text="x"))
    once = ["x stdout", "x stderr", "x logging", "x warning", "x log"]
    by_python = [m for m in messages(run) if m.startswith("x ") and "child" not in m]
    assert by_python == once * 2
    assert messages(run, source=Source.STDOUT) == ["x stdout", "x stdout", "x child stdout"]
    assert "x child stderr" in messages(run, source=Source.STDERR)
    assert run.lines.filter(source=Source.LOGGING, message="x logging").count() == 2


def test_a_progress_bar_is_folded(stack: Stack) -> None:
    run = ended(launch("progress_bar", count=40, pause_s=0.02))
    stdout = messages(run, source=Source.STDOUT)
    assert stdout[-1] == "40/40"
    assert len(stdout) < 10


@pytest.mark.parametrize("behaviour", ["fork_workers", "threads"])
def test_many_writers_tear_nothing(stack: Stack, behaviour: str) -> None:
    run = ended(launch(behaviour, count=4, lines=2000, size=6000), timeout_s=60)
    assert run.status == Status.COMPLETED
    lines = own_messages(run)
    who = "process" if behaviour == "fork_workers" else "thread"
    assert sorted(line.rstrip(".") for line in lines) == sorted(
        f"{who} {n} line {m}" for n in range(4) for m in range(2000)
    )


@pytest.mark.parametrize("behaviour", ["spawn_children", "daemonize"])
@pytest.mark.parametrize("then", ["return", "raise", "crash", "segfault"])
def test_no_process_outlives_its_run(stack: Stack, behaviour: str, then: str) -> None:
    run = ended(launch(behaviour, count=3, then=then))
    assert run.results.filter(key="pid").count() == 3
    assert processes_of(run) == []


def test_others_go_on_while_one_crashes(stack: Stack) -> None:
    quiet = launch("log_many", count=20, pause_s=0.05)
    crashes = [launch("segfault") for _ in range(3)]
    assert {ended(run).failure_kind for run in crashes} == {FailureKind.CRASHED}
    assert ended(quiet).status == Status.COMPLETED
    assert quiet.attempt == 1


def test_the_child_has_none_of_our_credentials(stack: Stack) -> None:
    run = ended(launch("environment"))
    environ: dict[str, str] = run.results.get(key="environ").value  # type: ignore[assignment]  # JSON
    assert [name for name in environ if name in CREDENTIALS] == []
    assert environ["ATHANOR_ROLE"] == "child"
    assert environ["ATHANOR_ATTEMPT"] == f"{run.pk}.1"


def test_no_descriptor_but_its_own_reaches_the_child(stack: Stack) -> None:
    """A database or Redis connection of the worker in the child would be shared with it."""
    run = ended(launch("environment"))
    descriptors: list[str] = run.results.get(key="descriptors").value  # type: ignore[assignment]  # JSON
    kinds = {fd.split(":")[0] for fd in descriptors}
    assert kinds <= {"pipe", "/dev/null", "anon_inode"}
