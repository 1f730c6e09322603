"""Exceptions of this package. Each message says what happened, to what, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

PAUSE_MAX_S = 366 * 86_400
"""Longest pause that `ctx.retry_later` accepts."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest valid name, or else all valid names."""
    names = sorted(valid)
    if near := difflib.get_close_matches(name, names, n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; choose from {', '.join(names)}" if names else "; nothing can be set here"


def plain_message(problem: Mapping[str, Any]) -> str:
    """Return the message of one of pydantic's error details, without the prefixes of raised exceptions."""
    return str(problem["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")


class ExperimentsError(Exception):
    """Base class of all errors about the definition of an experiment."""


class UnknownExperiment(ExperimentsError):
    """No experiment has this name."""

    def __init__(self, name: str, valid: Iterable[str], broken: int = 0) -> None:
        self.name = name
        more = f" ({broken} problem(s) exclude others: see `manage.py check`)" if broken else ""
        super().__init__(f"There is no experiment {name!r}{did_you_mean(name, valid)}{more}")


class BrokenExperiment(ExperimentsError):
    """Module of an experiment cannot be used; `reason` is one line, `traceback` the details."""

    def __init__(self, name: str, where: str, reason: str, traceback: str) -> None:
        self.name, self.where, self.traceback = name, where, traceback
        super().__init__(f"Experiment {name!r} cannot be used ({where}): {reason}")


class CatalogUnavailable(ExperimentsError):
    """Catalog cannot answer right now; the message gives the reason. A later try may succeed."""


class InvalidDefinition(ExperimentsError):
    """Configuration, limits or tags are invalid. `problems`: dotted path (`configuration.layers.0.size`) → message."""

    def __init__(self, experiment: str, problems: Mapping[str, str]) -> None:
        self.experiment, self.problems = experiment, dict(problems)
        super().__init__(f"{experiment}: " + "; ".join(f"{path}: {text}" for path, text in self.problems.items()))

    def by_field(self) -> dict[str, list[str]]:
        """Return the problems for a form: field → messages, each beginning with the path within the field."""
        fields: dict[str, list[str]] = {}
        for path, text in self.problems.items():
            field, _, inner = path.partition(".")
            fields.setdefault(field, []).append(f"{inner}: {text}" if inner else text)
        return fields


class UnstorableValue(ExperimentsError, TypeError, ValueError):
    """A value of an experiment cannot be stored as it is. `path` is the place in it: `layers[3].size`."""

    def __init__(self, reason: str, path: str | None = None, *, is_too_large: bool = False) -> None:
        self.reason, self.path, self.is_too_large = reason, path, is_too_large
        super().__init__(f"at {path}: {reason}" if path else reason)

    def within(self, call: str, hint: str = "") -> UnstorableValue:
        """Return the same error with a message that begins with the call."""
        error = UnstorableValue(self.reason, self.path, is_too_large=self.is_too_large)
        error.args = (f"{call}: {self}{'. ' if hint else ''}{hint}",)
        return error


class ExperimentFailed(Exception):
    """Raised by `ctx.fail(message)`: the run fails, without a traceback."""


class RetryLater(BaseException):
    """Raised by `ctx.retry_later`: this attempt ends, the next one starts after `after_s`. A BaseException."""

    def __init__(self, reason: str, after_s: float) -> None:
        super().__init__(reason)
        self.after_s = after_s


def pause_within_reason(after_s: float) -> float:
    """Return seconds, at least 0. Raises ValueError if it is not a number, or longer than a year."""
    if not after_s <= PAUSE_MAX_S:
        raise ValueError(f"ctx.retry_later waits a year at most ({PAUSE_MAX_S:,} s), not {after_s!r} s")
    return max(float(after_s), 0.0)


class RunCancelled(BaseException):
    """Raised when the run is cancelled. Derives from BaseException, so that `except Exception` cannot swallow it.

    Raised in the experiment's main thread: by `ctx.raise_if_cancelled()`, `ctx.track()`, `ctx.sleep()`, and, when
    `interrupt_after_s` has passed since the request, in the middle of whatever the experiment does.
    """
