"""Pipes between a worker and one child: four of them."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from runs.forkserver.protocol import close_all

RECORDS_PIPE_BYTES = 256 * 1024
"""Capacity of the records pipe, so that a child rarely waits for its supervisor. The kernel may grant less."""


class Pipes:
    """Worker's ends: `records`, `stdout` and `stderr` to read, `control` to write, all non-blocking.

    `of_child` has the other ends, in the order records, stdout, stderr, control. The caller that passes them on closes
    them.
    """

    def __init__(self, owner: int | None = None) -> None:
        """Open the pipes. `owner`: user of the child, which can then open /dev/stdout and /dev/stderr."""
        fds: list[int] = []
        try:
            for _ in range(4):
                fds += os.pipe()
        except OSError:
            close_all(fds)
            raise
        self.records, self.stdout, self.stderr, self.control = fds[0], fds[2], fds[4], fds[7]
        self.of_child = (fds[1], fds[3], fds[5], fds[6])
        self.is_closed = False
        for fd in self._own:
            os.set_blocking(fd, False)
        if owner is not None:
            for fd in self.of_child:
                os.fchown(fd, owner, -1)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # the user's limit of pipe memory is reached
                fcntl.fcntl(self.records, fcntl.F_SETPIPE_SZ, RECORDS_PIPE_BYTES)

    def close(self) -> None:
        """Close the worker's ends. Safe to repeat."""
        if not self.is_closed:
            self.is_closed = True
            close_all(self._own)

    @property
    def _own(self) -> list[int]:
        return [self.records, self.stdout, self.stderr, self.control]
