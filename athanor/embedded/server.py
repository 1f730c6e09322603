"""Server process in its own folder that can be stopped, killed and frozen, for chaos and tests.

It ends with the process that started it; on Linux also when that process is killed. Independent of Django.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil

START_TIMEOUT_S = 30.0
END_TIMEOUT_S = 30.0
POLL_S = 0.02


class ServerMissing(Exception):
    """Raised if this machine has no binary of the server, or no user to run it as."""


class ServerFailed(Exception):
    """Raised if the server does not start. The message contains the end of its log."""


class Server:
    """A server as a context manager. `start` and `stop` may be called repeatedly."""

    name: ClassVar[str]
    ends_on_parent_death_by: ClassVar[str] = "KILL"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server on the data in its folder, and wait until it answers. Raises ServerMissing, ServerFailed."""
        if self.is_running:
            return
        try:
            self._process = self._launch()
        except (OSError, subprocess.CalledProcessError) as error:
            raise ServerFailed(f"Cannot start {self.name} in {self.folder}: {error}") from error
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if not self.is_running or time.monotonic() > deadline:
                how = f"did not answer within {START_TIMEOUT_S:g} s" if self.is_running else "exited during its start"
                raise ServerFailed(f"{self.name} {how}:\n{(self.folder / 'log').read_text(errors='replace')[-3000:]}")
            time.sleep(POLL_S)

    def _launch(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.prepare()
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # our own command lines
                [*self.run_as(), *_until_parent_dies(self.ends_on_parent_death_by), *self.command()],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        """Stop the server cleanly, so that it keeps all acknowledged data. Works when it is frozen too."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Send SIGKILL to all its processes."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Send SIGSTOP: connections stay open, but nothing answers."""
        self._signal_tree(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_tree(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        tree = self._tree() if self.is_running else []
        if tree:
            self.thaw()
            self._process.send_signal(number)
        self._process.wait(END_TIMEOUT_S)
        self._process = None
        _, alive = psutil.wait_procs(tree, timeout=0 if number == signal.SIGKILL else END_TIMEOUT_S)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=10)

    def _tree(self) -> list[psutil.Process]:
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def _signal_tree(self, number: signal.Signals) -> None:
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def prepare(self) -> None:
        """Create what the server needs in its folder. Called before each start."""

    def run_as(self) -> Sequence[str]:
        """Command prefix to run as another user. It must exec, so that the pid is the server's."""
        return ()

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError


def free_port() -> int:
    """Return a TCP port on the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def package_folder(package: str) -> Path:
    """Return the folder of an installed package without importing it."""
    spec: Any = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")


def _until_parent_dies(by: str) -> Sequence[str]:
    return ("setpriv", "--pdeathsig", by, "--") if shutil.which("setpriv") else ()
