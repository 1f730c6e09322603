"""Every way that an experiment can end, as the End record of the child. Pure."""

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
"""Of a longer traceback, beginning and end are kept."""


def of_value(value: object, *, summary_max_bytes: int) -> End:
    """`run` returned. A value that cannot be kept fails the run, rather than being lost."""
    if value is None:
        return {"outcome": "returned"}
    try:
        body = jsonable.strict(value, max_bytes=summary_max_bytes)
    except UnstorableValue as error:
        hint = "Keep large things with ctx.artifact." if error.is_too_large else ""
        return _raised(describe(error.within("run() returned a value that cannot be kept", hint)))
    return {"outcome": "returned", "summary": msgspec.json.decode(body)}


def of_exception(error: BaseException, own_files: Collection[str] = ()) -> End:
    """`run`, or what comes before it, raised. Frames of `own_files` at the traceback's beginning are left out."""
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
    """The experiment could not be loaded."""
    trace = error.traceback if isinstance(error, BrokenExperiment) else _traceback(error, own_files)
    return {"outcome": "start", "error": _text(error) or describe(error), "traceback": trace}


def encoded(end: End) -> bytes:
    """JSON of an End. A summary that cannot be written makes it an End that says so."""
    try:
        return msgspec.json.encode(end)
    except Exception as error:
        return msgspec.json.encode(
            _raised(f"{type(error).__name__}: run() returned what cannot be kept: {_text(error)}")
        )


def describe(error: BaseException) -> str:
    """`ValueError: text`."""
    text = _text(error)
    name = type(error).__qualname__
    return f"{name}: {text}" if text else name


def _raised(error: str) -> End:
    return {"outcome": "raised", "error": error[:ERROR_MAX_CHARS]}


def _of_exit(error: SystemExit) -> End:
    """As the interpreter does: nothing and 0 are success, a number is the status, anything else is 1 and a message."""
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
