"""Context of an experiment: every call becomes whole frames on a pipe, for any argument."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pickle
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from experiments import ExperimentFailed, RetryLater, RunCancelled, RunContext
from runs.child.context import AttemptInfo, ChildContext
from runs.child.control import Control
from runs.child.pipe import PipeClosed, RecordPipe
from runs.conf import runs_settings
from runs.lines.records import FRAME_MAX_BYTES
from runs.states import AttemptKey
from runs.supervisor.channel import Channel
from tests.waiting import wait_until

LINE_MAX_BYTES = 10_000


class Config(BaseModel):
    steps: int = 3


class Ends:
    """A context, and the worker's ends of its pipes."""

    def __init__(self, folder: Path, **facts: Any) -> None:
        self.read_fd, self._write_fd = os.pipe()
        control_read, self.control_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        self.gone = threading.Event()
        self.control = Control(control_read, on_gone=self.gone.set)
        self.pipe = RecordPipe(self._write_fd, line_max_bytes=LINE_MAX_BYTES)
        about = AttemptInfo(AttemptKey(7, 2), 42, None, folder, None, 1000)
        self.context = ChildContext(dataclasses.replace(about, **facts), Config(), self.pipe, self.control)
        self.control.on_tick = self.context.flush_progress
        self._channel = Channel(record_max_bytes=1 << 20, line_max_bytes=LINE_MAX_BYTES, senders_max=64)
        self.raw = b""

    def records(self, kinds: str = "LRPCASHE") -> list[Any]:
        """Return the payloads of these kinds that the worker received since the last call."""
        with suppress(BlockingIOError):
            data = os.read(self.read_fd, 1 << 20)
            self.raw += data
            return [json.loads(record[1:]) for record in self._channel.feed(data) if chr(record[0]) in kinds]
        return []

    def tell(self, **message: Any) -> None:
        os.write(self.control_fd, json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        for fd in (self.control_fd, self.read_fd, self._write_fd):
            with suppress(OSError):  # a test has closed it
                os.close(fd)
        self.gone.wait(5)

    def messages(self) -> list[str]:
        return [payload[3] for payload in self.records("L")]


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(tmp_path)
    ends.control.listen()
    yield ends
    ends.close()


@pytest.fixture
def ctx(ends: Ends) -> ChildContext[Config]:
    return ends.context


def test_it_is_what_authors_were_promised(ctx: ChildContext[Config]) -> None:
    promised: RunContext[Config] = ctx

    assert (promised.run_id, promised.attempt, promised.seed, promised.config.steps) == (7, 2, 42, 3)
    assert promised.restored is None
    assert promised.slot is None
    assert promised.workdir.is_dir()


# Lines


def test_a_line_has_level_source_and_metadata(ctx: ChildContext[Config], ends: Ends) -> None:
    before = time.time()
    ctx.log.debug("d")
    ctx.log.warning("w", batch=1, loss=0.5)

    (at, *debug), warning = ends.records()
    assert debug == [10, "log", "d", None]
    assert warning[1:] == [30, "log", "w", {"batch": 1, "loss": 0.5}]
    assert before <= at <= time.time()


@pytest.mark.parametrize(
    ("message", "shown"),
    [("nul \0", "nul \0"), ("lone \ud800", "lone \\ud800"), (42, "42"), (None, "None"), ("two\nlines", "two\nlines")],
)
def test_any_message_can_be_logged(ctx: ChildContext[Config], ends: Ends, message: Any, shown: str) -> None:
    ctx.log.info(message)
    ctx.log_batch([message])

    assert ends.messages() == [shown, shown]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


ODD = [Unprintable(), object(), cyclic(), 10**5000, {Unprintable(): 1}, "\ud800", {"\ud800": 1}]


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_any_metadata_can_be_logged(ctx: ChildContext[Config], ends: Ends, value: Any) -> None:
    ctx.log.info("message", odd=value, fine=1)

    (line,) = ends.records()
    assert line[3] == "message"
    assert line[4]["fine"] == 1
    assert "odd" in line[4]


def test_numpy_values_are_numbers_and_lists(ctx: ChildContext[Config], ends: Ends) -> None:
    values = {"f": np.float64(0.5), "i": np.int32(3), "b": np.bool_(True), "a": np.array([[1, 2], [3, 4]])}
    expected = {"f": 0.5, "i": 3, "b": True, "a": [[1, 2], [3, 4]]}
    ctx.log.info("numpy", **values)
    ctx.result("numpy", values)

    line, result = ends.records()
    assert line[4] == expected
    assert result[4] == expected


def test_a_long_line_is_sent_in_pieces(ctx: ChildContext[Config], ends: Ends) -> None:
    ctx.log.info("x" * 9_000)

    assert ends.messages() == ["x" * 9_000]
    assert all(len(frame) < FRAME_MAX_BYTES for frame in ends.raw.split(b"\n"))


@pytest.mark.parametrize("letter", ["x", "\0", "ä", "😀", "\ud800"])
def test_a_line_that_is_too_long_is_cut_with_a_mark(ctx: ChildContext[Config], ends: Ends, letter: str) -> None:
    ctx.log.info(letter * 50_000)
    ctx.log_batch([letter * 50_000])

    for message in ends.messages():
        assert " … [cut, " in message
        assert len(message.encode()) <= LINE_MAX_BYTES + 50


def test_metadata_that_is_too_long_is_cut(ctx: ChildContext[Config], ends: Ends) -> None:
    ctx.log.info("big", values=list(range(10_000)))

    (line,) = ends.records()
    assert line[3] == "big"
    assert line[4]["cut"].startswith('{"values":[0,1,2')


def test_a_batch_is_packed_and_keeps_its_order(ctx: ChildContext[Config], ends: Ends) -> None:
    texts = [f"line {n}" + "." * (n % 7 * 900) for n in range(12)]
    ctx.log_batch(texts, level="warning")

    assert ends.messages() == texts


def test_an_unknown_level_is_refused(ctx: ChildContext[Config]) -> None:
    with pytest.raises(ValueError, match="loud"):
        ctx.log_batch(["x"], level="loud")


def test_threads_and_forks_never_tear_a_frame(ctx: ChildContext[Config], ends: Ends) -> None:
    def write(who: str) -> None:
        for n in range(100):
            ctx.log.info(f"{who} {n}")
            ctx.log.info(f"{who} long {n}" + "." * 5000)

    heard: list[str] = []
    pid = os.fork()
    if pid == 0:
        ctx.after_fork()
        write("fork")
        os._exit(0)
    threads = [threading.Thread(target=write, args=(f"thread {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()

    def is_all_heard() -> bool:
        heard.extend(ends.messages())
        return len(heard) >= 1000

    wait_until(is_all_heard, what="all lines")
    os.waitpid(pid, 0)

    for who in ("fork", "thread 0", "thread 3"):
        assert [m for m in heard if m.startswith(f"{who} ") and "long" not in m] == [f"{who} {n}" for n in range(100)]
    assert not [m for m in heard if "unreadable" in m]


# Results, progress


def test_results_and_metrics(ctx: ChildContext[Config], ends: Ends) -> None:
    ctx.result("answer", {"a": [1, None, "x"]})
    ctx.metric("loss", np.float32(0.5), step=np.int64(3))  # type: ignore[arg-type]
    for value in (float("nan"), float("inf"), float("-inf")):
        ctx.metric("odd", value)

    found = [payload[1:] for payload in ends.records("R")]
    assert found[0] == ["result", "answer", None, {"a": [1, None, "x"]}]
    assert found[1] == ["metric", "loss", 3, 0.5]
    assert [payload[3] for payload in found[2:]] == ["nan", "inf", "-inf"]


@pytest.mark.parametrize("value", [object(), cyclic(), {(1, 2): object()}, Unprintable(), {1j}])
def test_a_result_without_json_is_refused(ctx: ChildContext[Config], ends: Ends, value: Any) -> None:
    with pytest.raises(TypeError, match=r"ctx\.result\('key'"):
        ctx.result("key", value)
    assert ends.records() == []


def test_of_many_progresses_the_first_and_the_last_arrive(ctx: ChildContext[Config], ends: Ends) -> None:
    for step in range(1000):
        ctx.progress(step, 1000, "working")
    found: list[Any] = []

    def has_come() -> bool:
        found.extend(ends.records("P"))
        return found[-1:] == [[999, 1000, "working"]]

    wait_until(has_come, what="the last")

    assert found[0] == [0, 1000, "working"]
    assert len(found) < 100


def test_tracking_counts_and_ends_with_the_total(ctx: ChildContext[Config], ends: Ends) -> None:
    assert list(ctx.track("abc", "Reading")) == ["a", "b", "c"]

    assert ends.records("P")[-1] == [3, 3, "Reading"]


# Cancel


def test_a_cancel_wakes_a_sleep_and_is_said_to_be_seen_once(ctx: ChildContext[Config], ends: Ends) -> None:
    threading.Timer(0.1, ends.tell, kwargs={"do": "cancel"}).start()
    started = time.monotonic()
    with pytest.raises(RunCancelled):
        ctx.sleep(30)

    assert time.monotonic() - started < 10
    assert ctx.cancelled
    assert len(ends.records("S")) == 1


def test_a_cancel_ends_tracking(ctx: ChildContext[Config], ends: Ends) -> None:
    items = ctx.track(range(5))
    assert next(items) == 0
    ends.control.cancel()

    with pytest.raises(RunCancelled):
        next(items)


def test_stopping_is_no_cancel(ctx: ChildContext[Config], ends: Ends) -> None:
    ends.tell(do="stopping")
    wait_until(lambda: ctx.stopping)

    assert not ctx.cancelled
    ctx.raise_if_cancelled()


def test_forked_children_see_a_cancel(ctx: ChildContext[Config], ends: Ends) -> None:
    pid = os.fork()
    if pid == 0:
        with suppress(RunCancelled):
            ctx.sleep(30)
        os._exit(3 if ctx.cancelled else 4)
    ends.tell(do="cancel")

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3


def test_hostile_control_messages_are_ignored(ctx: ChildContext[Config], ends: Ends) -> None:
    os.write(ends.control_fd, b'\xff\n{}\n[]\n{"do":"ack","id":"x"}\n{"do":1}\n{"do":"stopping"}\n')

    wait_until(lambda: ctx.stopping)


def test_the_end_of_the_worker_is_noticed(ends: Ends) -> None:
    os.close(ends.control_fd)

    assert ends.gone.wait(5)


# Checkpoints


def test_a_synchronous_checkpoint_that_is_refused_is_an_error_at_the_call(
    ctx: ChildContext[Config], ends: Ends
) -> None:
    ends.tell(do="refused", id=1, why="The checkpoint could not be stored: too long")
    with pytest.raises(ValueError, match="could not be stored: too long"):
        ctx.checkpoint({}, sync=True)


def test_a_checkpoint_is_sent_and_a_synchronous_one_waits(ctx: ChildContext[Config], ends: Ends) -> None:
    ctx.checkpoint({"step": 1})
    assert ends.records() == [{"id": 1, "sync": False, "state": {"step": 1}}]

    waiting = threading.Thread(target=ctx.checkpoint, args=({"step": 2},), kwargs={"sync": True})
    waiting.start()
    wait_until(lambda: ends.records("C"))
    assert waiting.is_alive()
    ends.tell(do="ack", id=2)
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_cancel_ends_the_wait_for_a_checkpoint(ctx: ChildContext[Config], ends: Ends) -> None:
    threading.Timer(0.1, ends.tell, kwargs={"do": "cancel"}).start()

    with pytest.raises(RunCancelled):
        ctx.checkpoint({}, sync=True)


@pytest.mark.parametrize("state", [{"x": object()}, {"x": "y" * 1001}, [1, 2], None])
def test_a_checkpoint_that_cannot_be_kept_is_refused(ctx: ChildContext[Config], ends: Ends, state: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        ctx.checkpoint(state)
    assert ends.records() == []


# Artifacts


def test_an_artifact_of_bytes(ctx: ChildContext[Config], ends: Ends, tmp_path: Path) -> None:
    path = ctx.artifact(b"hello", "plots/loss.txt")

    assert path.read_bytes() == b"hello"
    (record,) = ends.records("A")
    assert record["path"] == "artifacts/2/plots/loss.txt"
    assert tmp_path / record["path"] == path
    assert (record["name"], record["size_bytes"], record["content_type"]) == ("plots/loss.txt", 5, "text/plain")
    assert record["sha256"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_an_artifact_of_a_file_replaces_the_one_before_and_leaves_no_draft(
    ctx: ChildContext[Config], tmp_path: Path
) -> None:
    source = tmp_path / "model.bin"
    for content in (b"one", b"two"):
        source.write_bytes(content)
        kept = ctx.artifact(source, content_type="application/x-model")

    assert kept.read_bytes() == b"two"
    assert [path.name for path in kept.parent.iterdir()] == ["model.bin"]


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", ".", "a\0b", "a\nb", "x" * 300, "a\\b", ".tmp-1"])
def test_an_artifact_stays_in_its_folder(ctx: ChildContext[Config], ends: Ends, name: str) -> None:
    with pytest.raises(ValueError, match="Invalid name of an artifact"):
        ctx.artifact(b"x", name)
    assert ends.records() == []


def test_an_artifact_needs_a_name_and_a_file(ctx: ChildContext[Config], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a name"):
        ctx.artifact(b"x")
    with pytest.raises(FileNotFoundError):
        ctx.artifact(tmp_path / "missing")


def folder_with_files(folder: Path, count: int = 2) -> Path:
    (folder / "model" / "empty").mkdir(parents=True)
    for number in range(count):
        path = folder / "model" / f"layer-{number % 2}" / f"{number}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes([number % 256]))
    return folder / "model"


def test_of_a_folder_every_file_is_an_artifact(ctx: ChildContext[Config], ends: Ends, tmp_path: Path) -> None:
    kept = ctx.artifact(folder_with_files(tmp_path))

    assert [record["name"] for record in ends.records("A")] == ["model/layer-0/0.bin", "model/layer-1/1.bin"]
    assert (kept / "layer-1" / "1.bin").read_bytes() == b"\1"


@pytest.mark.parametrize("name", ["m.zip", "m.tar", "m.tar.gz", "deep/m.tgz"])
def test_a_folder_is_kept_as_an_archive(ctx: ChildContext[Config], ends: Ends, tmp_path: Path, name: str) -> None:
    kept = ctx.artifact(folder_with_files(tmp_path), name)

    assert [record["name"] for record in ends.records("A")] == [name]
    is_zip = zipfile.is_zipfile(kept)
    with zipfile.ZipFile(kept) if is_zip else tarfile.open(kept) as archive:
        archive.extractall(tmp_path / "unpacked", **({} if is_zip else {"filter": "data"}))  # type: ignore[arg-type]
    assert (tmp_path / "unpacked" / "layer-0" / "0.bin").read_bytes() == b"\0"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp-")]


def too_many(folder: Path) -> Path:
    return folder_with_files(folder, runs_settings().artifact_files_max + 1)


def with_a_fifo(folder: Path) -> Path:
    path = folder_with_files(folder)
    os.mkfifo(path / "fifo")
    return path


def with_a_linked_folder(folder: Path) -> Path:
    path = folder_with_files(folder)
    (path / "link").symlink_to(folder, target_is_directory=True)
    return path


def without_files(folder: Path) -> Path:
    return folder_with_files(folder, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (too_many, r"more than 1000 files .* as one archive"),
        (with_a_fifo, "fifo is neither a file nor a folder"),
        (with_a_linked_folder, "link is neither a file nor a folder"),
        (without_files, "has no files"),
    ],
)
def test_a_folder_that_cannot_be_kept_whole_is_refused(
    ctx: ChildContext[Config], ends: Ends, tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ctx.artifact(make(tmp_path))
    assert ends.records() == []


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("model", "model/w.bin", "'model' is already a file of this attempt"),
        ("model", "model/a/b", "'model' is already a file of this attempt"),
        ("a/model", "a/model/w.bin", "'a/model' is already a file of this attempt"),
        ("model/w.bin", "model", "already has artifacts below 'model'"),
    ],
)
def test_a_name_is_a_file_or_a_folder(ctx: ChildContext[Config], first: str, second: str, message: str) -> None:
    ctx.artifact(b"1", first)

    with pytest.raises(ValueError, match=message):
        ctx.artifact(b"2", second)


# Ends


def test_failing_and_retrying(ctx: ChildContext[Config]) -> None:
    with pytest.raises(ExperimentFailed, match="no luck"):
        ctx.fail("no luck")
    with pytest.raises(RetryLater, match="busy") as caught:
        ctx.retry_later("busy", 5)
    assert caught.value.after_s == 5


@pytest.mark.parametrize("pause_s", [math.inf, math.nan, 1e12])
def test_a_pause_that_is_none_is_refused_in_the_experiment(ctx: ChildContext[Config], pause_s: float) -> None:
    with pytest.raises(ValueError, match="a year"):
        ctx.retry_later("busy", pause_s)


def test_a_closed_pipe_is_a_clear_error(ctx: ChildContext[Config], ends: Ends) -> None:
    os.close(ends.pipe.fd)
    speaks: list[Callable[[], None]] = [
        lambda: ctx.log.info("x"),
        lambda: ctx.log_batch(["x"]),
        lambda: ctx.result("x", 1),
    ]
    for speak in speaks:
        with pytest.raises(PipeClosed, match="descriptors"):
            speak()


def test_the_context_cannot_be_sent_to_another_process(ctx: ChildContext[Config]) -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        pickle.dumps(ctx)
