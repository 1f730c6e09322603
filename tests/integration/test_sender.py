"""Window entries reach Redis, and again after Redis has lost them."""

from __future__ import annotations

import pytest

from runs.exceptions import BufferUnavailable
from runs.lines import blocks, records
from runs.lines.buffer import Buffer, Stream, keys
from runs.states import AttemptKey
from runs.supervisor.sender import Sender
from runs.supervisor.window import Window
from tests.servers import RedisServer

KEY = AttemptKey(41, 1)


def line(text: str) -> bytes:
    return records.encode(records.LINE, [1.0, 20, "log", text, None])


def window(*texts: str) -> Window:
    made = Window(KEY, max_entries=1000, max_bytes=1_000_000, tail=5)
    made.add(Stream.LINES, [line(text) for text in texts])
    return made


def sender(of: Window, buffer: Buffer) -> Sender:
    return Sender(of, buffer, batch=2, retry_s=0.01, check_s=0.01)


def in_redis(buffer: Buffer) -> list[int]:
    values = buffer.head(KEY.run_id, Stream.LINES, 1000)
    return [records.position(entry)[1] for value in values for entry in blocks.entries(value)]


def turn(s: Sender, times: int = 4) -> None:
    for _ in range(times):
        s.run_once()


def test_everything_is_sent_once_and_in_order(buffer: Buffer) -> None:
    w = window("a", "b", "c")
    s = sender(w, buffer)
    turn(s)
    w.add(Stream.LINES, [line("d")])
    turn(s)
    assert in_redis(buffer) == [1, 2, 3, 4]


def test_a_wiped_redis_gets_all_that_is_not_stored_again(buffer: Buffer, redis_server: RedisServer) -> None:
    w = window("a", "b", "c")
    s = sender(w, buffer)
    turn(s)
    w.forget(Stream.LINES, 1)
    redis_server.client().flushall()
    turn(s)
    assert in_redis(buffer) == [2, 3]
    w.add(Stream.LINES, [line("d")])
    turn(s)
    assert in_redis(buffer) == [2, 3, 4]


def test_what_is_stored_is_not_sent_to_a_wiped_redis(buffer: Buffer, redis_server: RedisServer) -> None:
    w = window("a", "b")
    s = sender(w, buffer)
    turn(s)
    w.forget(Stream.LINES, 2)
    redis_server.client().flushall()
    turn(s)
    w.add(Stream.LINES, [line("c")])
    turn(s)
    assert in_redis(buffer) == [3]


def test_a_sender_rests_when_what_it_would_send_again_is_stored(buffer: Buffer, redis_server: RedisServer) -> None:
    w = window("a", "b", "c")
    s = sender(w, buffer)
    turn(s)
    redis_server.client().flushall()
    turn(s, 2)  # notices it, and sends the first two again
    w.forget(Stream.LINES, 3)
    s.run_once()
    assert not w.wait_for_more(s._sent, 0)
    w.add(Stream.LINES, [line("d")])
    turn(s)
    assert in_redis(buffer)[-1] == 4


@pytest.mark.parametrize("stored", [0, 1])
def test_a_push_that_was_done_but_not_answered_is_not_done_again(buffer: Buffer, stored: int) -> None:
    w = window("a", "b", "c")
    s = sender(w, buffer)
    buffer.push(KEY, Stream.LINES, after=0, entries=w.after(Stream.LINES, 0, 2))
    w.forget(Stream.LINES, stored)
    turn(s)
    assert in_redis(buffer) == [1, 2, 3]


def test_an_unavailable_redis_is_waited_for(buffer: Buffer, redis_server: RedisServer) -> None:
    w = window("a", "b")
    s = sender(w, buffer)
    redis_server.stop()
    turn(s, 2)
    redis_server.start()
    turn(s)
    assert in_redis(buffer) == [1, 2]


def test_nothing_is_sent_while_the_lease_may_be_over(buffer: Buffer) -> None:
    holds = [False]
    w = window("a", "b")
    s = Sender(w, buffer, batch=2, retry_s=0.01, check_s=0.01, may_send=lambda: holds[0])
    turn(s)
    assert in_redis(buffer) == []
    holds[0] = True
    turn(s)
    assert in_redis(buffer) == [1, 2]


def test_a_repair_that_redis_cannot_execute_is_left_to_the_next_push(
    buffer: Buffer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(run_id: int) -> None:
        raise BufferUnavailable("away")

    s = sender(window("a"), buffer)
    redis_server.client().set(keys.entries(KEY.run_id, Stream.LINES), "of another type")
    with monkeypatch.context() as patched:
        patched.setattr(buffer, "repair", away)
        turn(s)
    turn(s)
    assert in_redis(buffer) == [1]
