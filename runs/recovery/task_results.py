"""Removal of old task results that Celery has stored, in bounded steps.

Celery's own clean-up deletes all old results in one transaction. Runs do not need them: their own rows have the state.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db.models.functions import Now
from django_celery_results.models import TaskResult

from runs.conf import runs_settings

logger = logging.getLogger(__name__)


def remove_old() -> int:
    """Remove one batch of results that are older than `task_results_keep_days`. Return how many. May be repeated.

    Raises Django's database errors if the database is unavailable.
    """
    conf = runs_settings()
    old = TaskResult.objects.filter(date_done__lt=Now() - timedelta(days=conf.task_results_keep_days))
    ids = list(old.order_by("date_done").values_list("pk", flat=True)[: conf.task_results_batch])
    if not ids:
        return 0
    removed, _ = TaskResult.objects.filter(pk__in=ids).delete()
    logger.info("Removed %d results of Celery tasks that were older than %g days", removed, conf.task_results_keep_days)
    return int(removed)
