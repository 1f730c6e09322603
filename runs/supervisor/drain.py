"""Drain: store the records of an attempt directly in the database, with its checkpoints and at its end.

Each write waits while the database is unavailable, and for its turn among the supervisors of the worker. After a crash,
the attempt's buffer in Redis still holds a copy.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, transaction

from runs import transitions
from runs.exceptions import BufferUnavailable
from runs.lines import blocks, flush, store
from runs.lines.buffer import Stream
from runs.states import AttemptKey
from runs.supervisor.recorder import RunRecords
from runs.supervisor.window import Window
from runs.supervisor.worker_services import WorkerServices

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 1.0
"""Pause between two tries while the database is unavailable."""


class Drain:
    """Stores the window and the records of one attempt."""

    def __init__(self, worker: WorkerServices, key: AttemptKey, window: Window, writes: RunRecords) -> None:
        self._worker, self._key, self._window, self._writes = worker, key, window, writes
        self._stored = dict.fromkeys(Stream, 0)
        """Seq of the last entry that was stored with a checkpoint."""

    def run(self) -> None:
        """Store everything that the window and the recorder hold, except columns of the attempt.

        Blocks while the database is unavailable.
        """
        if self._key.number > 1:
            self._store_earlier()
        self._writes.wait_for_provenance()
        if self._writes.needs_write:
            self.in_turn("its last records", self._writes.write)  # first, since it may add a line
        if any(self._window.after(stream, 0, 1) for stream in Stream):
            self.in_turn("its last lines", self._store_window)

    def store_so_far(self) -> None:
        """Store the lines and results so far, in the transaction of a checkpoint. The window keeps them."""
        entries = {stream: self._window.after(stream, self._stored[stream], sys.maxsize) for stream in Stream}
        last = {stream: blocks.span(after[-1]).last for stream, after in entries.items() if after}
        if last:
            store.store_entries(self._key.run_id, entries[Stream.LINES], entries[Stream.RESULTS])
            transaction.on_commit(lambda: self._stored.update(last))

    def discard_buffer(self) -> None:
        """Remove the buffer of a first attempt, which is stored. The flush removes other buffers."""
        if self._key.number > 1:
            return
        try:
            self._worker.buffer.discard(self._key.run_id)
        except BufferUnavailable as error:
            logger.info("Run %s: cannot remove its buffer; the flush will: %s", self._key, error)

    def in_turn(self, what: str, write: Callable[[], T]) -> T:
        """Write when it is this run's turn. Repeat while the database is unavailable."""

        def write_in_turn() -> T:
            with self._worker.turn_to_write():
                return write()

        return self.until_done(what, write_in_turn)

    def until_done(self, what: str, action: Callable[[], T]) -> T:
        """Repeat `action` while the database is unavailable. Raises its error if the worker's drain time is over."""
        while True:
            close_old_connections()
            try:
                return action()
            except (OperationalError, InterfaceError) as error:
                logger.warning(
                    "Run %s: %s waits for the database: %s",
                    self._key,
                    what,
                    str(error).strip(),
                )
                if self._worker.hurrying.wait(RETRY_S):
                    raise

    def _store_earlier(self) -> None:
        """Store the entries of earlier attempts that Redis still holds. If this fails, the flush stores them."""
        try:
            flush.flush_run(self._key.run_id)
        except (BufferUnavailable, DatabaseError, InterfaceError) as error:
            logger.info("Run %s: cannot store lines of earlier attempts; the flush will: %s", self._key, error)

    def _store_window(self) -> None:
        """Store the window in batches. Drop its entries if the attempt was taken over."""
        batch = self._worker.conf.flush_batch
        while True:
            lines = self._window.after(Stream.LINES, 0, batch)
            results = self._window.after(Stream.RESULTS, 0, batch)
            if not lines and not results:
                return
            if not self._store_while_open(lines, results):
                logger.warning("Run %s was taken over: dropping %d late lines", self._key, blocks.count(lines))
            for stream, values in ((Stream.LINES, lines), (Stream.RESULTS, results)):
                self._window.forget(stream, self._window.stored(stream) + blocks.count(values))

    def _store_while_open(self, lines: Sequence[bytes], results: Sequence[bytes]) -> bool:
        """Store entries unless the attempt is closed. Its row is locked last: renewals do not wait for lines."""
        with transaction.atomic():
            store.store_entries(self._key.run_id, lines, results)
            if transitions.is_open(self._key):
                return True
            transaction.set_rollback(True)
        return False
