"""Cancel flags and notices, over a real Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runs.exceptions import BufferUnavailable
from runs.lines.buffer import Buffer, CancelRequested, Notice, StoredUpTo, notices
from runs.states import AttemptKey
from tests.servers import RedisServer


@pytest.fixture
def heard(buffer: Buffer) -> Iterator[Iterator[Notice | None]]:
    listening = buffer.notices(0.05)
    assert next(listening) is None  # from here on it listens
    yield listening
    listening.close()  # type: ignore[attr-defined]  # it is a generator


def first(heard: Iterator[Notice | None]) -> Notice:
    return next(notice for notice in heard if notice is not None)


def test_a_flag_is_heard_and_stays_up(buffer: Buffer, heard: Iterator[Notice | None]) -> None:
    buffer.flag_cancel(3)
    assert first(heard) == CancelRequested(3)
    assert buffer.flagged([2, 3, 4]) == {3}
    assert buffer.flagged([]) == set()


def test_what_is_stored_is_heard(buffer: Buffer, heard: Iterator[Notice | None]) -> None:
    buffer.announce_stored(AttemptKey(3, 2), 500, 7)
    assert first(heard) == StoredUpTo(AttemptKey(3, 2), 500, 7)


def test_a_listener_hears_of_the_end_of_redis(
    redis_server: RedisServer, buffer: Buffer, heard: Iterator[Notice | None]
) -> None:
    redis_server.kill()
    with pytest.raises(BufferUnavailable):
        first(heard)


def test_a_listener_notices_that_redis_has_gone_silent(
    redis_server: RedisServer, heard: Iterator[Notice | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "SILENCE_S", 0.5)
    monkeypatch.setattr(notices, "TIMEOUT_S", 0.1)
    redis_server.freeze()
    with pytest.raises(BufferUnavailable, match="silent"):
        first(heard)


def test_an_idle_but_healthy_connection_is_kept(
    heard: Iterator[Notice | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "SILENCE_S", 0.4)
    monkeypatch.setattr(notices, "TIMEOUT_S", 0.1)
    assert [next(heard) for _ in range(20)] == [None] * 20


@pytest.mark.parametrize("data", [b"", b"cancel", b"cancel:x", b"cancel:1:2", b"stored:1:2", b"other:1", b"\xff"])
def test_what_another_version_says_is_passed_over(data: bytes) -> None:
    assert notices.decode(data) is None


@pytest.mark.parametrize("notice", [CancelRequested(9), StoredUpTo(AttemptKey(9, 1), 0, 4)])
def test_notices_are_read_as_they_were_said(notice: Notice) -> None:
    assert notices.decode(notices.encode(notice)) == notice
