"""Messages that another program puts into Celery's queues end no worker, and start nothing that is not due."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from celery import current_app, states
from celery.exceptions import Ignore
from kombu.entity import Queue
from kombu.messaging import Consumer

from athanor import transport
from athanor.databases import BROKER_KEY_PREFIX
from runs import tasks, wake
from runs.worker import runtime
from tests.servers import RedisServer

pytestmark = pytest.mark.any_database

QUEUE = "hints"
Message = dict[str, Any]


def changed(**parts: Any) -> Callable[[Message], Any]:
    """Change parts of a message; those named `headers_` and `properties_` are merged."""

    def change(message: Message) -> Message:
        for name, value in parts.items():
            part = name.removesuffix("_")
            message[part.replace("content_", "content-")] = {**message[part], **value} if name != part else value
        return message

    return change


def with_body(content: bytes) -> Callable[[Message], Any]:
    return changed(body=base64.b64encode(content).decode())


FORGED: dict[str, Callable[[Message], Any]] = {
    "a number": lambda _: 5,
    "a list": lambda _: [1],
    "null": lambda _: None,
    "an empty object": lambda _: {},
    "no headers": changed(headers=None),
    "headers of another type": changed(headers=[1]),
    "no properties": changed(properties=None),
    "no task": changed(headers={}),
    "a task of another type": changed(headers_={"task": {"a": 1}}),
    "no id": changed(headers_={"id": None}),
    "no delivery tag": changed(properties_={"delivery_tag": None}),
    "pickle": changed(content_type="application/x-python-serialize", content_encoding="binary"),
    "yaml": changed(content_type="application/x-yaml"),
    "another encoding": changed(content_encoding="latin-1"),
    "compressed": changed(headers_={"compression": "application/x-bzip2"}),
    "another body encoding": changed(properties_={"body_encoding": "rot13"}),
    "a body of another type": changed(body={"a": 1}),
    "a large body": changed(body="A" * 1_000_000),
    "a task of Celery": changed(headers_={"task": "celery.chord_unlock"}),
    "a body that is not base64": changed(body="*"),
    "a body of half a base64": changed(body="abcde"),
    "a delayed message": changed(headers_={"eta": "2999-01-01T00:00:00"}),
    "a delay of another type": changed(headers_={"eta": {}}),
    "an expired message": changed(headers_={"expires": "2000-01-01T00:00:00"}),
    "three time limits": changed(headers_={"timelimit": [1, 2, 3]}),
    "stamps": changed(headers_={"stamped_headers": 5}),
} | {
    f"the body {content.decode()[:40]}": with_body(content)
    for content in (
        *(b"5", b"null", b"{}", b"[]", b"[[],{}]", b"[1,{},null]", b"[[],1,null]", b"[[],{},5]", b"[" * 50_000),
        b'[[],{},{"callbacks":[{"task":"runs.tasks.flush"}]}]',
    )
}
RAW: dict[str, bytes] = {
    "no JSON": b"garbage",
    "not UTF-8": b"\xff\xfe",
    "empty": b"",
    "nested deep": b"[" * 100_000,
    "a value of kombu's own types": b'{"__type__": "datetime", "__value__": 5}',
    "a type of another type": b'{"__type__": {}, "__value__": 5}',
}


def genuine() -> Message:
    message: Message = json.loads(wake._message(QUEUE))
    return message


def receive(seconds: float = 10.0) -> list[Any]:
    """Consume the queue until the message `last` arrives. Return the delivery information of each message."""
    received: list[Any] = []
    with current_app.connection_for_read() as broker:
        queue, callback = Queue(QUEUE), lambda _, message: received.append(message)  # type: ignore[no-untyped-call]  # kombu
        consumer = Consumer(broker, [queue], callbacks=[callback], no_ack=True)  # type: ignore[no-untyped-call]  # kombu
        deadline = time.monotonic() + seconds
        with consumer:
            while time.monotonic() < deadline and not any(each.headers["id"] == "last" for each in received):
                try:
                    broker.drain_events(timeout=1)
                except TimeoutError:
                    continue
    return received


@pytest.mark.parametrize("form", [*FORGED, *RAW])
def test_a_message_of_another_form_is_dropped(form: str, redis_server: RedisServer, redis_url: str) -> None:
    assert redis_url
    forged = RAW[form] if form in RAW else json.dumps(FORGED[form](genuine())).encode()
    last = changed(headers_={"id": "last"})(genuine())
    with redis_server.client() as client:
        client.lpush(f"{BROKER_KEY_PREFIX}{QUEUE}", forged, json.dumps(last))
    assert [message.headers["id"] for message in receive()] == ["last"]


@pytest.mark.parametrize("type_", ["string", "set"])
def test_a_queue_of_another_type_is_removed(type_: str, redis_server: RedisServer, redis_url: str) -> None:
    assert redis_url
    name = f"{BROKER_KEY_PREFIX}{QUEUE}"
    with redis_server.client() as client:
        _ = client.set(name, "x") if type_ == "string" else client.sadd(name, "x")
        receive(1.0)
        assert not client.exists(name)


def test_a_binding_of_another_type_is_replaced(redis_server: RedisServer, redis_url: str) -> None:
    assert redis_url
    name = f"{BROKER_KEY_PREFIX}_kombu.binding.{QUEUE}"
    with redis_server.client() as client:
        client.set(name, "x")
        with current_app.connection_for_read() as broker:
            channel: Any = broker.default_channel
            channel.exchange_declare(QUEUE, type="direct")
            channel.queue_declare(QUEUE)
            channel.queue_bind(QUEUE, exchange=QUEUE, routing_key=QUEUE)
        assert client.type(name) == b"set"


@pytest.mark.django_db
def test_a_forged_task_does_not_replace_the_result_of_another() -> None:
    backend: Any = current_app.backend
    backend.store_result("a-task", {"run": 7, "end": "completed"}, states.SUCCESS)
    for state in (states.STARTED, states.FAILURE, states.SUCCESS):
        backend.store_result("a-task", {"run": 8, "end": "failed"}, state)
    assert backend.get_result("a-task") == {"run": 7, "end": "completed"}


def test_the_queue_of_a_message_is_where_it_was(redis_server: RedisServer, redis_url: str) -> None:
    assert redis_url
    forged = changed(properties_={"delivery_info": {"routing_key": "gpu"}}, headers_={"id": "last"})(genuine())
    with redis_server.client() as client:
        client.lpush(f"{BROKER_KEY_PREFIX}{QUEUE}", json.dumps(forged))
    (received,) = receive()
    assert received.delivery_info["routing_key"] == QUEUE


def test_what_celery_sends_is_accepted() -> None:
    assert transport.problem_of(genuine()) == ""
    body = base64.b64encode(b'[[1, "x"], {}, {"callbacks": null}]').decode()
    assert transport.problem_of(changed(body=body, headers_={"retries": 1})(genuine())) == ""


@pytest.mark.parametrize("queues", [None, [], ["other"]])
def test_a_wake_up_for_a_queue_that_the_worker_does_not_serve_is_ignored(
    queues: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Worker:
        pass

    class Runtime:
        worker = Worker()

    Runtime.worker.queues = queues  # type: ignore[attr-defined]  # a stub
    monkeypatch.setattr(runtime, "_current", None if queues is None else Runtime())
    task: Any = tasks.execute
    task.push_request(delivery_info={"routing_key": "runs"})
    try:
        with pytest.raises(Ignore):
            task.run()
    finally:
        task.pop_request()


def test_only_json_is_accepted_everywhere() -> None:
    conf = current_app.conf
    formats = {conf.task_serializer, conf.result_serializer, *conf.accept_content, *conf.result_accept_content}
    assert formats == {"json"}
    assert conf.event_serializer == "json"
    assert current_app.connection_for_read().transport_cls == "redis"
    assert isinstance(current_app.connection_for_read().transport, transport.Transport)
