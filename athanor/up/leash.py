"""Become another program that the kernel ends when its parent ends: `leash.py SIGNAL PARENT_PID COMMAND...`

A script of its own, since a process with threads must run no Python between fork and exec. Run with `python -I -S`.
Where the kernel cannot do it (macOS), only the command is run.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(signal_number: int, parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:
            raise SystemExit("the parent ended before its child began")
    os.execvp(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
