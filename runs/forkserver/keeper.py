"""`python -m runs.forkserver.keeper SOCKET-FD WORKER-PID BOARD-FD [ACCOUNT]`: keeper, which starts the fork server.

Two processes are needed, because the children must not outlive the process that forked them. The **keeper** loads
nothing. It starts the **server**, waits for its end, kills the orphans that it adopts from the server, and exits.
Whichever of worker, keeper and server is killed, another of them ends every child and every process below it:

    worker killed  → the socket closes; the server kills all trees and exits, then the keeper exits
    server killed  → the kernel kills the children, the keeper everything below them; the worker waits for the keeper
    keeper killed  → the kernel signals the server, which kills all trees and exits

With an account (see account.py), the server and everything below it run as that Unix user; the keeper does not.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback

from runs.forkserver import prctl, process_tree
from runs.forkserver.adopted import kill_adopted
from runs.forkserver.prctl import PARENT_GONE

SIGNALLED = 128
"""Added to the signal that ended the server, this is the keeper's exit status, as in shells."""


def killed_by(status: int) -> int | None:
    """Return the signal that ended the keeper or its server, from the keeper's `Popen.returncode`; None if none did."""
    if status < 0:
        return -status
    return status - SIGNALLED if status > SIGNALLED else None


def main(socket_fd: int, worker_pid: int, board_fd: int, account: str = "") -> int:
    """Run the keeper; its child becomes the server. Returns the exit status."""
    prctl.adopt_orphans()
    prctl.signal_at_parent_death(PARENT_GONE)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    keeper = os.getpid()
    server = os.fork()
    if server == 0:
        _serve(socket_fd, board_fd, keeper, account)
    os.close(socket_fd)
    os.close(board_fd)
    signal.signal(PARENT_GONE, lambda *_: process_tree.send(server, PARENT_GONE))
    if os.getppid() != worker_pid:
        process_tree.send(server, PARENT_GONE)  # the worker ended before the death signal was set
    status = _wait_for(server)
    kill_adopted()
    return status


def _serve(socket_fd: int, board_fd: int, keeper: int, account: str) -> None:
    if account:
        _become(account)
    from runs.forkserver.server import serve  # not loaded in the keeper

    prctl.signal_at_parent_death(PARENT_GONE)
    if os.getppid() != keeper:
        os._exit(1)
    serve(socket_fd, board_fd)
    os._exit(0)


def _become(account: str) -> None:
    from runs.forkserver.account import Account, enter  # only servers with an account need it

    try:
        enter(Account.decoded(account))
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        os._exit(1)


def _wait_for(server: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == server and not os.WIFSTOPPED(status):
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else SIGNALLED - code


if __name__ == "__main__":
    fd, worker, board, *rest = sys.argv[1:]
    sys.exit(main(int(fd), int(worker), int(board), *rest))
