"""Errors of this package. Each message says what happened, to what, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

PAUSE_MAX_S = 366 * 86_400
"""The longest pause that `ctx.retry_later` may ask for."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the nearest known name, or else all of them."""
    names = sorted(known)
    if near := difflib.get_close_matches(name, names, n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; choose from {', '.join(names)}" if names else "; nothing can be set here"


class ExperimentsError(Exception):
    """Base class of everything that goes wrong around the definition of an experiment."""


class UnknownExperiment(ExperimentsError):
    """No experiment has this name."""

    def __init__(self, name: str, known: Iterable[str], broken: int = 0) -> None:
        self.name = name
        more = f" ({broken} problem(s) kept others out: see `manage.py check`)" if broken else ""
        super().__init__(f"There is no experiment {name!r}{did_you_mean(name, known)}{more}")


class BrokenExperiment(ExperimentsError):
    """The module that holds this experiment cannot be used; `reason` is one line, `traceback` the details."""

    def __init__(self, name: str, where: str, reason: str, traceback: str) -> None:
        self.name, self.where, self.traceback = name, where, traceback
        super().__init__(f"Experiment {name!r} cannot be used ({where}): {reason}")


class CatalogUnavailable(ExperimentsError):
    """The catalog of experiments cannot answer right now; the message says why. A later attempt may succeed."""


class InvalidDefinition(ExperimentsError):
    """A configuration, limits or tags do not fit. `problems`: dotted path (`configuration.layers.0.size`) → message."""

    def __init__(self, experiment: str, problems: Mapping[str, str]) -> None:
        self.experiment, self.problems = experiment, dict(problems)
        super().__init__(f"{experiment}: " + "; ".join(f"{path}: {text}" for path, text in self.problems.items()))

    def by_field(self) -> dict[str, list[str]]:
        """The same for forms: field → messages, each beginning with the path within the field."""
        fields: dict[str, list[str]] = {}
        for path, text in self.problems.items():
            field, _, inner = path.partition(".")
            fields.setdefault(field, []).append(f"{inner}: {text}" if inner else text)
        return fields


class UnstorableValue(ExperimentsError, TypeError, ValueError):
    """A value that an experiment hands over cannot be kept as it is. `path` says where within it: `layers[3].size`."""

    def __init__(self, reason: str, path: str | None = None, *, is_too_large: bool = False) -> None:
        self.reason, self.path, self.is_too_large = reason, path, is_too_large
        super().__init__(f"at {path}: {reason}" if path else reason)

    def within(self, call: str, hint: str = "") -> UnstorableValue:
        """The same error, its message beginning with the call that was given the value."""
        error = UnstorableValue(self.reason, self.path, is_too_large=self.is_too_large)
        error.args = (f"{call}: {self}{'. ' if hint else ''}{hint}",)
        return error


class ExperimentFailed(Exception):
    """The experiment says itself that it failed (`ctx.fail(message)`): stored without a traceback."""


class RetryLater(BaseException):
    """`ctx.retry_later`: this attempt ends, the next one begins after `after_s`. Not for `except Exception`."""

    def __init__(self, reason: str, after_s: float) -> None:
        super().__init__(reason)
        self.after_s = after_s


def pause_within_reason(after_s: float) -> float:
    """Seconds, at least 0. Raises ValueError for what is no pause: no number, or longer than a year."""
    if not after_s <= PAUSE_MAX_S:
        raise ValueError(f"ctx.retry_later waits a year at most ({PAUSE_MAX_S:,} s), not {after_s!r} s")
    return max(float(after_s), 0.0)


class RunCancelled(BaseException):
    """The run was cancelled. Derives from BaseException, so that `except Exception` cannot swallow it.

    Raised in the experiment's main thread: by `ctx.raise_if_cancelled()`, `ctx.track()`, `ctx.sleep()`, and, when
    `interrupt_after_s` has passed since the request, in the middle of whatever the experiment does.
    """
