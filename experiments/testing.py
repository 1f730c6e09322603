"""Test an experiment without Athanor: a context that records the experiment's output in memory.

    ctx = RecordingContext(MonteCarloPi.Config(batches=3), workdir=tmp_path)
    summary = MonteCarloPi().run(ctx)
    assert len(ctx.metrics["pi"]) == 3

It needs no Django, Celery or Redis, and starts no process. `ctx.cancel_after(n)` cancels at the n-th check, and
`ctx.next_attempt()` is the context that a later attempt would get.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Generic, NamedTuple, NoReturn

from experiments import arguments
from experiments.context import ConfigT_co, ItemT, RunLog
from experiments.exceptions import ExperimentFailed, RetryLater, RunCancelled, UnstorableValue, pause_within_reason
from experiments.jsonvalues import pack, shown, unpack

CHECKPOINT_MAX_BYTES = 1024 * 1024
RESULT_MAX_BYTES = 256 * 1024

_ARCHIVES = {".zip": "zip", ".tar.gz": "gztar", ".tgz": "gztar", ".tar": "tar"}
"""Suffix of an artifact's name → format of shutil.make_archive, for a folder stored as an archive."""


class RecordedLine(NamedTuple):
    level: str
    message: str
    metadata: dict[str, Any]


class Point(NamedTuple):
    """One point of a metric."""

    step: int | None
    value: float


class RecordedProgress(NamedTuple):
    current: float
    total: float | None
    message: str


class _Log:
    """RunLog that appends to a list."""

    def __init__(self, lines: list[RecordedLine]) -> None:
        self._lines = lines

    def debug(self, message: str, /, **metadata: Any) -> None:
        self._lines.append(RecordedLine("debug", message, metadata))

    def info(self, message: str, /, **metadata: Any) -> None:
        self._lines.append(RecordedLine("info", message, metadata))

    def warning(self, message: str, /, **metadata: Any) -> None:
        self._lines.append(RecordedLine("warning", message, metadata))

    def error(self, message: str, /, **metadata: Any) -> None:
        self._lines.append(RecordedLine("error", message, metadata))


