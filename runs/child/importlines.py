"""Lines that an import writes, kept for the runs that are forked after it.

Stands in for the records pipe. Each run then writes them to its own, as if it had imported the module itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

LINES_MAX = 1_000
"""Most lines that are kept."""


class LineWriter(Protocol):
    """Records pipe, or what stands in for it."""

    def line(self, level: int, source: str, message: str, metadata: dict[str, Any] | None = None) -> None: ...

    def batch(self, level: int, source: str, messages: Iterable[str]) -> None: ...

    def text(self, source: str, writer: str, text: str) -> None: ...


class ImportLines:
    """Lines in their order."""

    def __init__(self) -> None:
        self._calls: list[tuple[str, tuple[Any, ...]]] = []

    @property
    def problem(self) -> str:
        """Return the end of a sentence if there are too many lines."""
        return f"wrote more than {LINES_MAX:,} lines" if len(self._calls) > LINES_MAX else ""

    def line(self, level: int, source: str, message: str, metadata: dict[str, Any] | None = None) -> None:
        self._keep("line", level, source, message, metadata)

    def batch(self, level: int, source: str, messages: Iterable[str]) -> None:
        for message in messages:
            self._keep("line", level, source, message, None)

    def text(self, source: str, writer: str, text: str) -> None:
        self._keep("text", source, writer, text)

    def write_to(self, pipe: LineWriter) -> None:
        """Write the lines to the pipe of a run, with the present time. Raises PipeClosed."""
        for name, arguments in self._calls:
            getattr(pipe, name)(*arguments)

    def _keep(self, name: str, *arguments: Any) -> None:
        if len(self._calls) <= LINES_MAX:
            self._calls.append((name, arguments))
