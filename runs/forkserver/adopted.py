"""Kill the processes that the keeper has adopted from its server.

Light to import: no Django.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from runs.forkserver import prctl, process_tree
from runs.forkserver.marks import SERVER_MARK

POLL_S = 0.01
"""Polling interval until the processes are gone."""


def kill_adopted() -> None:
    """Kill every adopted process. Blocks until none is left.

    Resource trackers have `process_tree.TRACKER_GRACE_S` to remove what the killed processes leaked.
    """
    began = time.monotonic()
    with suppress(ChildProcessError):
        while True:
            passed_s = time.monotonic() - began
            for pid in process_tree.own_children():
                if passed_s >= process_tree.clean_up_time_s(pid):
                    process_tree.send(pid, signal.SIGKILL)
            if not prctl.IS_LINUX:
                _kill_marked()
            if os.waitpid(-1, os.WNOHANG if passed_s < process_tree.TRACKER_GRACE_S else 0) == (0, 0):
                time.sleep(POLL_S)


def _kill_marked() -> None:
    """Kill every process with the mark of this server, on platforms where orphans are not adopted."""
    for pid in process_tree.marked(SERVER_MARK, os.environ.get(SERVER_MARK, "")):
        if pid != os.getpid():
            process_tree.send(pid, signal.SIGKILL)