@dataclass
class RecordingContext(Generic[ConfigT_co]):
    """RunContext that records everything in its public attributes; `sleep` does not wait."""

    config: ConfigT_co
    workdir: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="athanor-")))
    run_id: int = 1
    attempt: int = 1
    seed: int = 0
    slot: datetime | None = None
    restored: dict[str, Any] | None = None
    stopping: bool = False

    lines: list[RecordedLine] = field(default_factory=list, init=False)
    results: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list), init=False)
    metrics: dict[str, list[Point]] = field(default_factory=lambda: defaultdict(list), init=False)
    progresses: list[RecordedProgress] = field(default_factory=list, init=False)
    checkpoints: list[dict[str, Any]] = field(default_factory=list, init=False)
    artifacts: dict[str, Path] = field(default_factory=dict, init=False)
    slept_s: float = field(default=0.0, init=False)
    _cancel: threading.Event = field(default_factory=threading.Event, init=False)
    _checks_left: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.log: RunLog = _Log(self.lines)
        self.workdir.mkdir(parents=True, exist_ok=True)

    def cancel(self) -> None:
        """Request a cancel, from any thread."""
        self._cancel.set()

    def cancel_after(self, checks: int) -> None:
        """Cancel at the experiment's n-th check (`cancelled`, `track`, `sleep`, `raise_if_cancelled`)."""
        self._checks_left = checks

    def next_attempt(self) -> RecordingContext[ConfigT_co]:
        """Return the context of a later attempt of the same run: the last checkpoint and the same folder."""
        last = self.checkpoints[-1] if self.checkpoints else self.restored
        return RecordingContext(
            self.config,
            workdir=self.workdir,
            run_id=self.run_id,
            attempt=self.attempt + 1,
            seed=self.seed,
            slot=self.slot,
            restored=last,
        )

    def log_batch(self, messages: Sequence[str], *, level: str = "info") -> None:
        self.lines.extend(RecordedLine(level, message, {}) for message in messages)

    def result(self, key: str, value: Any) -> None:
        name = arguments.key("ctx.result", key)
        try:
            packed = pack(value, max_bytes=RESULT_MAX_BYTES)
        except UnstorableValue as error:
            raise error.within(f"ctx.result({name!r}, ...)") from error
        self.results[name].append(unpack(packed))

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        key = arguments.key("ctx.metric", name)
        call = f"ctx.metric({key!r}, ...)"
        self.metrics[key].append(Point(arguments.step(call, step), arguments.number(call, value)))

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        as_float = arguments.finite(current)
        if as_float is None:
            as_float = self.progresses[-1].current if self.progresses else 0.0
        self.progresses.append(
            RecordedProgress(as_float, arguments.finite(total), arguments.progress_message(shown(message)))
        )

    def track(self, items: Iterable[ItemT], message: str = "", *, total: int | None = None) -> Iterator[ItemT]:
        if total is None:
            total = arguments.size(items)
        self.progress(0, total, message)
        for done, item in enumerate(items, start=1):
            self.raise_if_cancelled()
            yield item
            self.progress(done, total, message)

    @property
    def cancelled(self) -> bool:
        if self._checks_left is not None:
            self._checks_left -= 1
            if self._checks_left <= 0:
                self._cancel.set()
        return self._cancel.is_set()

    def raise_if_cancelled(self) -> None:
        if self.cancelled:
            raise RunCancelled("the run was cancelled")

    def sleep(self, seconds: float) -> None:
        self.raise_if_cancelled()
        self.slept_s += seconds
        time.sleep(min(seconds, 0.001))  # lets other processes and threads of the experiment proceed

    def checkpoint(self, state: Mapping[str, Any], *, sync: bool = False) -> None:  # noqa: ARG002  # recorded at once
        if not isinstance(state, Mapping):
            raise ValueError(f"A checkpoint is a mapping, not {type(state).__name__}")  # noqa: TRY004  # as the protocol says
        try:
            packed = pack(dict(state), max_bytes=CHECKPOINT_MAX_BYTES, keep_types=True)
        except UnstorableValue as error:
            raise error.within("ctx.checkpoint(...)") from error
        self.checkpoints.append(unpack(packed))

    def artifact(
        self,
        source: Path | str | bytes,
        name: str | None = None,
        *,
        content_type: str | None = None,  # noqa: ARG002  # stored files are not displayed
    ) -> Path:
        if isinstance(source, bytes) and name is None:
            raise ValueError("Bytes need a name")
        plain = PurePosixPath(name if name is not None else Path(str(source)).name)
        if plain.is_absolute() or not plain.parts or ".." in plain.parts:
            raise ValueError(f"{str(plain)!r} is not a plain relative path")
        target = self.workdir / ".artifacts" / str(self.attempt) / plain
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            target.write_bytes(source)
        elif not Path(source).is_dir():
            shutil.copyfile(source, target)
        elif plain.name.endswith(tuple(_ARCHIVES)):
            suffix = next(suffix for suffix in _ARCHIVES if plain.name.endswith(suffix))
            Path(shutil.make_archive(f"{target}.draft", _ARCHIVES[suffix], root_dir=source)).replace(target)
        else:
            shutil.copytree(source, target, dirs_exist_ok=True)
            files = [file for file in target.rglob("*") if file.is_file()]
            self.artifacts |= {f"{plain}/{file.relative_to(target)}": file for file in files}
            return target
        self.artifacts[str(plain)] = target
        return target

    def fail(self, message: str) -> NoReturn:
        raise ExperimentFailed(message)

    def retry_later(self, reason: str, after_s: float = 0.0) -> NoReturn:
        raise RetryLater(reason, pause_within_reason(after_s))
