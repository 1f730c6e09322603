"""Capture of `logging`: each log record of an experiment becomes one line, for any configuration of logging.

Until a script configures logging, records of INFO and above become lines with the logger's name as metadata. If it adds
handlers, they decide, as in any program; the records that they write to the standard streams keep their level.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from runs.child.importlines import LineWriter
from runs.child.streams import LineStream
from runs.states import Level, Source

_LOGGING = Source.LOGGING.value
_LEVELS = sorted(Level.values, reverse=True)


def install(pipe: LineWriter) -> LineHandler:
    """Capture `logging`. Return the handler of the records that no other handler takes."""
    root = logging.getLogger()
    root.handlers.clear()
    root.__class__ = _Root
    if root.level != logging.INFO:  # set before the fork: a change clears a cache of every logger
        root.setLevel(logging.INFO)
    vars(root)["is_level_implied"] = True
    logging.lastResort = handler = LineHandler(pipe)  # used without other handlers
    logging.basicConfig = _basic_config(logging.basicConfig)
    logging.StreamHandler.emit = _emit(logging.StreamHandler.emit)  # type: ignore[method-assign, assignment]
    return handler


def level_of(record: logging.LogRecord) -> int:
    number = record.levelno
    return number if number in _LEVELS else next((level for level in _LEVELS if level <= number), Level.DEBUG.value)


def _text(handler: logging.Handler, record: logging.LogRecord) -> str:
    """Format a record. Without a formatter it is the message alone, unless it has an error or a stack."""
    is_plain = not (handler.formatter or record.exc_info or record.exc_text or record.stack_info)
    if is_plain and type(handler).format is logging.Handler.format:
        return record.getMessage()
    return handler.format(record)


class LineHandler(logging.Handler):
    """Write log records as lines, with the logger's name as metadata."""

    def __init__(self, pipe: LineWriter) -> None:
        super().__init__()
        self.pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.pipe.line(level_of(record), _LOGGING, _text(self, record), {"logger": record.name})
        except Exception:
            self.handleError(record)


class _Root(logging.RootLogger):
    """Root logger. Its level is INFO until a script sets one or adds a handler; then it is Python's default."""

    is_level_implied = False

    def setLevel(self, level: int | str) -> None:  # noqa: N802  # logging's name
        self.is_level_implied = False
        super().setLevel(level)

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802  # logging's name
        if self.is_level_implied:
            self.setLevel(logging.WARNING)
        super().addHandler(hdlr)


def _basic_config(original: Callable[..., None]) -> Callable[..., None]:
    """Wrap `logging.basicConfig` to ignore the implicit calls of `logging.info()` and similar functions."""

    def basic_config(**options: Any) -> None:
        if options or sys._getframe(1).f_globals is not vars(logging):
            original(**options)

    return basic_config


def _emit(original: Callable[[Any, logging.LogRecord], None]) -> Callable[[Any, logging.LogRecord], None]:
    """Wrap `StreamHandler.emit`, so that a record on a standard stream becomes one line that keeps its level."""

    def emit(handler: Any, record: logging.LogRecord) -> None:
        stream = handler.stream
        if not isinstance(stream, LineStream) or handler.terminator != "\n":
            return original(handler, record)
        try:
            stream.sink.log(level_of(record), _text(handler, record), record.name)
        except RecursionError:
            raise
        except Exception:
            handler.handleError(record)
        return None

    return emit
