"""Fork servers of a worker: one for its own user, or one for each Unix account of runs.

Two accounts share no process below the keeper, and no memory: a server never has the specification of a run of another
account. Runs of one account can reach each other, as all processes of one Unix user can.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from runs.exceptions import SpawnFailed
from runs.forkserver.account import Account, make_passable
from runs.forkserver.board import Board
from runs.forkserver.client import ForkServer


class ForkServers:
    """Fork servers by account; None is the worker's own user. Thread-safe."""

    def __init__(self) -> None:
        self.deadlines = Board.create()
        """Deadline of the child of each attempt, for all servers."""
        self._servers: dict[Account | None, ForkServer] = {}
        self._lock = threading.Lock()

    def start(self, accounts: Sequence[Account]) -> None:
        """Start the servers of these accounts; without accounts, that of the worker's user. Raises SpawnFailed."""
        for account in accounts or (None,):
            self.of(account)

    def of(self, account: Account | None) -> ForkServer:
        """Return the server of an account, and start it if needed. Raises SpawnFailed."""
        with self._lock:
            server = self._servers.get(account)
            if server is not None:
                return server
            if account is not None:
                _prepare(Path(account.folder), account.uid, account.gid)
            server = self._servers[account] = ForkServer(account, self.deadlines)
            server.start()
            return server

    def stop(self) -> None:
        """Kill all children, report their exits, and end the servers. Blocks until done."""
        with self._lock:
            servers = list(self._servers.values())
        stopping = [threading.Thread(target=server.stop, name="stop-fork-server") for server in servers]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()


def _prepare(folder: Path, uid: int, gid: int) -> None:
    """Create the folder of an account, in a folder that other users can only pass through."""
    try:
        make_passable(folder.parent)
        make_passable(folder.parent.parent)
        if not folder.exists():
            folder.mkdir(0o700)
            os.chown(folder, uid, gid)
    except OSError as error:
        raise SpawnFailed(f"Cannot prepare the folder {folder} of a Unix account: {error}") from error
