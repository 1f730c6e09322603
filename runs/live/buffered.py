"""Read records from Redis without removing them. Those of a list are in the order of (attempt, seq)."""

from __future__ import annotations

from typing import Any

from runs.lines import blocks
from runs.lines.buffer import keys
from runs.lines.buffer.client import source
from runs.lines.buffer.keys import Stream
from runs.lines.following import Seen
from runs.lines.records import position


async def after(client: Any, run_id: int, stream: Stream, seen: Seen, limit: int) -> list[bytes]:
    """Return at most `limit` entries from about the first that is not in `seen`.

    The list may change in between: some entries may be in `seen`, and earlier ones may have moved to the database. The
    caller checks the position of each entry.
    """
    last = max(seen.items(), default=(0, 0))
    read = client.register_script(source("after"))
    values: list[bytes] = await read(keys=[keys.entries(run_id, stream)], args=[*last, limit])
    entries = [entry for value in blocks.genuine(run_id, stream, values) for entry in blocks.entries(value)]
    return [entry for entry in entries if position(entry) > last][:limit]
