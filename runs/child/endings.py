"""Mapping from every way in which an experiment can end to the End record of the child. Pure."""

from __future__ import annotations

import traceback
from collections.abc import Collection
from types import TracebackType

import msgspec

from experiments.exceptions import (
    BrokenExperiment,
    ExperimentFailed,
    InvalidDefinition,
    RetryLater,
    RunCancelled,
    UnstorableValue,
)
from runs.child import jsonable
from runs.lines.records import End

ERROR_MAX_CHARS = 4_000
TRACEBACK_MAX_CHARS = 200_000
"""Longest traceback. The beginning and the end are kept of a longer one."""


def of_value(value: object, *, summary_max_bytes: int) -> End:
    """Return the End of a `run` that returned. A value that cannot be stored fails the run."""
    if value is None:
        return {"outcome": "returned"}
    try:
        body = jsonable.strict(value, max_bytes=summary_max_bytes)
    except UnstorableValue as error:
        hint = "Store large data with ctx.artifact." if error.is_too_large else ""
        return _raised(describe(error.within("run() returned a value that cannot be stored", hint)))
    return {"outcome": "returned", "summary": msgspec.json.decode(body)}


def of_exception(error: BaseException, own_files: Collection[str] = ()) -> End:
    """Return the End of a `run`, or of a step before it, that raised. Omits leading frames of `own_files`."""
    match error:
        case ExperimentFailed():
            return {"outcome": "failed", "error": _text(error)}
        case RetryLater():
            return {"outcome": "retry_later", "error": _text(error), "after_s": error.after_s}
        case SystemExit():
            return _of_exit(error)
        case InvalidDefinition():
            return {"outcome": "config", "error": _text(error)}
        case RunCancelled():
            return {"outcome": "cancelled", "error": _text(error), "traceback": _traceback(error, own_files)}
    return {"outcome": "raised", "error": describe(error), "traceback": _traceback(error, own_files)}


def of_start(error: BaseException, own_files: Collection[str] = ()) -> End:
    """Return the End of an experiment that could not be loaded."""
    trace = error.traceback if isinstance(error, BrokenExperiment) else _traceback(error, own_files)
    return {"outcome": "start", "error": _text(error) or describe(error), "traceback": trace}


def encoded(end: End) -> bytes:
    """Encode an End as JSON. If its summary cannot be encoded, encode an End with that error."""
    try:
        return msgspec.json.encode(end)
    except Exception as error:
        return msgspec.json.encode(
            _raised(f"{type(error).__name__}: run() returned a value that cannot be stored: {_text(error)}")
        )


def describe(error: BaseException) -> str:
    """Format an exception as `ValueError: text`."""
    text = _text(error)
    name = type(error).__qualname__
    return f"{name}: {text}" if text else name


def _raised(error: str) -> End:
    return {"outcome": "raised", "error": error[:ERROR_MAX_CHARS]}


def _of_exit(error: SystemExit) -> End:
    """Map the exit code as the interpreter does: None and 0 are success, anything but a number is status 1."""
    match error.code:
        case None | 0:
            return {"outcome": "returned", "exit_code": 0}
        case int(code):
            return {"outcome": "exited", "exit_code": int(code), "error": f"sys.exit({int(code)})"}
    return {"outcome": "exited", "exit_code": 1, "error": jsonable.shown(error.code)[:ERROR_MAX_CHARS]}


def _text(error: BaseException) -> str:
    try:
        return jsonable.clean(str(error))[:ERROR_MAX_CHARS]
    except Exception:
        return f"<{type(error).__name__} that cannot be shown>"


def _traceback(error: BaseException, own_files: Collection[str]) -> str:
    try:
        lines = traceback.format_exception(type(error), error, _without_own_frames(error.__traceback__, own_files))
        text = jsonable.clean("".join(lines))
    except Exception:
        return describe(error)
    if len(text) > TRACEBACK_MAX_CHARS:
        half = TRACEBACK_MAX_CHARS // 2
        text = f"{text[:half]}\n … [cut, {len(text)} characters in all] … \n{text[-half:]}"
    return text


def _without_own_frames(trace: TracebackType | None, own_files: Collection[str]) -> TracebackType | None:
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename in own_files:
        trace = trace.tb_next
    return trace
