"""Celery's stored results: removed once they are old, so many at a time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_celery_results.models import TaskResult

from runs.conf import runs_settings
from runs.recovery.task_results import remove_old

pytestmark = pytest.mark.django_db


def make_result(task_id: str, *, age_days: float) -> None:
    TaskResult.objects.create(task_id=task_id)
    TaskResult.objects.filter(task_id=task_id).update(date_done=timezone.now() - timedelta(days=age_days))


def test_old_results_are_removed_and_others_kept() -> None:
    keep = runs_settings().task_results_keep_days
    make_result("old", age_days=keep + 1)
    make_result("new", age_days=keep - 1)
    assert remove_old() == 1
    assert TaskResult.objects.get().task_id == "new"
    assert remove_old() == 0


def test_no_more_than_a_batch_is_removed_at_once_the_oldest_first() -> None:
    batch, keep = runs_settings().task_results_batch, runs_settings().task_results_keep_days
    for number in range(batch + 2):
        make_result(str(number), age_days=keep + 1 + number)
    assert remove_old() == batch
    assert set(TaskResult.objects.values_list("task_id", flat=True)) == {"0", "1"}
    assert remove_old() == 2
