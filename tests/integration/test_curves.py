"""Curves of any length are read over their whole range, in bounded memory."""

from __future__ import annotations

import pytest
from django.test import Client

from runs.lines import curves
from runs.models import Result
from tests.factories import make_attempt, make_run
from tests.output import EPOCH, store_metric, store_result
from tests.pages import page_of

pytestmark = pytest.mark.django_db


def test_a_long_curve_is_read_from_its_first_point_to_its_last_with_every_spike() -> None:
    attempt = make_attempt()
    numbers = [float(step) for step in range(20_000)]
    numbers[1_234], numbers[7_777] = -5.0, 99_999.0
    store_metric(attempt, "loss", numbers)
    (curve,), _ = curves.read(attempt.run_id)
    assert curves.BUCKETS <= len(curve.points) <= curves.BUCKETS + 2
    assert curve.points[0].x < 20_000 / curves.BUCKETS
    assert (curve.points[-1].x, curve.last, curve.count) == (19_999, 19_999.0, 20_000)
    assert min(point.low for point in curve.points if point.low is not None) == -5.0
    assert max(point.high for point in curve.points if point.high is not None) == 99_999.0


def test_a_short_curve_is_read_point_by_point() -> None:
    attempt = make_attempt()
    store_metric(attempt, "loss", [3.0, 1.0, 2.0])
    (curve,), _ = curves.read(attempt.run_id)
    assert [(point.x, point.last) for point in curve.points] == [(0, 3.0), (1, 1.0), (2, 2.0)]


def test_values_that_are_not_finite_are_counted_in_their_bucket() -> None:
    attempt = make_attempt()
    store_metric(attempt, "loss", [1.0] * 5_000)
    Result.objects.filter(seq__in=(100, 4_000)).update(number=None, value="nan")
    (curve,), _ = curves.read(attempt.run_id)
    assert (curve.nonfinite, curve.count) == (2, 5_000)


def test_a_curve_goes_on_in_the_next_attempt() -> None:
    run = make_run()
    first = make_attempt(run)
    store_metric(first, "loss", [1.0] * 3_000)
    run.attempts.update(end="lost", finished_at=EPOCH)
    store_metric(make_attempt(run), "loss", [2.0] * 3_000)
    (curve,), _ = curves.read(run.pk)
    assert curve.count == 6_000
    assert {point.last for point in curve.points} == {1.0, 2.0}
    assert curve.points[-1].last == 2.0


def test_points_without_steps_are_placed_by_their_arrival() -> None:
    attempt = make_attempt()
    store_metric(attempt, "loss", [1.0] * 3_000)
    Result.objects.filter(seq=7).update(step=None)
    (curve,), _ = curves.read(attempt.run_id)
    assert [point.x for point in curve.points] == sorted({point.x for point in curve.points})
    assert curve.points[-1].x == 2_999


@pytest.mark.parametrize(
    ("count", "notice"),
    [(60, ""), (61, "Showing the first 60 of 61 keys."), (1_001, "Showing the first 60 of more than 1,000 keys.")],
)
def test_keys_that_are_not_shown_are_announced(admin_client: Client, count: int, notice: str) -> None:
    attempt = make_attempt()
    for number in range(count):
        store_result(attempt, f"key {number:04}", 1, seq=number + 1)
    assert curves.keys_notice(attempt.run_id).partition(" Export")[0] == notice
    assert ("Showing the first" in admin_client.get(page_of(attempt.run)).content.decode()) == bool(notice)


def test_an_empty_key_is_a_key() -> None:
    attempt = make_attempt()
    store_result(attempt, "", 1, seq=1)
    assert list(curves.keys(attempt.run_id)) == [""]
