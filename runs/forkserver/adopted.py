"""The last resort of the keeper: the processes that its server left behind, which it has adopted.

Light to import: no Django.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from runs.forkserver import prctl, process_tree
from runs.forkserver.marks import SERVER_MARK


def kill_adopted() -> None:
    """Kill every process that the server left to this one. Blocks until none is left."""
    with suppress(ChildProcessError):
        while True:
            for pid in process_tree.own_children():
                process_tree.send(pid, signal.SIGKILL)
            if not prctl.IS_LINUX:
                _kill_marked()
            os.wait()


def _kill_marked() -> None:
    """Where orphans are not adopted: kill every process that carries the mark of this server."""
    for pid in process_tree.marked(SERVER_MARK, os.environ.get(SERVER_MARK, "")):
        if pid != os.getpid():
            process_tree.send(pid, signal.SIGKILL)
