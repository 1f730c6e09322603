"""Memory of the fork server."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from runs.forkserver.prctl import IS_LINUX

SETTLED = """
import gc, os
from runs.forkserver import shared_memory
before = {number: str(number) for number in range(100_000)}
shared_memory.settle()
assert before[99_999] == "99999"
print(gc.get_freeze_count() > 0, len(shared_memory._fillers))
if os.fork() == 0:
    assert all(before[number] == str(number) for number in range(100_000))
    os._exit(7)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def settled() -> list[str]:
    process = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True, check=True)
    return process.stdout.split()


def test_loaded_objects_are_frozen_and_unchanged_in_the_process_and_its_children() -> None:
    assert gc.get_freeze_count() == 0  # this process has not settled
    is_frozen, fillers, status = settled()

    assert (is_frozen, status) == ("True", "7")
    assert 0 < int(fillers) < 100_000


@pytest.mark.skipif(not IS_LINUX, reason="only Linux tells its memory")
def test_only_memory_of_no_file_is_merged() -> None:
    from runs.forkserver.shared_memory import _own_memory

    ranges = list(_own_memory())
    assert ranges
    assert all(start < end for start, end in ranges)
