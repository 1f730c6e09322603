"""One process of a server in a folder of its own, that can be ended in every way: for chaos, and for the tests.

It ends with the process that started it, on Linux also when that is killed. Knows nothing of Django.
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
LOOK_S = 0.02


class ServerMissing(Exception):
    """There is no binary of this server on this machine, or nobody to run it as."""


class ServerFailed(Exception):
    """It does not come up. The message has the end of its log."""


class Server:
    """Use it as a context manager, or call `start` and `stop`; both may be repeated."""

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
        """Start it on what its folder holds, and wait until it answers. Raises ServerMissing, ServerFailed."""
        if self.is_running:
            return
        try:
            self._process = self._launch()
        except (OSError, subprocess.CalledProcessError) as error:
            raise ServerFailed(f"{self.name} cannot be started in {self.folder}: {error}") from error
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if not self.is_running or time.monotonic() > deadline:
                how = f"does not answer within {START_TIMEOUT_S:g} s" if self.is_running else "ended at its start"
                raise ServerFailed(f"{self.name} {how}:\n{(self.folder / 'log').read_text(errors='replace')[-3000:]}")
            time.sleep(LOOK_S)

    def _launch(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.prepare()
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # our own command lines
                [*self.run_as(), *_until_parent_dies(self.ends_on_parent_death_by), *self.command()],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        """End it in order; what it had promised is kept. Also when it was frozen."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL, with all its processes."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, and nobody answers."""
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
        """What its folder needs before the first start."""

    def run_as(self) -> Sequence[str]:
        """What goes before the command for another user to run it; it must exec, so that the pid is the server's."""
        return ()

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError


def free_port() -> int:
    """A TCP port of the loop-back that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def package_folder(package: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec: Any = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")


def _until_parent_dies(by: str) -> Sequence[str]:
    return ("setpriv", "--pdeathsig", by, "--") if shutil.which("setpriv") else ()
