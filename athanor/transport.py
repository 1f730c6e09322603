"""Celery transport that survives invalid messages in its queues.

kombu decodes messages in the consumer's thread: an invalid one, put there by another program, ends the worker and its
runs. This transport drops and logs such messages. It accepts what Athanor and Celery's producers send: calls as JSON of
a limited size, without delays and other options, for tasks that Athanor defines. The queue of a message is the list
that it was taken from, whatever the message says.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterable
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombus
from redis import ResponseError

logger = logging.getLogger(__name__)

BODY_MAX_BYTES = 256 * 1024
"""Largest body. A wake-up or a tick has 100 bytes."""
NAME_MAX_CHARS = 255
CELERYS_TASKS = "celery."
"""Prefix of the built-in tasks of Celery, such as chords and maps. Athanor sends none of them."""
UNUSED = ("eta", "expires", "stamped_headers", "timelimit")
"""Headers of options that Athanor does not use. A worker would keep delayed messages in memory without limit."""


class Channel(kombus.Channel):
    """Channel that drops messages that are not JSON, and deletes keys of a wrong type that have the name of a queue."""

    def _brpop_read(self, **options: Any) -> Any:
        base: Any = super()
        try:
            return base._brpop_read(**options)
        except (ValueError, RecursionError) as error:
            logger.warning("Dropped a message from Redis that is not JSON: %s", str(error)[:200])
            raise Empty from error
        except ResponseError as error:
            self._remove_foreign_keys(error, self.active_queues)
            raise Empty from error

    def _size(self, queue: str) -> int:
        base: Any = super()
        try:
            return int(base._size(queue))
        except ResponseError as error:
            self._remove_foreign_keys(error, [queue])
            return 0

    def _queue_bind(self, exchange: str, *more: Any) -> None:
        base: Any = super()
        try:
            base._queue_bind(exchange, *more)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            this: Any = self
            with self.conn_or_acquire() as client:
                client.delete(this.keyprefix_queue % exchange)
            base._queue_bind(exchange, *more)

    def _remove_foreign_keys(self, error: ResponseError, queues: Iterable[str]) -> None:
        """Delete the keys of queues that have a wrong type, if that was the error."""
        if "WRONGTYPE" not in str(error):
            raise error
        this: Any = self
        with self.conn_or_acquire() as client:
            for name in [this._q_for_pri(queue, step) for queue in queues for step in self.priority_steps]:
                try:
                    client.llen(name)
                except ResponseError:
                    logger.warning("Removing a key of Redis that has a wrong type: queue %s", name)
                    client.delete(name)


class Transport(kombus.Transport):
    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if problem := problem_of(message):
            logger.warning("Dropped a message from queue %s: %s", queue, problem)
            return
        message["properties"]["delivery_info"] = {"exchange": "", "routing_key": queue}
        base: Any = super()
        base._deliver(message, queue)


def problem_of(message: Any) -> str:
    """Return why a message is not accepted; empty if it is."""
    if not isinstance(message, dict):
        return "it is not an object"
    headers, properties, body = (message.get(name) for name in ("headers", "properties", "body"))
    if not (isinstance(headers, dict) and isinstance(properties, dict) and isinstance(body, str)):
        return "its headers, properties or body are missing or invalid"
    return _problem_of_names(headers, properties) or _problem_of_body(message, headers, properties, body)


def _problem_of_names(headers: dict[str, Any], properties: dict[str, Any]) -> str:
    texts = (headers.get("task"), headers.get("id"), properties.get("delivery_tag"))
    if not all(isinstance(text, str) and len(text) <= NAME_MAX_CHARS for text in texts):
        return "it has no task, id or delivery tag"
    if str(headers["task"]).startswith(CELERYS_TASKS):
        return f"its task is {headers['task']}, which Athanor does not send"
    used = [name for name in UNUSED if headers.get(name) not in (None, [None, None])]
    return f"it has {used[0]}, which Athanor does not send" if used else ""


def _problem_of_body(message: dict[str, Any], headers: dict[str, Any], properties: dict[str, Any], body: str) -> str:
    if message.get("content-type") != "application/json" or message.get("content-encoding") != "utf-8":
        return "its content is not JSON in UTF-8"
    if properties.get("body_encoding") != "base64" or "compression" in headers:
        return "its body is compressed or not encoded in base64"
    if len(body) > BODY_MAX_BYTES:
        return "its body is too large"
    try:
        is_call = _is_call(json.loads(base64.b64decode(body, validate=True)))
    except (ValueError, RecursionError):
        return "its body is not JSON"
    return "" if is_call else "its body is not a call of a task"


def _is_call(content: Any) -> bool:
    """Return whether a body has arguments by place and by name, and no tasks that follow."""
    match content:
        case [list(), dict(), None]:
            return True
        case [list(), dict(), dict(following)]:
            return not any(following.values())
    return False


def install() -> None:
    """Make Celery use this transport for Redis, and read messages as plain JSON: kombu would make dates and the like of
    some objects, and raise anything for what is none.
    """
    module: Any = kombus
    module.loads = json.loads
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
