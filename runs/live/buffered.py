"""Read entries from Redis without removing them. Entries of a list are in the order of (attempt, seq)."""

from __future__ import annotations

from typing import Any

from runs.lines.buffer import keys
from runs.lines.buffer.keys import Stream
from runs.lines.following import Seen
from runs.lines.records import position


async def after(client: Any, run_id: int, stream: Stream, seen: Seen, limit: int) -> list[bytes]:
    """Return at most `limit` entries from about the first that is not in `seen`.

    The list may change in between: some entries may be in `seen`, and earlier ones may have moved to the database. The
    caller checks the position of each entry.
    """
    name = keys.entries(run_id, stream)
    head = await client.lindex(name, 0)
    if head is None:
        return []
    last = max(seen.items(), default=(0, 0))
    attempt, seq = position(head)
    if attempt == last[0]:
        start = max(0, last[1] + 1 - seq)
    elif attempt > last[0]:
        start = 0
    else:
        start = await _search(client, name, last)
    entries: list[bytes] = await client.lrange(name, start, start + limit - 1)
    return entries


async def _search(client: Any, name: str, last: tuple[int, int]) -> int:
    """Return the index of the first entry after `last`, by binary search."""
    low, high = 0, await client.llen(name)
    while low < high:
        middle = (low + high) // 2
        entry = await client.lindex(name, middle)
        if entry is None or position(entry) > last:
            high = middle
        else:
            low = middle + 1
    return low
