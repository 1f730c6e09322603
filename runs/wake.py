"""Wake-ups: Celery messages that make a worker of a queue claim its next due run. They name no run.

Sent by the task's name, so that code which launches, schedules or recovers runs does not import worker code. After a
crash a wake-up may be missing or duplicated: `runs.recovery.reconcile` sends missing ones, duplicates claim nothing.
"""

from __future__ import annotations

import json
import logging
from functools import lru_cache
from typing import Any
from uuid import uuid4

from celery import current_app
from kombu.connection import Connection
from kombu.exceptions import OperationalError as BrokerError
from redis import RedisError

logger = logging.getLogger(__name__)

EXECUTE = "runs.tasks.execute"
BATCH = 500
"""Number of wake-ups in one call to the broker."""
_TASK_ID, _DELIVERY_TAG = "<task id>", "<delivery tag>"


def workers(queue: str, count: int = 1) -> None:
    """Send `count` wake-ups to the workers of a queue, BATCH of them at once. Does not block for long; may be repeated.

    Errors of the broker are logged, not raised: reconcile sends the wake-ups again.
    """
    try:
        with current_app.producer_or_acquire() as producer:
            for start in range(0, count, BATCH):
                producer.channel.client.lpush(queue, *(_message(queue) for _ in range(min(BATCH, count - start))))
    except (BrokerError, RedisError, OSError) as error:
        logger.warning("Cannot send a wake-up to queue %s; reconcile sends it later: %s", queue, error)


def _message(queue: str) -> str:
    return _template(queue).replace(_TASK_ID, str(uuid4())).replace(_DELIVERY_TAG, str(uuid4()))


@lru_cache(maxsize=1000)
def _template(queue: str) -> str:
    """Return a message of Celery as its broker keeps it. All wake-ups of a queue are alike, except for two ids.

    Celery takes longer for one message than the database does for a launch.
    """
    memory: Any = Connection("memory://")  # type: ignore[no-untyped-call]  # kombu is untyped
    with memory, memory.Producer() as producer:
        current_app.send_task(
            EXECUTE, task_id=_TASK_ID, queue=queue, retry=False, ignore_result=False, producer=producer
        )
        message = producer.channel.basic_get(queue, no_ack=True).serializable()
    message["properties"]["delivery_tag"] = _DELIVERY_TAG
    return json.dumps(message)


def waiting(queue: str) -> int:
    """Count the messages in a queue. Raises the errors of kombu and redis if the broker is unavailable."""
    with current_app.connection_or_acquire() as connection:
        # Not passive: kombu 5.7 would ignore the key prefix then, and find no queue.
        return int(connection.default_channel.queue_declare(queue).message_count)
