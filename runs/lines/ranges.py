"""Sets of sequence numbers as sorted, disjoint, closed ranges: [[1, 500], [502, 502]]. Pure.

Attempts keep their stored seqs this way: one range if nothing is missing, and the exact gaps otherwise, without
counting rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Ranges = list[list[int]]


def add(ranges: Sequence[Sequence[int]], seqs: Iterable[int]) -> Ranges:
    """Add `seqs`, in any order and with repeats, to `ranges`."""
    return merge([*ranges, *_runs_of(seqs)])


def merge(ranges: Iterable[Sequence[int]]) -> Ranges:
    """Sort ranges, and merge those that overlap or touch."""
    merged: Ranges = []
    for first, last in sorted((r[0], r[1]) for r in ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], last)
        else:
            merged.append([first, last])
    return merged


def within(ranges: Iterable[Sequence[int]], first: int, last: int) -> Ranges:
    """Return the parts of the ranges that are within first..last."""
    return [[max(low, first), min(high, last)] for low, high in ranges if low <= last and high >= first]


def _runs_of(seqs: Iterable[int]) -> Ranges:
    runs: Ranges = []
    for seq in seqs:
        if runs and seq == runs[-1][1] + 1:
            runs[-1][1] = seq
        else:
            runs.append([seq, seq])
    return runs


def count(ranges: Sequence[Sequence[int]]) -> int:
    """Count the numbers in the ranges."""
    return sum(last - first + 1 for first, last in ranges)


def high_water(ranges: Sequence[Sequence[int]]) -> int:
    """Return the greatest n such that the ranges contain all of 1..n; 0 if they do not contain 1."""
    return ranges[0][1] if ranges and ranges[0][0] <= 1 else 0


def last(ranges: Sequence[Sequence[int]]) -> int:
    """Return the greatest number in the ranges; 0 if there is none."""
    return ranges[-1][1] if ranges else 0


def gaps(ranges: Sequence[Sequence[int]], emitted: int) -> Ranges:
    """Return the ranges of 1..emitted that are missing."""
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
