"""Execute a command that the kernel signals when its parent dies: `parent_death.py SIGNAL PARENT_PID COMMAND...`

This is a separate script because a process with threads must not run Python between fork and exec. Run it with
`python -I -S`. Where the kernel has no such signal (macOS), it only executes the command.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(signal_number: int, parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:
            raise SystemExit("The parent process ended before its child started.")
    os.execvp(command[0], command)  # noqa: S606  # nosec B606  # no shell


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
