"""Each line is stored exactly once, in order, with no gap: over any interleaving of everything that can happen.

The machine below drives a real Redis and a real database: a supervisor's window and sender, two flushers that advance
one step at a time and may die between any two, a Redis that is wiped or comes back as it was earlier, pushes that are
done but not answered, supervisors that are killed, and next attempts. In the end all is compared.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runs.lines import blocks, ranges, records
from runs.lines.buffer import Buffer, Stream, keys
from runs.lines.flush import Flush, flush_run
from runs.lines.store import store_entries
from runs.models import Attempt, LogLine, Result
from runs.states import AttemptKey
from runs.supervisor.sender import Sender
from runs.supervisor.window import Window
from tests.factories import make_attempt
from tests.servers import RedisServer

EXAMPLES = int(os.environ.get("ATHANOR_TEST_EXAMPLES", "50"))
LINE, RESULT = b'L[1.0,20,"log","said",null]', b'R[1.0,"metric","loss",1,0.5]'


def steps(flush: Flush) -> Generator[None, None, None]:
    """A flusher, stopping after each step. Whoever stops asking has killed it: its lock stays."""
    if not flush.lock():
        return
    yield
    while flush.read():
        yield
        flush.store()
        yield
        if not flush.trim():
            break
        yield
        flush.announce()
        yield
    flush.unlock()


def _has_said(self: LinePath) -> bool:
    return self.window.emitted(Stream.LINES) > 0


def _has_sent(self: LinePath) -> bool:
    return self.sender._sent[Stream.LINES] > 0


class LinePath(RuleBasedStateMachine):
    buffer: Buffer
    redis: redis.Redis

    @initialize()
    def begin(self) -> None:
        self.redis.flushall()
        self.attempt = make_attempt()
        self.flushers: list[Iterator[None] | None] = [None, None]
        self.frozen: Any = None
        self.saved: dict[Any, Any] = {}
        self.ended: dict[AttemptKey, dict[Stream, int]] = {}
        self.killed: dict[AttemptKey, dict[Stream, int]] = {}
        self._begin_attempt()

    def _begin_attempt(self) -> None:
        self.window = Window(self.attempt.key, max_entries=1000, max_bytes=10**6, tail=5)
        self.sender = Sender(self.window, self.buffer, batch=3, retry_s=0, check_s=0)
        self.meddled = False

    @rule(lines=st.integers(1, 5), results=st.integers(0, 2))
    def say(self, lines: int, results: int) -> None:
        self.window.add(Stream.LINES, [LINE] * lines)
        self.window.add(Stream.RESULTS, [RESULT] * results)

    @rule(lines=st.integers(1, 5), results=st.integers(0, 2))
    def say_and_send(self, lines: int, results: int) -> None:
        self.say(lines, results)
        self.send_everything()

    @precondition(_has_said)
    @rule()
    def send_once(self) -> None:
        self.sender.run_once()

    @precondition(_has_said)
    @rule()
    def send_everything(self) -> None:
        """Until the sender finds nothing more to do; then whatever happened to Redis has been mended."""
        before = None
        for _ in range(1000):
            if before == (before := dict(self.sender._sent)) and not self._unsent():
                break
            self.sender.run_once()
        else:
            raise AssertionError("the sender never comes to rest")
        self.meddled = False

    def _unsent(self) -> bool:
        return any(self.window.emitted(stream) > sent for stream, sent in self.sender._sent.items())

    @precondition(_has_said)
    @rule(stream=st.sampled_from(Stream), count=st.integers(1, 4))
    def push_without_hearing_the_answer(self, stream: Stream, count: int) -> None:
        sent = self.sender._sent[stream]
        entries = self.window.after(stream, sent, count)
        self.buffer.push(self.window.key, stream, after=sent, entries=entries)

    @precondition(_has_sent)
    @rule(who=st.integers(0, 1), count=st.integers(1, 6))
    def flush(self, who: int, count: int) -> None:
        for _ in range(count):
            flusher = self.flushers[who] or steps(Flush(self.attempt.run_id))
            self.flushers[who] = flusher if next(flusher, "ended") is None else None

    @precondition(lambda self: any(self.flushers))
    @rule(dead=st.one_of(st.none(), st.integers(0, 1)))
    def let_the_lock_expire(self, dead: int | None) -> None:
        """Because its holder is dead, or only because it is slow."""
        if dead is not None:
            self.flushers[dead] = None
        self.redis.delete(keys.lock(self.attempt.run_id))

    @precondition(_has_sent)
    @rule()
    def tell_the_supervisor_what_is_stored(self) -> None:
        self.attempt.refresh_from_db()
        self.window.forget(Stream.LINES, ranges.high_water(self.attempt.lines_stored))
        self.window.forget(Stream.RESULTS, ranges.high_water(self.attempt.results_stored))

    @precondition(_has_sent)
    @rule()
    def save_redis(self) -> None:
        """Without the lock: it may expire meanwhile."""
        self.saved = {name: self.redis.dump(name) for name in self.redis.keys("*") if self.redis.ttl(name) == -1}

    @precondition(_has_sent)
    @rule(older=st.booleans())
    def wipe_redis_or_bring_back_an_older_one(self, older: bool) -> None:
        """Lose what a killed supervisor left in Redis; a living one sends its window again."""
        self.redis.flushall()
        self.meddled = True
        self.killed = {key: dict.fromkeys(Stream, 0) for key in self.killed}
        for name, value in self.saved.items() if older else ():
            self.redis.restore(name, 0, value)

    @precondition(_has_sent)
    @rule(killed=st.booleans())
    def begin_the_next_attempt(self, killed: bool) -> None:
        """A supervisor that ends stores what it has; a killed one leaves what it had sent."""
        if killed:
            sent = {stream: 0 if self.meddled else seq for stream, seq in self.sender._sent.items()}
            self.frozen, self.killed[self.attempt.key] = self.sender, sent
        else:
            self._end_attempt()
        Attempt.objects.filter(pk=self.attempt.pk).update(end="lost", finished_at=self.attempt.claimed_at)
        self.attempt = make_attempt(self.attempt.run)
        self._begin_attempt()

    def _end_attempt(self) -> None:
        rest = {stream: self.window.after(stream, 0, 1000) for stream in Stream}
        store_entries(self.attempt.run_id, rest[Stream.LINES], rest[Stream.RESULTS])
        self.ended[self.attempt.key] = {stream: self.window.emitted(stream) for stream in Stream}

    @precondition(lambda self: self.frozen)
    @rule()
    def let_a_supervisor_that_was_taken_over_send_once_more(self) -> None:
        self.frozen.run_once()

    @invariant()
    def what_was_sent_is_in_redis_or_in_the_database(self) -> None:
        if self.meddled:
            return
        for stream, sent in self.sender._sent.items():
            values = self.buffer.head(self.attempt.run_id, stream, 10_000)
            found = {records.position(entry) for value in values for entry in blocks.entries(value)}
            waiting = {seq for number, seq in found if number == self.attempt.number}
            assert set(range(1, sent + 1)) <= waiting | set(self._stored(self.attempt.key, stream))

    @invariant()
    def attempts_know_what_is_stored(self) -> None:
        for attempt in Attempt.objects.filter(run_id=self.attempt.run_id):
            assert ranges.add([], self._stored(attempt.key, Stream.LINES)) == attempt.lines_stored
            assert ranges.add([], self._stored(attempt.key, Stream.RESULTS)) == attempt.results_stored

    def _stored(self, key: AttemptKey, stream: Stream) -> list[int]:
        model: type[LogLine | Result] = LogLine if stream is Stream.LINES else Result
        found = model.objects.filter(run_id=key.run_id, attempt=key.number)
        return list(found.order_by("seq").values_list("seq", flat=True))

    def teardown(self) -> None:
        """End the last attempt, flush, and check that everything is stored."""
        self._end_attempt()
        self.redis.delete(keys.lock(self.attempt.run_id))
        flush_run(self.attempt.run_id)
        for key, said in self.ended.items():
            for stream in Stream:
                assert self._stored(key, stream) == list(range(1, said[stream] + 1))
        for key, least in self.killed.items():
            for stream in Stream:
                stored = self._stored(key, stream)
                assert stored == list(range(1, len(stored) + 1))
                assert len(stored) >= least[stream]
        assert self.buffer.dirty() == []
        self.attempts_know_what_is_stored()


@pytest.mark.django_db
@pytest.mark.timeout(600)  # a failure takes its time to be made short
def test_each_line_is_stored_once_and_in_order_whatever_happens(buffer: Buffer, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        machine = type("Machine", (LinePath,), {"buffer": buffer, "redis": client})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=40,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
