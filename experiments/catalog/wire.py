"""Messages between the catalog process and its client: length-prefixed JSON on a socket."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from typing import Any

_LENGTH = struct.Struct("!I")
MESSAGE_MAX_BYTES = 256 * 1024 * 1024

Message = dict[str, Any]


class Closed(Exception):
    """Raised when the other side has closed the connection."""


class TooLate(Exception):
    """Raised when the other side does not answer in time."""


class Wire:
    """One end of the connection. One thread at a time may call `receive`, and one `send`."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._socket.setblocking(False)

    def send(self, message: Message, deadline: float | None = None) -> None:
        """Send one message. Raises Closed, TooLate; TypeError or ValueError for a value without a JSON form."""
        body = json.dumps(message).encode()
        rest = memoryview(_LENGTH.pack(len(body)) + body)
        while rest:
            _wait(self._socket, deadline, writing=True)
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise Closed from error

    def receive(self, deadline: float | None = None) -> Message:
        """Return the next message. Raises Closed, TooLate."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size, deadline))
        if length > MESSAGE_MAX_BYTES:
            raise Closed
        try:
            message: Message = json.loads(self._exactly(length, deadline))
        except (ValueError, RecursionError) as error:
            raise Closed from error
        return message

    def _exactly(self, count: int, deadline: float | None) -> bytes:
        parts: list[bytes] = []
        while count:
            _wait(self._socket, deadline)
            try:
                part = self._socket.recv(min(count, 1 << 20))
            except BlockingIOError:
                continue
            except OSError as error:
                raise Closed from error
            if not part:
                raise Closed
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        self._socket.close()


def _wait(end: socket.socket, deadline: float | None, *, writing: bool = False) -> None:
    remaining_s = None if deadline is None else max(0.0, deadline - time.monotonic())
    poller = select.poll()  # select() takes no descriptor above 1023
    try:
        poller.register(end, select.POLLOUT if writing else select.POLLIN)
        ready = poller.poll(None if remaining_s is None else remaining_s * 1000)
    except (OSError, ValueError) as error:
        raise Closed from error
    if not ready:
        raise TooLate
