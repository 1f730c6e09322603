"""Fork for each job from the measuring process, without a queue: the lowest possible cost."""

from __future__ import annotations

import os
from typing import Any

from benchmarks import work


def workers(_number: int) -> list[list[str]]:
    """Return none: any number of processes runs at once."""
    return []


class Queue:
    def submit(self, job: str, *values: Any, single: bool = False) -> int:
        """Fork; with `single`, also wait for the end: there is one slot."""
        pid = os.fork()
        if pid:
            if single:
                os.waitpid(pid, 0)
            return -pid if single else pid
        code = 1
        try:
            work.JOBS[job](*values)
            code = 0
        finally:
            os._exit(code)

    def is_final(self, handle: int) -> bool:
        if handle < 0:
            return True
        pid, status = os.waitpid(handle, os.WNOHANG)
        if pid and status:
            raise RuntimeError(f"The process {handle} failed.")
        return bool(pid)
