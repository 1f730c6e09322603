"""Protocols of the object that a running experiment receives. This package does not depend on how runs are executed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from pydantic import BaseModel

ConfigT_co = TypeVar("ConfigT_co", bound=BaseModel, covariant=True)
ItemT = TypeVar("ItemT")


class RunLog(Protocol):
    """Write log lines of the run. Keyword arguments are stored as the line's metadata; values without a JSON form are
    stored as their `repr`. Never raises.
    """

    def debug(self, message: str, /, **metadata: Any) -> None: ...
    def info(self, message: str, /, **metadata: Any) -> None: ...
    def warning(self, message: str, /, **metadata: Any) -> None: ...
    def error(self, message: str, /, **metadata: Any) -> None: ...


class RunContext(Protocol[ConfigT_co]):
    """Argument of `Experiment.run`. Safe to use from threads and from forked children of the experiment."""

    @property
    def config(self) -> ConfigT_co:
        """Validated configuration."""

    @property
    def run_id(self) -> int: ...

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""

    @property
    def seed(self) -> int:
        """Random seed of the run, chosen at launch and kept by a rerun. Nothing is seeded automatically."""

    @property
    def slot(self) -> datetime | None:
        """Scheduled time that this run was launched for; None for a run that no schedule launched."""

    @property
    def workdir(self) -> Path:
        """Folder of this run. Later attempts get the same folder with its files (on shared storage)."""

    @property
    def log(self) -> RunLog: ...

    def log_batch(self, messages: Sequence[str], *, level: str = "info") -> None:
        """Write many lines at once, at a lower cost per line than `log`."""

    def result(self, key: str, value: Any) -> None:
        """Record a result; several values of one key are all stored. For values see `experiments.jsonvalues`.

        Raises UnstorableValue (a TypeError and a ValueError) for a value that cannot be stored as it is, TypeError or
        ValueError for a key that is not text or has more than 200 characters.
        """

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        """Record one point of a metric. NaN and infinities are stored as such.

        Raises TypeError, ValueError or OverflowError for a name, a value or a step that cannot be stored as it is.
        """

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Report the progress of the run. Cheap: of many calls in a moment only the last is stored. Never raises."""

    def track(self, items: Iterable[ItemT], message: str = "", *, total: int | None = None) -> Iterator[ItemT]:
        """Iterate with progress, and raise RunCancelled between two items when the run is cancelled."""

    @property
    def cancelled(self) -> bool:
        """True once a cancel of this run is requested."""

    @property
    def stopping(self) -> bool:
        """True once the worker is shutting down: a good moment for a checkpoint. Another worker continues the run."""

    def raise_if_cancelled(self) -> None:
        """Raise RunCancelled if a cancel of this run is requested."""

    def sleep(self, seconds: float) -> None:
        """Sleep, but wake at once with RunCancelled when the run is cancelled."""

    def checkpoint(self, state: Mapping[str, Any], *, sync: bool = False) -> None:
        """Save `state` (at most 1 MiB as JSON) for the next attempt. Durable within a second; with `sync`, at return.

        Raises UnstorableValue if the state cannot be stored as it is or is too large. Only the last checkpoint is kept.
        """

    @property
    def restored(self) -> dict[str, Any] | None:
        """Last checkpoint of an earlier attempt, or None if the run starts from scratch."""

    def artifact(self, source: Path | str | bytes, name: str | None = None, *, content_type: str | None = None) -> Path:
        """Store a file (a path, copied) or bytes (`name` is required) with the run, and return the path of the copy.

        A folder is stored file by file, as `name/file`, or as an archive if the name ends in .zip, .tar, .tar.gz or
        .tgz. A second artifact of the same name in the same attempt replaces the first. Raises ValueError for a name
        that is not a plain relative path, or that is both a file and a folder.
        """

    def fail(self, message: str) -> NoReturn:
        """End the run as failed with this message and no traceback."""

    def retry_later(self, reason: str, after_s: float = 0.0) -> NoReturn:
        """End this attempt without a failure. The next one starts `after_s` seconds later, from the last checkpoint.

        It does not count as a retry; a run that does this more than `retry_later_max` times (1000) fails. Raises
        ValueError for a pause that is not a number, or longer than a year.
        """
