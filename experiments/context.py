"""What an experiment is given while it runs, as protocols: this package does not know how a run is executed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from pydantic import BaseModel

ConfigT_co = TypeVar("ConfigT_co", bound=BaseModel, covariant=True)
ItemT = TypeVar("ItemT")


class RunLog(Protocol):
    """Writes lines of the run. Keyword arguments are kept as the line's metadata: values without a JSON form as their
    `repr`. Never raises.
    """

    def debug(self, message: str, /, **metadata: Any) -> None: ...
    def info(self, message: str, /, **metadata: Any) -> None: ...
    def warning(self, message: str, /, **metadata: Any) -> None: ...
    def error(self, message: str, /, **metadata: Any) -> None: ...


class RunContext(Protocol[ConfigT_co]):
    """The one argument of `Experiment.run`. Safe to use from threads and from forked children of the experiment."""

    @property
    def config(self) -> ConfigT_co:
        """The validated configuration."""

    @property
    def run_id(self) -> int: ...

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""

    @property
    def seed(self) -> int:
        """The run's seed, chosen at launch and kept by a rerun. Nothing is seeded with it for you."""

    @property
    def slot(self) -> datetime | None:
        """The time that a schedule launched this run for; None for a run that somebody launched."""

    @property
    def workdir(self) -> Path:
        """A folder of this run's own, which later attempts find again as it was left (on shared storage)."""

    @property
    def log(self) -> RunLog: ...

    def log_batch(self, messages: Sequence[str], *, level: str = "info") -> None:
        """Write many lines at once, at less cost per line than `log`."""

    def result(self, key: str, value: Any) -> None:
        """Record a result; a second value for a key is kept beside the first. See `experiments.jsonvalues` for values.

        Raises UnstorableValue (a TypeError and a ValueError) for a value that cannot be kept as it is, TypeError or
        ValueError for a key that is no text or has more than 200 characters.
        """

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        """Record one point of a curve. NaN and infinities are kept as such.

        Raises TypeError, ValueError or OverflowError for a name, a value or a step that cannot be kept as it is.
        """

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Report how far the run is. Cheap: only the last of many within a moment is stored. Never raises."""

    def track(self, items: Iterable[ItemT], message: str = "", *, total: int | None = None) -> Iterator[ItemT]:
        """Iterate with progress, and stop by RunCancelled between two items when the run is cancelled."""

    @property
    def cancelled(self) -> bool:
        """True once somebody asked to cancel this run."""

    @property
    def stopping(self) -> bool:
        """True once the worker is going down: a good moment for a checkpoint. The run will go on elsewhere."""

    def raise_if_cancelled(self) -> None:
        """Raise RunCancelled if the run is to stop."""

    def sleep(self, seconds: float) -> None:
        """Sleep, but wake at once with RunCancelled when the run is cancelled."""

    def checkpoint(self, state: Mapping[str, Any], *, sync: bool = False) -> None:
        """Keep `state` (at most 1 MiB as JSON) for the next attempt. Durable within a second; with `sync`, at return.

        Raises UnstorableValue when the state cannot be kept as it is or is too large. Only the last one is kept.
        """

    @property
    def restored(self) -> dict[str, Any] | None:
        """The last checkpoint of an earlier attempt, or None on a clean start."""

    def artifact(self, source: Path | str | bytes, name: str | None = None, *, content_type: str | None = None) -> Path:
        """Keep a file (a path, copied) or bytes (then `name` is needed) with the run; returns where it is kept.

        Of a folder each file is kept, as `name/file`; with a name that ends in .zip, .tar, .tar.gz or .tgz, an archive.
        A second artifact of the same name in the same attempt replaces the first. Raises ValueError for a name that
        is not a plain relative path, or that is both a file and a folder.
        """

    def fail(self, message: str) -> NoReturn:
        """End the run as failed with this message and no traceback."""

    def retry_later(self, reason: str, after_s: float = 0.0) -> NoReturn:
        """End this attempt without failing; the run waits, and its next attempt starts after `after_s` seconds from the
        last checkpoint. It does not count among its retries; a run that does it more than `retry_later_max` times
        (1000) fails. Raises ValueError for a pause that is no number, or longer than a year.
        """
