"""Wake-ups: Celery messages that make a worker of a queue claim its next due run. They name no run.

Sent by the task's name, so that code which launches, schedules or recovers runs does not import worker code. After a
crash a wake-up may be missing or duplicated: `runs.recovery.reconcile` sends missing ones, duplicates claim nothing.
"""

from __future__ import annotations

import logging

from celery import current_app
from kombu.exceptions import OperationalError as BrokerError

logger = logging.getLogger(__name__)

EXECUTE = "runs.tasks.execute"


def workers(queue: str, count: int = 1) -> None:
    """Send `count` wake-ups to the workers of a queue. Does not block for long; may be repeated.

    Errors of the broker are logged, not raised: reconcile sends the wake-ups again.
    """
    try:
        for _ in range(count):
            current_app.send_task(EXECUTE, queue=queue, retry=False, ignore_result=False)
    except (BrokerError, OSError) as error:
        logger.warning("Cannot send a wake-up to queue %s; reconcile sends it later: %s", queue, error)


def waiting(queue: str) -> int:
    """Count the messages in a queue. Raises the errors of kombu and redis if the broker is unavailable."""
    with current_app.connection_or_acquire() as connection:
        # Not passive: kombu 5.7 would ignore the key prefix then, and find no queue.
        return int(connection.default_channel.queue_declare(queue).message_count)
