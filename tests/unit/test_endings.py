"""Every way in which an experiment ends, as its last word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from experiments.exceptions import (
    BrokenExperiment,
    ExperimentFailed,
    InvalidDefinition,
    RetryLater,
    RunCancelled,
    UnknownExperiment,
)
from runs.child import endings


class Strange(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def raised(error: BaseException) -> BaseException:
    """Return the error with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("value", "summary"),
    [
        ({"a": 1}, {"a": 1}),
        (3, 3),
        (np.float64(0.5), 0.5),
        ({"x": (1, 2)}, {"x": [1, 2]}),
        ("lone \ud800", {"$text": "lone \\ud800"}),
        ({"best": float("inf")}, {"best": {"$float": "inf"}}),
    ],
)
def test_a_returned_value_is_the_summary(value: Any, summary: Any) -> None:
    assert endings.of_value(value, summary_max_bytes=100) == {"outcome": "returned", "summary": summary}


def test_nothing_returned_is_no_summary() -> None:
    assert endings.of_value(None, summary_max_bytes=100) == {"outcome": "returned"}


@pytest.mark.parametrize("value", [object(), {"a": lambda: None}, "x" * 200])
def test_a_value_that_cannot_be_kept_is_an_error(value: Any) -> None:
    end = endings.of_value(value, summary_max_bytes=100)

    assert end["outcome"] == "raised"
    assert "run() returned" in end["error"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("odd"), {"outcome": "raised", "error": "ValueError: odd"}),
        (ValueError(), {"outcome": "raised", "error": "ValueError"}),
        (Strange(), {"outcome": "raised", "error": "Strange: <Strange that cannot be shown>"}),
        (KeyboardInterrupt(), {"outcome": "raised", "error": "KeyboardInterrupt"}),
        (ExperimentFailed("no luck"), {"outcome": "failed", "error": "no luck"}),
        (RunCancelled("asked"), {"outcome": "cancelled"}),
        (RetryLater("busy", 3.0), {"outcome": "retry_later", "error": "busy", "after_s": 3.0}),
        (InvalidDefinition("e", {"configuration.a": "bad"}), {"outcome": "config", "error": "e: configuration.a: bad"}),
        (SystemExit(), {"outcome": "returned", "exit_code": 0}),
        (SystemExit(0), {"outcome": "returned", "exit_code": 0}),
        (SystemExit(True), {"outcome": "exited", "exit_code": 1}),
        (SystemExit(5), {"outcome": "exited", "exit_code": 5}),
        (SystemExit("bye"), {"outcome": "exited", "exit_code": 1, "error": "bye"}),
    ],
)
def test_every_exception_has_its_outcome(error: BaseException, expected: dict[str, Any]) -> None:
    end = endings.of_exception(raised(error))

    assert expected.items() <= end.items()
    assert ("traceback" in end) == (end["outcome"] in ("raised", "cancelled"))


def test_a_long_traceback_keeps_its_beginning_and_end() -> None:
    end = endings.of_exception(raised(ValueError("x" * 1_000_000)))

    assert len(end["traceback"]) < endings.TRACEBACK_MAX_CHARS + 100
    assert end["traceback"].startswith("Traceback")
    assert "characters in all" in end["traceback"]


def test_frames_of_ours_are_left_out_at_the_beginning() -> None:
    end = endings.of_exception(raised(ValueError("odd")), own_files={__file__})

    assert end["traceback"].count(__file__) == 1  # the last frame always stays


def test_a_broken_module_is_told_with_its_own_traceback() -> None:
    end = endings.of_start(raised(BrokenExperiment("e", "e.py", "OSError: broken", "Traceback\nOSError: broken")))

    assert end["outcome"] == "start"
    assert end["traceback"] == "Traceback\nOSError: broken"
    assert "OSError: broken" in end["error"]


def test_an_unknown_experiment_is_told_with_a_suggestion() -> None:
    end = endings.of_start(raised(UnknownExperiment("digitz", ["digits"])))

    assert "did you mean 'digits'?" in end["error"]
