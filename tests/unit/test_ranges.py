"""Sets of seqs: what is stored, what is missing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.lines import ranges

seqs = st.lists(st.integers(1, 60))


def numbers(found: ranges.Ranges) -> list[int]:
    return [seq for first, last in found for seq in range(first, last + 1)]


@given(seqs, seqs)
def test_adding_in_any_order_gives_the_sorted_set(first: list[int], then: list[int]) -> None:
    assert numbers(ranges.add(ranges.add([], first), then)) == sorted({*first, *then})


@given(seqs)
def test_ranges_are_as_few_as_possible(given_seqs: list[int]) -> None:
    found = ranges.add([], given_seqs)
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(found))


@given(seqs, st.integers(0, 60))
def test_gaps_are_what_is_missing(given_seqs: list[int], emitted: int) -> None:
    missing = numbers(ranges.gaps(ranges.add([], given_seqs), emitted))
    assert missing == [seq for seq in range(1, emitted + 1) if seq not in given_seqs]


@given(seqs)
def test_high_water_is_the_last_before_the_first_gap(given_seqs: list[int]) -> None:
    expected = next(seq for seq in range(1, 100) if seq not in given_seqs) - 1
    assert ranges.high_water(ranges.add([], given_seqs)) == expected


@pytest.mark.parametrize(("found", "expected"), [([], 0), ([[1, 500]], 500), ([[2, 3], [9, 9]], 3)])
def test_count(found: ranges.Ranges, expected: int) -> None:
    assert ranges.count(found) == expected
