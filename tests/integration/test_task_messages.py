"""Celery's messages and results: hints that leave no record in Redis, and one row for each task."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import current_app, states
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_celery_results.models import TaskResult

from athanor.databases import BROKER_KEY_PREFIX
from runs import wake
from runs.worker.runtime import turn_to_write
from tests.servers import RedisServer


def messages_of(redis_server: RedisServer, queue: str) -> list[Any]:
    with redis_server.client() as client:
        listed: Any = client.lrange(f"{BROKER_KEY_PREFIX}{queue}", 0, -1)
        return [json.loads(message) for message in listed]


def test_a_wake_up_is_what_celery_sends(redis_server: RedisServer, redis_url: str) -> None:
    assert redis_url
    wake.workers("hints")
    (own,) = messages_of(redis_server, "hints")
    current_app.send_task(wake.EXECUTE, task_id=own["headers"]["id"], queue="hints", retry=False, ignore_result=False)
    celery, _ = messages_of(redis_server, "hints")
    del own["properties"]["delivery_tag"], celery["properties"]["delivery_tag"]
    assert own == celery


def test_each_of_many_wake_ups_has_an_id_of_its_own(redis_server: RedisServer, redis_url: str) -> None:
    assert redis_url
    wake.workers("hints", wake.BATCH + 1)
    sent = messages_of(redis_server, "hints")
    assert len({message["headers"]["id"] for message in sent}) == wake.BATCH + 1
    assert len({message["properties"]["delivery_tag"] for message in sent}) == wake.BATCH + 1
    assert all(message["headers"]["id"] == message["properties"]["correlation_id"] for message in sent)
    assert wake.waiting("hints") == wake.BATCH + 1


def test_a_message_that_was_taken_leaves_nothing_in_redis(redis_server: RedisServer, redis_url: str) -> None:
    assert redis_url
    wake.workers("hints")
    with current_app.connection_for_read() as broker:
        message = broker.default_channel.basic_get("hints")
        assert message is not None
        with redis_server.client() as client:
            assert [key for key in client.scan_iter() if b"unacked" in key] == []
        message.ack()


@pytest.mark.django_db
def test_a_task_has_one_row_with_its_last_state() -> None:
    backend: Any = current_app.backend
    backend.store_result("a-task", None, states.STARTED)
    started = TaskResult.objects.get()
    with CaptureQueriesContext(connection) as captured:
        backend.store_result("a-task", {"run": 7, "end": "completed"}, states.SUCCESS)
    row = TaskResult.objects.get()
    assert (row.pk, row.status, row.date_created) == (started.pk, states.SUCCESS, started.date_created)
    assert row.date_started is not None
    assert row.date_done >= started.date_done
    assert backend.get_result("a-task") == {"run": 7, "end": "completed"}
    assert len(captured) == 1


@pytest.mark.django_db
def test_a_process_that_is_no_worker_writes_with_its_own_connection() -> None:
    with turn_to_write(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
