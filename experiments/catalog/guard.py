"""Restore process-wide state after authors' code has run, so that it harms neither the catalog nor other modules."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore folder, environment, warnings, streams, signals, limits and hooks at the end of the block."""
    folder, environ, path = Path.cwd(), dict(os.environ), list(sys.path)
    filters, show = list(warnings.filters), warnings.showwarning
    modules = dict(sys.modules)
    streams = sys.stdin, sys.stdout, sys.stderr
    depth, mask, level = sys.getrecursionlimit(), os.umask(0o022), logging.root.manager.disable
    os.umask(mask)
    handlers = _signal_handlers()
    try:
        yield
    finally:
        with suppress(OSError):
            os.chdir(folder)
        if dict(os.environ) != environ:
            os.environ.clear()
            os.environ.update(environ)
        sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
        sys.modules.update({name: module for name, module in modules.items() if name not in sys.modules})
        warnings.filters[:] = filters  # type: ignore[index]  # a list, though typeshed says a sequence
        warnings._filters_mutated()  # type: ignore[attr-defined]  # as warnings.catch_warnings does
        warnings.showwarning = show
        sys.stdin, sys.stdout, sys.stderr = streams
        with suppress(RecursionError):
            sys.setrecursionlimit(depth)
        os.umask(mask)
        logging.disable(level)
        sys.settrace(None)
        sys.setprofile(None)
        gc.enable()
        _restore_signals(handlers)


def _signal_handlers() -> dict[int, object]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _restore_signals(handlers: dict[int, object]) -> None:
    if not handlers:
        return
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            with suppress(OSError, ValueError):
                signal.signal(number, handler)  # type: ignore[arg-type]  # as getsignal gave it
