"""Messages between a worker and its fork server: length-prefixed JSON over a stream socket.

Descriptors travel with the first byte of their message. Neither side ever blocks on a write: unsent messages wait in
memory (they are few, since the worker waits for an answer to each spawn).
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from runs.forkserver.spec import Exit, Fate

_LENGTH = struct.Struct("!I")
_READ_BYTES = 256 * 1024
_FDS_MAX = 16
MESSAGE_MAX_BYTES = 64 * 1024 * 1024
"""Largest message: a spawn with its configuration and checkpoint."""


class Start(msgspec.Struct, tag="start"):
    """First message to a new server, with what it needs before it can load anything."""

    sys_path: list[str]
    python_path: str | None
    """PYTHONPATH of the worker. The server was started with another."""


class Spawn(msgspec.Struct, tag="spawn"):
    """Start a child. Four descriptors are attached: records, stdout, stderr (to write), control (to read)."""

    id: int
    spec: msgspec.Raw
    before: float | None = None
    """Time of the lease clock from which the child must not start: another worker may own the attempt then."""
    attempt: str = ""
    """Key of the attempt on the board of deadlines."""
    experiment: str = ""
    """Name of the experiment, whose template may start the child."""


class KeepWarm(msgspec.Struct, tag="keep_warm"):
    """Keep a template of an experiment for its next runs. It is made unless there is one."""

    experiment: str
    is_explicit: bool
    """True if the experiment declares `warm = True`."""


class Signal(msgspec.Struct, tag="signal"):
    """Signal the child that was spawned with this id. Does nothing if it has ended."""

    id: int
    how: Literal["interrupt", "stacks", "terminate", "kill"]


class Ping(msgspec.Struct, tag="ping"):
    pass


class Stop(msgspec.Struct, tag="stop"):
    """Kill all children, report their exits, and exit."""


class Ready(msgspec.Struct, tag="ready"):
    """Report that the server has loaded everything."""

    pid: int
    isolation: str = ""
    """Isolation of its runs besides their user, see runs.forkserver.account."""


class Broken(msgspec.Struct, tag="broken"):
    """Report that the server failed to load, and exits."""

    traceback: str


class Spawned(msgspec.Struct, tag="spawned"):
    id: int
    pid: int
    start: str = ""
    """"warm, ..." after a warm start; else why it was cold, if the experiment asks for warm starts."""


class Refused(msgspec.Struct, tag="refused"):
    id: int
    why: str
    fate: Fate = Fate.NONE
    """External cause of the refusal; empty if the run is the cause."""


class Exited(msgspec.Struct, tag="exited"):
    """A child and everything below it have ended."""

    id: int
    exit: Exit


class Pong(msgspec.Struct, tag="pong"):
    pass


Request: TypeAlias = Start | Spawn | KeepWarm | Signal | Ping | Stop
Answer: TypeAlias = Ready | Broken | Spawned | Refused | Exited | Pong

decode_request = msgspec.json.Decoder(Request).decode
decode_answer = msgspec.json.Decoder(Answer).decode


class Connection:
    """One end of the socket, made non-blocking. For one thread at a time."""

    def __init__(self, sock: socket.socket, fds_max: int = _FDS_MAX) -> None:
        """Wrap a socket. `fds_max`: number of descriptors to accept at once. More end the connection."""
        sock.setblocking(False)
        self._fds_max = fds_max
        self._socket = sock
        self._out: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._in = bytearray()
        self._fds: deque[int] = deque()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        return bool(self._out)

    def post(self, message: Request | Answer, give: Sequence[int] = ()) -> None:
        """Send as much of a message as the other side accepts now. `give` has descriptors to pass on.

        The descriptors are closed once they are sent, or when the other side has ended. Then OSError is raised.
        """
        body = msgspec.json.encode(message)
        self._out.append((memoryview(_LENGTH.pack(len(body)) + body), give))
        self.flush()

    def flush(self) -> None:
        """Send unsent messages without blocking. Raises OSError when the other side has ended."""
        while self._out:
            data, give = self._out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", give))] if give else []
            try:
                sent = self._socket.sendmsg([data], rights)
            except BlockingIOError:
                return
            close_all(give)
            if sent < len(data):
                self._out[0] = (data[sent:], ())
            else:
                self._out.popleft()

    def receive(self) -> list[bytes]:
        """Return the messages that have arrived. Raises EOFError or ConnectionError when the other side has ended."""
        try:
            data, fds, flags, _ = socket.recv_fds(self._socket, _READ_BYTES, self._fds_max)
        except BlockingIOError:
            return []
        self._fds.extend(fds)
        if not data:
            raise EOFError("the other side has closed the connection")
        if flags & socket.MSG_CTRUNC:
            raise EOFError("descriptors were lost: too many, or this process has reached its limit of open files")
        self._in += data
        messages = []
        while len(self._in) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._in)
            if length > MESSAGE_MAX_BYTES:
                raise EOFError(f"a message of {length} bytes is too large")
            if len(self._in) < _LENGTH.size + length:
                break
            messages.append(bytes(self._in[_LENGTH.size : _LENGTH.size + length]))
            del self._in[: _LENGTH.size + length]
        return messages

    def take_fds(self, count: int) -> list[int]:
        """Return the descriptors of the oldest message whose descriptors have not been taken."""
        return [self._fds.popleft() for _ in range(count)]

    def close(self) -> None:
        self._socket.close()
        close_all(self._fds)
        for _, give in self._out:
            close_all(give)
        self._out.clear()


def close_all(fds: Sequence[int] | deque[int]) -> None:
    for fd in fds:
        os.close(fd)
