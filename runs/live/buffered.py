"""Reading what still waits in Redis, without taking it. Entries of a list are in the order of (attempt, seq)."""

from __future__ import annotations

from typing import Any

from runs.lines.buffer import keys
from runs.lines.buffer.keys import Stream
from runs.lines.following import Seen
from runs.lines.records import position


async def after(client: Any, run_id: int, stream: Stream, seen: Seen, limit: int) -> list[bytes]:
    """At most `limit` entries from about the first that is not in `seen`. The list moves meanwhile: some of them may be
    known, and some before them may have left, to the database; the caller looks at each one's position."""
    name = keys.entries(run_id, stream)
    head = await client.lindex(name, 0)
    if head is None:
        return []
    wanted = max(seen.items(), default=(0, 0))
    attempt, seq = position(head)
    if attempt == wanted[0]:
        start = max(0, wanted[1] + 1 - seq)
    elif attempt > wanted[0]:
        start = 0
    else:
        start = await _search(client, name, wanted)
    found: list[bytes] = await client.lrange(name, start, start + limit - 1)
    return found


async def _search(client: Any, name: str, wanted: tuple[int, int]) -> int:
    """Index of the first entry after `wanted`, by halving."""
    low, high = 0, await client.llen(name)
    while low < high:
        middle = (low + high) // 2
        entry = await client.lindex(name, middle)
        if entry is None or position(entry) > wanted:
            high = middle
        else:
            low = middle + 1
    return low
