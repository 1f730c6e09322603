"""Sets of sequence numbers as sorted, disjoint, closed ranges: [[1, 500], [502, 502]]. Pure.

What an attempt has stored is kept this way: one range as long as nothing is missing, and the exact gaps otherwise,
without counting rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Ranges = list[list[int]]


def add(ranges: Sequence[Sequence[int]], seqs: Iterable[int]) -> Ranges:
    """`ranges` with `seqs` (in any order, repeats allowed) added."""
    return merge([*ranges, *_runs_of(seqs)])


def merge(ranges: Iterable[Sequence[int]]) -> Ranges:
    """Sorted, disjoint, as few as possible."""
    merged: Ranges = []
    for first, last in sorted((r[0], r[1]) for r in ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], last)
        else:
            merged.append([first, last])
    return merged


def _runs_of(seqs: Iterable[int]) -> Ranges:
    found: Ranges = []
    for seq in seqs:
        if found and seq == found[-1][1] + 1:
            found[-1][1] = seq
        else:
            found.append([seq, seq])
    return found


def count(ranges: Sequence[Sequence[int]]) -> int:
    """How many numbers are in it."""
    return sum(last - first + 1 for first, last in ranges)


def high_water(ranges: Sequence[Sequence[int]]) -> int:
    """The greatest n such that all of 1..n are in it; 0 if 1 is not."""
    return ranges[0][1] if ranges and ranges[0][0] <= 1 else 0


def last(ranges: Sequence[Sequence[int]]) -> int:
    """The greatest number in it; 0 if it is empty."""
    return ranges[-1][1] if ranges else 0


def gaps(ranges: Sequence[Sequence[int]], emitted: int) -> Ranges:
    """What of 1..emitted is missing."""
    missing: Ranges = []
    following = 1
    for first, last in ranges:
        if first > following:
            missing.append([following, min(first - 1, emitted)])
        following = max(following, last + 1)
        if following > emitted:
            return missing
    if following <= emitted:
        missing.append([following, emitted])
    return missing
