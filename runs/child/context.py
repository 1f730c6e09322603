"""Context of a running experiment, in its own process: each call sends a record through the pipe.

Safe to use from threads and from forked children of the experiment. A forked child sees cancels, but only the process
itself can wait for a checkpoint.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import msgspec
from pydantic import BaseModel

from experiments import arguments
from experiments.exceptions import ExperimentFailed, RetryLater, RunCancelled, UnstorableValue, pause_within_reason
from experiments.umask import PRIVATE_FOLDER
from runs.child import artifacts, jsonable
from runs.child.clocks import CLOCKS
from runs.child.control import Control
from runs.child.pipe import RecordPipe
from runs.child.progress import ProgressSender
from runs.conf import runs_settings
from runs.lines.records import ARTIFACT, CHECKPOINT, SEEN
from runs.states import AttemptKey, Level, ResultKind, Source

ConfigT = TypeVar("ConfigT", bound=BaseModel)
ItemT = TypeVar("ItemT")

_LEVELS = {level.label: level.value for level in Level}
_LOG = Source.LOG.value
_NAMES_MAX = 10_000
_STEP_MAX = arguments.STEP_MAX


@dataclass(frozen=True, slots=True)
class AttemptInfo:
    """Fixed values of an attempt, as the context gives them to the experiment."""

    key: AttemptKey
    seed: int
    slot: str | None
    folder: Path
    restored: dict[str, Any] | None
    checkpoint_max_bytes: int


class ChildLog:
    """`ctx.log`."""

    __slots__ = ("_line",)

    def __init__(self, line: Callable[[int, str, str, dict[str, Any]], None]) -> None:
        self._line = line

    def debug(self, message: str, /, **metadata: Any) -> None:
        self._line(10, _LOG, message, metadata)

    def info(self, message: str, /, **metadata: Any) -> None:
        self._line(20, _LOG, message, metadata)

    def warning(self, message: str, /, **metadata: Any) -> None:
        self._line(30, _LOG, message, metadata)

    def error(self, message: str, /, **metadata: Any) -> None:
        self._line(40, _LOG, message, metadata)


class ChildContext(Generic[ConfigT]):
    """Implementation of `experiments.RunContext`, which documents each method."""

    def __init__(self, info: AttemptInfo, config: ConfigT, pipe: RecordPipe, control: Control) -> None:
        self._info, self._config, self._pipe, self._control = info, config, pipe, control
        self._log = ChildLog(pipe.line)
        self._progress = ProgressSender(pipe)
        self._metrics: set[str] = set()
        """Names of metrics that were checked, at most _NAMES_MAX."""
        self._checkpoints = 0
        self._checkpoint_lock = threading.RLock()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "The run's context cannot be sent to another process: it works in the experiment's process and in processes"
            " forked from it. Return values to the experiment's process, and record them there."
        )

    # Fixed values

    @property
    def config(self) -> ConfigT:
        return self._config

    @property
    def run_id(self) -> int:
        return self._info.key.run_id

    @property
    def attempt(self) -> int:
        return self._info.key.number

    @property
    def seed(self) -> int:
        return self._info.seed

    @property
    def slot(self) -> datetime | None:
        slot = self._info.slot
        return None if slot is None else datetime.fromisoformat(slot)

    @property
    def restored(self) -> dict[str, Any] | None:
        return self._info.restored

    @property
    def workdir(self) -> Path:
        path = self._info.folder / "work"
        path.parent.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        path.mkdir(exist_ok=True)
        return path

    # Records

    @property
    def log(self) -> ChildLog:
        return self._log

    def log_batch(self, messages: Sequence[str], *, level: str = "info") -> None:
        if level not in _LEVELS:
            raise ValueError(f"Invalid level {level!r}. Use one of {', '.join(_LEVELS)}.")
        self._pipe.batch(_LEVELS[level], _LOG, messages)

    def result(self, key: str, value: Any) -> None:
        """Raises UnstorableValue for a value that cannot be stored exactly, ValueError for a key that is too long."""
        name = arguments.key("ctx.result", key)
        try:
            body = jsonable.strict(value, max_bytes=runs_settings().result_max_bytes)
        except UnstorableValue as error:
            raise error.within(f"ctx.result({name!r}, ...)") from error
        self._pipe.result(ResultKind.RESULT.value, name, None, body)

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        """Raises TypeError or ValueError if the value is not a number, OverflowError for a step beyond 64 bits."""
        if (
            type(name) is str
            and name in self._metrics
            and type(value) is float
            and math.isfinite(value)
            and (step is None or (type(step) is int and -_STEP_MAX <= step <= _STEP_MAX))
        ):
            self._pipe.metric(name, step, value)
        else:
            self._unusual_metric(name, value, step)

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Never raises. A `current` that is not a finite number is ignored; such a `total` is unknown."""
        self._progress.set(arguments.finite(current), arguments.finite(total), message)

    def track(self, items: Iterable[ItemT], message: str = "", *, total: int | None = None) -> Iterator[ItemT]:
        if total is None:
            total = arguments.size(items)
        self.progress(0, total, message)
        for done, item in enumerate(items, 1):
            self.raise_if_cancelled()
            yield item
            self.progress(done, total, message)
        self.flush_progress()

    def checkpoint(self, state: Mapping[str, Any], *, sync: bool = False) -> None:
        """Raises ValueError for a state that cannot be stored exactly or is too large, RunCancelled on a cancel before
        a `sync` checkpoint is stored, RuntimeError for `sync` in a forked child.
        """
        body = self._checked_state(state)
        if sync and self._control.is_forked:
            raise RuntimeError(
                "ctx.checkpoint(sync=True) works in the experiment's own process only, not in a forked one"
            )
        with self._checkpoint_lock:
            self._checkpoints += 1
            number = self._checkpoints
            record = msgspec.json.encode({"id": number, "sync": sync, "state": msgspec.Raw(body)})
            self._pipe.send(CHECKPOINT, record)
        if sync and not self._control.wait_for_acknowledgement(number):
            self.raise_if_cancelled()

    def artifact(self, source: Path | str | bytes, name: str | None = None, *, content_type: str | None = None) -> Path:
        stored = artifacts.store(self._info.folder, self.attempt, source, name, content_type)
        for record in stored.records:
            self._pipe.send(ARTIFACT, msgspec.json.encode(record))
        return stored.path

    # Cancel and ends

    @property
    def cancelled(self) -> bool:
        if not self._control.cancelled:
            return False
        self._send_seen()
        return True

    @property
    def stopping(self) -> bool:
        return self._control.stopping

    def raise_if_cancelled(self) -> None:
        if self.cancelled:
            raise RunCancelled("The run was cancelled.")

    def sleep(self, seconds: float) -> None:
        self.flush_progress()
        if self._control.wait(seconds):
            self.raise_if_cancelled()

    def fail(self, message: str) -> NoReturn:
        raise ExperimentFailed(message)

    def retry_later(self, reason: str, after_s: float = 0.0) -> NoReturn:
        raise RetryLater(reason, pause_within_reason(after_s))

    # For the child process

    def flush_progress(self) -> None:
        """Send the newest progress if it was not sent yet."""
        self._progress.flush()

    def after_fork(self) -> None:
        """Replace locks that another thread may have held. Called in a process that the experiment forks."""
        self._progress = ProgressSender(self._pipe, every_s=0.0)
        self._checkpoint_lock = threading.RLock()

    def _checked_state(self, state: Mapping[str, Any]) -> bytes:
        if not isinstance(state, Mapping):
            raise ValueError(f"A checkpoint is a mapping, not {type(state).__name__}")  # noqa: TRY004  # as the protocol says
        try:
            return jsonable.strict(dict(state), max_bytes=self._info.checkpoint_max_bytes, keep_types=True)
        except UnstorableValue as error:
            hint = "Write large data to files in ctx.workdir, and store their names in the checkpoint."
            raise error.within("ctx.checkpoint(...)", hint if error.is_too_large else "") from error

    def _unusual_metric(self, name: Any, value: Any, step: Any) -> None:
        """Send a metric whose name is new, or whose value is not a finite float."""
        key = arguments.key("ctx.metric", name)
        call = f"ctx.metric({key!r}, ...)"
        number = arguments.number(call, value)
        body = msgspec.json.encode(number if math.isfinite(number) else str(number))
        self._pipe.result(ResultKind.METRIC.value, key, arguments.step(call, step), body)
        if len(self._metrics) < _NAMES_MAX:
            self._metrics.add(key)

    def _send_seen(self) -> None:
        if self._control.mark_cancel_seen():
            self._pipe.send(SEEN, msgspec.json.encode({"at": CLOCKS.wall()}))
