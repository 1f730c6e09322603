"""`python -m runs.forkserver.keeper SOCKET-FD WORKER-PID BOARD-FD`: what children are forked from, and its keeper.

Two processes, since the one that forks must not be the last one to know what it forked: the **keeper** loads nothing,
starts the **server**, waits for its end, kills what the server left behind (it adopts it), and ends. So whichever of
worker, keeper, server is killed, another one of them ends every child and every process below it:

    worker killed  → the socket ends, the server kills all trees and ends, then the keeper
    server killed  → the kernel kills the children, the keeper everything below them; the worker waits for its end
    keeper killed  → the kernel tells the server, which kills all trees and ends
"""

from __future__ import annotations

import os
import signal
import sys

from runs.forkserver import prctl, process_tree
from runs.forkserver.adopted import kill_adopted
from runs.forkserver.prctl import PARENT_GONE

SIGNALLED = 128
"""Added to the signal that ended the server, as shells do, it is the keeper's exit status."""


def killed_by(status: int) -> int | None:
    """The signal that ended the keeper, whose `Popen.returncode` this is, or its server; None if none did. Pure."""
    if status < 0:
        return -status
    return status - SIGNALLED if status > SIGNALLED else None


def main(socket_fd: int, worker_pid: int, board_fd: int) -> int:
    """Be the keeper; its child becomes the server. Returns the exit status."""
    prctl.adopt_orphans()
    prctl.signal_at_parents_end(PARENT_GONE)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    keeper = os.getpid()
    server = os.fork()
    if server == 0:
        _serve(socket_fd, board_fd, keeper)
    os.close(socket_fd)
    os.close(board_fd)
    signal.signal(PARENT_GONE, lambda *_: process_tree.send(server, PARENT_GONE))
    if os.getppid() != worker_pid:
        process_tree.send(server, PARENT_GONE)  # it ended before it could be watched
    status = _wait_for(server)
    kill_adopted()
    return status


def _serve(socket_fd: int, board_fd: int, keeper: int) -> None:
    from runs.forkserver.server import serve  # the keeper needs none of it

    prctl.signal_at_parents_end(PARENT_GONE)
    if os.getppid() != keeper:
        os._exit(1)
    serve(socket_fd, board_fd)
    os._exit(0)


def _wait_for(server: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == server and not os.WIFSTOPPED(status):
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else SIGNALLED - code


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:4])))
