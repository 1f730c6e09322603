"""Small document that one process writes and others read, without messages, locks or waiting on either side.

It is in memory that the processes share by a descriptor. A reader gets the newest whole document or, while one is being
written or after its writer died during a write, the previous one. Light to import: the fork server reads one.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import threading
import zlib
from contextlib import suppress
from typing import Any

_HEADER = struct.Struct("<QIIQ")
"""Number of the document, length and checksum of its body, and the number again."""
TRIES = 20


class Board:
    """Reader or writer of a shared document. Thread-safe."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lock = threading.Lock()
        self._number = 0
        self._header = b""
        self._document: dict[str, Any] = {}

    @classmethod
    def create(cls) -> Board:
        """Create a board. Programs that this process starts do not inherit its descriptor, unless it is passed on."""
        if hasattr(os, "memfd_create"):
            board = cls(os.memfd_create("athanor-board", os.MFD_CLOEXEC))
            os.fchmod(board.fd, 0o600)  # otherwise, every process with a descriptor could reopen it for writing
            return board
        with tempfile.TemporaryFile() as file:  # macOS
            return cls(os.dup(file.fileno()))

    def publish(self, document: dict[str, Any]) -> None:
        """Replace the document. One writer at a time."""
        body = json.dumps(document, separators=(",", ":")).encode()
        with self._lock:
            self._number = max(self._number, self._newest()) + 1
            header = _HEADER.pack(self._number, len(body), zlib.crc32(body), self._number)
            os.pwrite(self.fd, header + body, 0)

    def _newest(self) -> int:
        header = os.pread(self.fd, _HEADER.size, 0)
        return int(_HEADER.unpack(header)[0]) if len(header) == _HEADER.size else 0

    def read(self) -> dict[str, Any]:
        """Return the newest document; an empty one before the first. Do not change it: callers share it."""
        for _ in range(TRIES):
            header = os.pread(self.fd, _HEADER.size, 0)
            if len(header) < _HEADER.size or header == self._header:
                break
            _, length, checksum, _ = _HEADER.unpack(header)
            body = os.pread(self.fd, length, _HEADER.size)
            if zlib.crc32(body) == checksum:
                with self._lock:
                    self._header, self._document = header, json.loads(body)
                break
        return self._document

    def reading_end(self) -> int:
        """Return a new descriptor, which is read-only where the platform supports that."""
        with suppress(OSError):
            return os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC)
        return os.dup(self.fd)

    def close(self) -> None:
        os.close(self.fd)
