"""Which processes may live on after those that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from multiprocessing import util

import pytest

from runs.forkserver import process_tree
from tests.waiting import wait_until

TRACKER = ["-c", "from multiprocessing.resource_tracker import main; main(0)"]


def start(*arguments: str) -> int:
    """Start a program as the resource tracker is started: the call returns while the program is being executed."""
    program = os.fsencode(sys.executable)
    pid: int = util.spawnv_passfds(program, [program, *arguments], (0,))
    return pid


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("attempt", range(20))
def test_a_tracker_may_clean_up_from_its_first_moment(attempt: int) -> None:
    pid = start(*TRACKER)
    try:
        assert process_tree.clean_up_time_s(pid) > 0
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_another_program_may_not() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            wait_until(lambda: process_tree.clean_up_time_s(process.pid) == 0, what="another program")
        finally:
            process.kill()
