"""Wake-ups: messages of Celery that make a worker of a queue claim its next due run. They name no run.

Sent by the name of the task, so that whoever launches, schedules or recovers runs depends on no worker code. After a
crash a wake-up may be missing or doubled: `runs.recovery.reconcile` sends missing ones, the claim ignores doubled ones.
"""

from __future__ import annotations

import logging

from celery import current_app
from kombu.exceptions import OperationalError as BrokerError

logger = logging.getLogger(__name__)

EXECUTE = "runs.tasks.execute"


def workers(queue: str, count: int = 1) -> None:
    """Send `count` wake-ups to the workers of a queue. Never blocks for long, and may be repeated.

    A broker that is away is logged, not raised: reconciliation sends the wake-ups again.
    """
    try:
        for _ in range(count):
            current_app.send_task(EXECUTE, queue=queue, retry=False, ignore_result=False)
    except (BrokerError, OSError) as error:
        logger.warning("Cannot wake queue %s; its runs start once the broker is back: %s", queue, error)


def waiting(queue: str) -> int:
    """Count the messages that wait in a queue. Raises the errors of kombu and redis if the broker is away."""
    with current_app.connection_or_acquire() as connection:
        # Not passive: kombu 5.7 looks for the queue without the key prefix then, and finds none.
        return int(connection.default_channel.queue_declare(queue).message_count)
