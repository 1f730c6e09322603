"""How many wake-ups lie in a queue of the broker."""

from __future__ import annotations

from celery import current_app


def waiting(queue: str) -> int:
    """Raises kombu's and redis' errors if the broker is away."""
    with current_app.connection_or_acquire() as connection:
        # Not passive: kombu 5.7 looks for the queue without the key prefix then, and finds none.
        return int(connection.default_channel.queue_declare(queue).message_count)
