"""Buffer on a real Redis: accepted and refused entries, and the time until an answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runs.exceptions import BufferFull, BufferUnavailable
from runs.lines import blocks
from runs.lines.buffer import Buffer, Pushed, Stream, keys, lists
from runs.states import AttemptKey
from runs.worker.capacity import redis_connections
from tests.servers import RedisServer

KEY = AttemptKey(7, 1)
BOUND_S = 9.0  # two tries of two seconds, to connect and to be answered, and a slow machine


def lines(first: int, last: int, key: AttemptKey = KEY) -> list[bytes]:
    return [b'#%d:%d:%d\n[1.0,20,"log","line %d",null]' % (key.number, seq, seq, seq) for seq in range(first, last + 1)]


def signed(first: int, last: int, stream: Stream = Stream.LINES) -> list[bytes]:
    return [blocks.sign(KEY.run_id, stream, value) for value in lines(first, last)]


def push(buffer: Buffer, first: int, last: int, *, key: AttemptKey = KEY, reset: bool = False) -> Pushed:
    return buffer.push(key, Stream.LINES, after=first - 1, entries=lines(first, last, key), reset=reset)


def test_entries_that_follow_are_appended_in_order(buffer: Buffer) -> None:
    assert push(buffer, 1, 3) == Pushed(True, 3, 3)
    assert push(buffer, 4, 5) == Pushed(True, 5, 5)
    assert buffer.head(7, Stream.LINES, 100) == signed(1, 5)
    assert buffer.tail(KEY, Stream.LINES) == 5
    assert buffer.dirty() == [7]


def test_more_entries_than_a_lua_stack_holds_are_appended(buffer: Buffer) -> None:
    assert push(buffer, 1, 25_000) == Pushed(True, 25_000, 25_000)
    assert buffer.head(7, Stream.LINES, 30_000) == signed(1, 25_000)


def test_a_push_that_was_sent_twice_is_noticed(buffer: Buffer) -> None:
    push(buffer, 1, 3)
    assert push(buffer, 1, 3) == Pushed(False, 3, 3)
    assert buffer.head(7, Stream.LINES, 100) == signed(1, 3)


def test_an_unanswered_push_is_sent_again_and_done_once(redis_server: RedisServer, buffer: Buffer) -> None:
    push(buffer, 1, 1)
    redis_server.freeze()
    with pytest.raises(BufferUnavailable):
        push(buffer, 2, 3)
    redis_server.thaw()
    assert push(buffer, 2, 3) == Pushed(False, 3, 3)
    assert buffer.head(7, Stream.LINES, 100) == signed(1, 3)


def test_a_wiped_redis_is_noticed_and_filled_again_by_a_reset(redis_server: RedisServer, buffer: Buffer) -> None:
    push(buffer, 1, 5)
    with redis_server.client() as client:
        client.flushall()
    assert push(buffer, 6, 7) == Pushed(False, 0, 0)
    assert push(buffer, 4, 7, reset=True) == Pushed(True, 7, 4)
    assert push(buffer, 8, 8).accepted


def test_a_redis_that_lost_its_last_entries_is_noticed(redis_server: RedisServer, buffer: Buffer) -> None:
    push(buffer, 1, 3)
    with redis_server.client() as client:
        before = {name: client.dump(name) for name in client.keys("*")}
        push(buffer, 4, 6)
        client.flushall()
        for name, value in before.items():
            client.restore(name, 0, value)
    assert push(buffer, 7, 8) == Pushed(False, 3, 3)
    assert push(buffer, 4, 8).accepted
    assert buffer.head(7, Stream.LINES, 100) == signed(1, 8)


def test_a_restarted_redis_has_forgotten_nothing_it_had_written(redis_server: RedisServer, buffer: Buffer) -> None:
    push(buffer, 1, 3)
    redis_server.restart()
    assert push(buffer, 4, 4) == Pushed(True, 4, 4)


def test_an_older_attempt_is_not_let_in_even_by_a_reset(buffer: Buffer) -> None:
    newer = AttemptKey(7, 2)
    push(buffer, 1, 2)
    assert push(buffer, 1, 1, key=newer).accepted
    assert push(buffer, 3, 3) == Pushed(False, 0, 3)
    assert not push(buffer, 3, 3, reset=True).accepted
    assert buffer.tail(KEY, Stream.LINES) == 0


def test_a_full_list_refuses_and_changes_nothing(buffer: Buffer, configure: Callable[..., None]) -> None:
    configure(list_max=3)
    push(buffer, 1, 3)
    with pytest.raises(BufferFull, match="run 7"):
        push(buffer, 4, 4)
    assert push(buffer, 2, 3) == Pushed(False, 3, 3)  # what was sent twice is noticed all the same
    token = buffer.lock(7)
    assert token
    assert buffer.trim(7, Stream.LINES, token, signed(1, 3))
    assert push(buffer, 4, 4).accepted


def test_a_redis_out_of_memory_refuses_whole_pushes(short_folder: Path) -> None:
    with RedisServer(short_folder, options={"maxmemory": "3mb"}) as server:
        buffer = Buffer(server.url)
        entry = b"1:%d:" + b"x" * 100_000
        with pytest.raises(BufferUnavailable, match="maxmemory"):  # noqa: PT012  # which one is refused is Redis' affair
            for seq in range(1, 100):
                buffer.push(KEY, Stream.LINES, after=seq - 1, entries=[entry % seq])
        kept = len(buffer.head(7, Stream.LINES, 1000))
        assert 0 < kept == buffer.tail(KEY, Stream.LINES)
        buffer.close()


def test_a_read_only_redis_is_unavailable(redis_server: RedisServer, buffer: Buffer) -> None:
    with redis_server.client() as client:
        client.replicaof("127.0.0.1", "1")
        try:
            with pytest.raises(BufferUnavailable, match=r"READONLY|read only"):
                push(buffer, 1, 1)
        finally:
            client.replicaof("NO", "ONE")


@pytest.mark.parametrize("end", ["stop", "kill", "freeze"])
def test_an_absent_redis_is_unavailable_within_a_bounded_time(
    redis_server: RedisServer, buffer: Buffer, end: str
) -> None:
    push(buffer, 1, 1)
    getattr(redis_server, end)()
    started = time.monotonic()
    with pytest.raises(BufferUnavailable, match="run 7"):
        push(buffer, 2, 2)
    assert time.monotonic() - started < BOUND_S


def test_only_one_flusher_has_the_lock_and_only_its_holder_gives_it_back(buffer: Buffer) -> None:
    token = buffer.lock(7)
    assert token
    assert buffer.lock(7) is None
    buffer.unlock(7, "another")
    assert buffer.lock(7) is None
    buffer.unlock(7, token)
    assert buffer.lock(7)


def test_trimming_needs_the_lock_and_the_very_head(buffer: Buffer) -> None:
    push(buffer, 1, 5)
    token = buffer.lock(7)
    assert token
    assert not buffer.trim(7, Stream.LINES, "another", signed(1, 2))
    assert not buffer.trim(7, Stream.LINES, token, signed(2, 3))
    assert not buffer.trim(7, Stream.LINES, token, signed(1, 6))
    assert buffer.trim(7, Stream.LINES, token, signed(1, 2))
    assert buffer.head(7, Stream.LINES, 100) == signed(3, 5)
    assert buffer.trim(7, Stream.LINES, token, [])


def test_a_run_is_clean_only_when_both_lists_are_empty(buffer: Buffer) -> None:
    buffer.push(KEY, Stream.RESULTS, after=0, entries=lines(1, 1))
    token = buffer.lock(7)
    assert token
    assert not buffer.clean(7)
    buffer.trim(7, Stream.RESULTS, token, signed(1, 1, Stream.RESULTS))
    assert buffer.clean(7)
    assert buffer.dirty() == []


def test_pushes_in_quick_succession_are_announced_once_for_each_list(
    redis_server: RedisServer, buffer: Buffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "ANNOUNCE_EVERY_MS", 60_000)
    with redis_server.client() as client, client.pubsub() as pubsub:
        pubsub.subscribe(keys.live(7))
        for number in range(1, 6):
            push(buffer, number, number)
        buffer.push(KEY, Stream.RESULTS, after=0, entries=lines(1, 1))
        messages = [pubsub.get_message(timeout=1)["data"] for _ in range(3)]
        assert messages[1:] == [b"lines:1:1", b"results:1:1"]
        assert pubsub.get_message(timeout=0.1) is None


def test_a_discarded_run_leaves_nothing(redis_server: RedisServer, buffer: Buffer) -> None:
    push(buffer, 1, 3)
    buffer.lock(7)
    buffer.flag_cancel(7)
    buffer.discard(7)
    with redis_server.client() as client:
        assert client.keys("*") == []


def test_what_is_no_string_where_one_is_expected_is_unavailable(redis_server: RedisServer, buffer: Buffer) -> None:
    with redis_server.client() as client:
        client.set(keys.entries(7, Stream.LINES), "no list")
    with pytest.raises(BufferUnavailable, match="WRONGTYPE"):
        push(buffer, 1, 1)


def test_a_redis_that_forgot_the_scripts_learns_them_again(redis_server: RedisServer, buffer: Buffer) -> None:
    push(buffer, 1, 1)
    with redis_server.client() as client:
        client.script_flush()
    assert push(buffer, 2, 2).accepted


def test_as_many_threads_as_there_are_slots_may_speak_at_once(redis_url: str) -> None:
    buffer = Buffer(redis_url)
    pool = buffer._client.connection_pool
    buffer.allow_connections(redis_connections(150))
    taken = [pool.get_connection() for _ in range(300)]
    for each in taken:
        pool.release(each)
    buffer.close()
    assert len({id(each) for each in taken}) == 300


def test_fewer_connections_are_not_asked_for(redis_url: str) -> None:
    buffer = Buffer(redis_url)
    before = buffer._client.connection_pool.max_connections
    buffer.allow_connections(1)
    assert buffer._client.connection_pool.max_connections == before
