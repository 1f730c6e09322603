"""Another program that writes to Redis adds, alters and steers nothing, and stops neither a run nor the flush."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio
from django.utils import timezone

from runs.lines import blocks
from runs.lines.buffer import Buffer, CancelRequested, InspectionRequested, Notice, StoredUpTo, Stream, keys, notices
from runs.lines.flush import flush_all
from runs.lines.store import store_entries
from runs.live import buffered
from runs.models import Attempt, LogLine, Result
from runs.states import AttemptEnd, AttemptKey
from runs.supervisor import sender as sending
from runs.supervisor.sender import Sender
from runs.supervisor.window import Window
from tests.factories import make_attempt
from tests.servers import RedisServer

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

Redis = Any
GENUINE = ["1", "2", "3"]


def line(seq: int, text: str = "") -> bytes:
    return b'[1.0,20,"log","%s",null]' % (text or str(seq)).encode()


def block(number: int, first: int, *lines: bytes) -> bytes:
    return b"#%d:%d:%d\n%b" % (number, first, first + len(lines) - 1, b"\n".join(lines))


def push(buffer: Buffer, key: AttemptKey, first: int = 1) -> None:
    values = [block(key.number, first, *map(line, range(first, first + 3)))]
    assert buffer.push(key, Stream.LINES, after=first - 1, entries=values).accepted


def stored(attempt: Attempt) -> list[str]:
    return list(LogLine.objects.filter(run_id=attempt.run_id).order_by("seq").values_list("message", flat=True))


@pytest.fixture
def client(redis_server: RedisServer, redis_url: str) -> Redis:
    assert redis_url
    return redis_server.client()


def with_key_of_its_own(value: bytes, attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> bytes:
    with monkeypatch.context() as patched:
        patched.setattr("django.conf.settings.SECRET_KEY", "guessed")
        return blocks.sign(attempt.run_id, Stream.LINES, value)


VALUES: dict[str, Callable[[Attempt, bytes, bytes, pytest.MonkeyPatch], bytes]] = {
    "without a code": lambda *_: block(1, 4, line(4)),
    "of the earliest form": lambda *_: b"1:4:" + line(4),
    "with an empty code": lambda *_: b"#1:4:4:\n" + line(4),
    "with a code that is not ASCII": lambda *_: b"#1:4:4:\xff\xfe\n" + line(4),
    "with the code of another secret key": lambda attempt, _o, _e, m: with_key_of_its_own(
        block(1, 4, line(4)), attempt, m
    ),
    "altered": lambda _a, own, *_: own.replace(b'"2"', b'"9"').replace(b"#1:1:3", b"#1:4:6"),
    "moved to other seqs": lambda _a, own, *_: own.replace(b"#1:1:3", b"#1:4:6"),
    "moved to another attempt": lambda _a, own, *_: own.replace(b"#1:", b"#2:"),
    "of another run": lambda _a, _own, elsewhere, _: elsewhere,
    "of the other list": lambda attempt, *_: blocks.sign(attempt.run_id, Stream.RESULTS, block(1, 4, line(4))),
    "repeated": lambda _a, own, *_: own,
    "garbage": lambda *_: b"\x00\xff" * 50,
    "empty": lambda *_: b"",
    "with a header that does not end": lambda *_: b"#" + b"1" * 5000,
    "with a huge seq": lambda *_: b"#1:99999999999999999999:99999999999999999999\n" + line(4),
    "large": lambda *_: b"#1:4:4\n" + b"x" * 2_000_000,
}


@pytest.mark.parametrize("at", ["head", "tail"])
@pytest.mark.parametrize("made", VALUES)
def test_a_value_that_no_supervisor_has_sent_is_removed(
    made: str, at: str, buffer: Buffer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, other = make_attempt(), make_attempt()
    push(buffer, attempt.key)
    push(buffer, other.key, 1)
    push(buffer, other.key, 4)
    own, elsewhere = (client.lindex(keys.entries(each.run_id, Stream.LINES), -1) for each in (attempt, other))
    value = VALUES[made](attempt, own, elsewhere, monkeypatch)
    (client.lpush if at == "head" else client.rpush)(keys.entries(attempt.run_id, Stream.LINES), value)
    report = flush_all(5)
    assert (report.failed, report.stopped) == ({}, "")
    assert stored(attempt) == GENUINE
    attempt.refresh_from_db()
    assert attempt.lines_stored == [[1, 3]]
    assert buffer.dirty() == []


def test_what_is_removed_is_counted(buffer: Buffer, client: Redis, caplog: pytest.LogCaptureFixture) -> None:
    attempt = make_attempt()
    push(buffer, attempt.key)
    client.rpush(keys.entries(attempt.run_id, Stream.LINES), block(1, 4, line(4), line(5)), b"garbage")
    flush_all(5)
    assert f"Run {attempt.run_id}: removed 3 lines from Redis that have no valid code" in caplog.text


@pytest.mark.parametrize("accepted", [True, False])
def test_lines_of_an_earlier_version_are_stored_if_the_setting_says_so(
    accepted: bool, buffer: Buffer, client: Redis, configure: Callable[..., None]
) -> None:
    configure(accept_unsigned=accepted)
    attempt = make_attempt()
    push(buffer, attempt.key)
    altered = client.lindex(keys.entries(attempt.run_id, Stream.LINES), 0).replace(b"#1:1:3", b"#1:5:7")
    client.rpush(keys.entries(attempt.run_id, Stream.LINES), block(1, 4, line(4)), b"1:5:" + line(5), altered)
    flush_all(5)
    assert stored(attempt) == GENUINE + (["4", "5"] if accepted else [])


@pytest.mark.parametrize("last", [4, 145])
def test_an_ended_attempt_gets_nothing_beyond_what_it_has_emitted(
    last: int, caplog: pytest.LogCaptureFixture, configure: Callable[..., None]
) -> None:
    caplog.set_level(logging.WARNING)
    ended: dict[str, Any] = {
        "end": AttemptEnd.COMPLETED,
        "finished_at": timezone.now(),
        "lines_emitted": 3,
        "results_emitted": 0,
    }
    attempt = make_attempt(**ended)
    lines = [block(1, 1, *map(line, range(1, 4))), block(1, last, line(last), line(last + 1))]
    made = store_entries(attempt.run_id, lines, [b'#1:1:1\n[1.0,"metric","loss",1,0.5]'])
    assert (made.beyond, made.dropped) == (3, 3)
    assert stored(attempt) == GENUINE
    assert not Result.objects.filter(run_id=attempt.run_id).exists()
    assert f"Dropped 3 entries of run {attempt.run_id}" in caplog.text
    attempt.refresh_from_db()
    assert (attempt.lines_stored, attempt.results_stored) == ([[1, 3]], [])


def window_of(attempt: Attempt) -> Window:
    made = Window(attempt.key, max_entries=1000, max_bytes=1_000_000, tail=5)
    made.add(Stream.LINES, [b"L" + line(seq) for seq in range(1, 4)])
    return made


def turn(window: Window, sender: Sender, attempt: Attempt, times: int = 8) -> list[str]:
    """Send and flush, as a supervisor and a system worker do. Return what is stored."""
    for _ in range(times):
        sender.run_once()
        flush_all(5)
        if stored(attempt) == GENUINE:
            window.forget(Stream.LINES, 3)
    return stored(attempt)


def _lines(run: int) -> str:
    return keys.entries(run, Stream.LINES)


def _tail(run: int) -> str:
    return keys.tail(run, Stream.LINES)


KEYS: dict[str, Callable[[int], str]] = {
    "lines": _lines,
    "results": lambda run: keys.entries(run, Stream.RESULTS),
    "tail": _tail,
    "lock": keys.lock,
    "announced": lambda run: keys.announced(run, Stream.LINES),
    "cancel": keys.cancel,
    "dirty": lambda _: keys.DIRTY,
}
TYPES: dict[str, Callable[[Redis, str], Any]] = {
    "string": lambda client, name: client.set(name, "garbage"),
    "set": lambda client, name: client.sadd(name, "garbage", -1, 0, "9" * 40),
    "nothing": lambda _client, _name: None,
}


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("name", KEYS)
def test_any_type_at_any_key_is_overcome(
    name: str, type_: str, before: bool, buffer: Buffer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "RESEND_AFTER_S", 0.0)
    attempt = make_attempt()
    window = window_of(attempt)
    sender = Sender(window, buffer, batch=2, retry_s=0.001, check_s=0.001)
    if not before:
        sender.run_once()
    key = KEYS[name](attempt.run_id)
    client.delete(key)
    TYPES[type_](client, key)
    assert turn(window, sender, attempt) == GENUINE
    assert buffer.flagged([attempt.run_id]) == set()


STATES: dict[str, Callable[[Redis, int], Any]] = {
    "a later attempt": lambda client, run: client.set(_tail(run), "7:3"),
    "an attempt beyond all numbers": lambda client, run: client.set(_tail(run), "9" * 400 + ":3"),
    "more than there is": lambda client, run: client.set(_tail(run), "1:5000"),
    "more than was sent": lambda client, run: client.set(_tail(run), "1:3"),
    "a part": lambda client, run: client.set(_tail(run), "1:1"),
    "no list": lambda client, run: client.delete(_lines(run)),
    "an altered list": lambda client, run: client.lset(_lines(run), 0, "#1:1:2\nx\ny"),
    "a list of another program": lambda client, run: client.lpush(_lines(run), *["#9:1:1\nx"] * 50),
    "a lock for ever": lambda client, run: client.set(keys.lock(run), "mine"),
    "a lock for a year": lambda client, run: client.set(keys.lock(run), "mine", ex=365 * 86400),
    "nothing at all": lambda client, _run: client.flushall(),
}


@pytest.mark.parametrize("state", STATES)
def test_a_forged_state_is_overcome(state: str, buffer: Buffer, client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "RESEND_AFTER_S", 0.0)
    attempt = make_attempt()
    window = window_of(attempt)
    sender = Sender(window, buffer, batch=2, retry_s=0.001, check_s=0.001)
    sender.run_once()
    STATES[state](client, attempt.run_id)
    assert turn(window, sender, attempt) == GENUINE


def test_a_supervisor_without_its_lease_overrules_nothing(buffer: Buffer, client: Redis) -> None:
    attempt = make_attempt()
    holds = iter([True, True, False])
    sender = Sender(window_of(attempt), buffer, batch=2, retry_s=0.001, may_send=lambda: next(holds))
    client.set(_tail(attempt.run_id), "2:3")
    sender.run_once()
    sender.run_once()
    assert client.get(_tail(attempt.run_id)) == b"2:3"


@pytest.mark.parametrize("value", [b"garbage", b"", b"#1:4:4\n[]", b"1:4:[]", b"#1:4:4:" + b"0" * 32 + b"\n[]"])
def test_open_pages_show_no_forged_line(value: bytes, buffer: Buffer, client: Redis, redis_url: str) -> None:
    push(buffer, AttemptKey(7, 1))
    client.rpush(_lines(7), value)

    async def read() -> list[bytes]:
        async with redis.asyncio.Redis.from_url(redis_url) as reader:
            return await buffered.after(reader, 7, Stream.LINES, {}, 100)

    assert asyncio.run(read()) == [b"1:%d:%b" % (seq, line(seq)) for seq in (1, 2, 3)]


NOTICES: list[Notice] = [CancelRequested(7), InspectionRequested(7), StoredUpTo(AttemptKey(7, 1), 9, 9)]


@pytest.mark.parametrize("notice", NOTICES, ids=str)
def test_a_forged_notice_is_ignored(notice: Notice, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = notices.encode(notice)
    text, _, code = genuine.rpartition(b":")
    with monkeypatch.context() as patched:
        patched.setattr("django.conf.settings.SECRET_KEY", "guessed")
        guessed = notices.encode(notice)
    moved = text.replace(b"7", b"8") + b":" + code
    assert notices.decode(genuine) == notice
    assert [notices.decode(each) for each in (text, text + b":", guessed, moved, text + b":\xff")] == [None] * 5


def test_a_forged_cancel_flag_is_ignored(buffer: Buffer, client: Redis) -> None:
    buffer.flag_cancel(7)
    client.set(keys.cancel(8), client.get(keys.cancel(7)))
    client.set(keys.cancel(9), 1)
    assert buffer.flagged([7, 8, 9]) == {7}


def test_a_code_of_the_previous_secret_key_is_valid(buffer: Buffer, settings: Any) -> None:
    attempt = make_attempt()
    push(buffer, attempt.key)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]
    flush_all(5)
    assert stored(attempt) == GENUINE
