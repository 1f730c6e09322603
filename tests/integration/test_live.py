"""Stream of an open run page: each entry once, with reconnects and filters, and only for permitted users."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import call_command

from runs.lines.buffer import Buffer, lists
from runs.lines.buffer.keys import Stream
from runs.lines.records import LINE, RESULT, encode, entry
from runs.live.feed import Feed
from runs.live.snapshot import Snapshot
from runs.models import Attempt, Run
from runs.states import Level
from tests.factories import make_attempt
from tests.output import end_run, store_lines, store_metric
from tests.web import Web, listen, session_of


@pytest.fixture(scope="module")
def web(
    django_db_setup: None, django_db_blocker: Any, redis_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Web]:
    with django_db_blocker.unblock(), Web(tmp_path_factory.mktemp("web")) as server:
        yield server
        call_command("flush", interactive=False, verbosity=0)


@pytest.fixture
def session(web: Web) -> str:
    user = get_user_model().objects.create(username=f"u{get_user_model().objects.count()}", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    return session_of(user)


def push(buffer: Buffer, attempt: Attempt, seqs: range, level: int = Level.INFO) -> None:
    """Lines that are still on their way."""
    entries = [entry(attempt.key, s, encode(LINE, [1e9 + s, level, "log", f"line {s}", None])) for s in seqs]
    assert buffer.push(attempt.key, Stream.LINES, after=seqs[0] - 1, entries=entries, reset=True).accepted


def places(html: str) -> list[str]:
    return re.findall(r'id="L([\d.]+)"', html)


def read(events: Iterator[Any], until: Callable[[list[str]], bool]) -> tuple[list[str], str]:
    """Lines in the order in which they came, until they are enough, and the last id."""
    found: list[str] = []
    last = ""
    for event in events:
        last = event.id or last
        if event.name == "lines":
            found += places(json.loads(event.data))
        if until(found) or event.name == "end":
            return found, last
    raise AssertionError(f"the stream ended after {found[-3:]}")


def numbers(first: int, last: int) -> list[str]:
    return [f"1.{seq}" for seq in range(first, last + 1)]


@pytest.mark.django_db
def test_pushes_that_are_not_announced_are_read_soon_after_one_that_was(
    redis_url: str, buffer: Buffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "ANNOUNCE_EVERY_MS", 60_000)
    attempt = make_attempt()

    async def follow() -> None:
        async with redis.asyncio.Redis.from_url(redis_url) as client:
            feed = Feed(attempt.run_id, client)
            feed.update(Snapshot(final=False, state="{}", token="", lines={}, results={}))
            task = asyncio.create_task(feed.run())
            for seq in (1, 2, 3):  # only the first is announced
                push(buffer, attempt, range(seq, seq + 1))
                if seq == 1:
                    feed.kick(Stream.LINES)
                await reached(feed, seq)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def reached(feed: Feed, seq: int) -> None:
        async with asyncio.timeout(20):
            while feed.lines is None or feed.lines.end < seq:
                await asyncio.sleep(0.001)

    asyncio.run(follow())


def test_first_what_is_stored_then_what_is_buffered_then_what_comes(web: Web, session: str, buffer: Buffer) -> None:
    attempt = make_attempt()
    store_lines(attempt, range(1, 1501))
    push(buffer, attempt, range(1401, 1601))  # a part of it is stored, and not yet trimmed
    with closing(listen(web, attempt.run_id, session)) as events:
        found, _ = read(events, lambda so_far: len(so_far) >= 1600)
        push(buffer, attempt, range(1601, 1701))
        more, _ = read(events, lambda so_far: len(so_far) >= 100)
    assert found + more == numbers(1, 1700)


def test_who_comes_back_gets_what_he_missed_once(web: Web, session: str, buffer: Buffer) -> None:
    attempt = make_attempt()
    push(buffer, attempt, range(1, 51))
    with closing(listen(web, attempt.run_id, session)) as events:
        first, last = read(events, lambda so_far: len(so_far) >= 50)
    push(buffer, attempt, range(51, 101))
    with closing(listen(web, attempt.run_id, session, last=last)) as events:
        second, _ = read(events, lambda so_far: len(so_far) >= 50)
    assert first + second == numbers(1, 100)


def test_the_server_may_be_killed_in_between(web: Web, session: str, buffer: Buffer) -> None:
    attempt = make_attempt()
    store_lines(attempt, range(1, 11))
    push(buffer, attempt, range(11, 21))
    with closing(listen(web, attempt.run_id, session)) as events:
        first, last = read(events, lambda so_far: len(so_far) >= 20)
    web.kill()
    push(buffer, attempt, range(21, 31))
    web.start()
    with closing(listen(web, attempt.run_id, session, last=last)) as events:
        second, _ = read(events, lambda so_far: len(so_far) >= 10)
    assert first + second == numbers(1, 30)


def test_a_gap_waits_until_it_is_filled(web: Web, session: str, buffer: Buffer) -> None:
    attempt = make_attempt()
    store_lines(attempt, [1, 2])
    entries = [entry(attempt.key, s, encode(LINE, [1e9, 20, "log", "x", None])) for s in (4, 5)]
    buffer.push(attempt.key, Stream.LINES, after=3, entries=entries, reset=True)
    with closing(listen(web, attempt.run_id, session)) as events:
        first, _ = read(events, lambda so_far: len(so_far) >= 2)
        store_lines(attempt, [3])
        second, _ = read(events, lambda so_far: len(so_far) >= 3)
    assert first + second == numbers(1, 5)


def test_of_a_final_run_everything_is_told_and_then_its_end(web: Web, session: str) -> None:
    attempt = make_attempt()
    store_lines(attempt, [*range(1, 8), 9])
    run = end_run(attempt)
    names = [event.name for event in listen(web, run.pk, session)]
    assert names[-1] == "end"
    assert read(listen(web, run.pk, session), lambda _: False)[0] == [*numbers(1, 7), "1.9"]


def test_only_wanted_lines_are_told_and_the_place_moves_on(web: Web, session: str, buffer: Buffer) -> None:
    attempt = make_attempt()
    push(buffer, attempt, range(1, 11))
    push(buffer, attempt, range(11, 13), level=Level.ERROR)
    push(buffer, attempt, range(13, 20))
    with closing(listen(web, attempt.run_id, session, query="?level=error&text=LINE")) as events:
        found, last = read(events, lambda so_far: len(so_far) >= 2)
    assert found == ["1.11", "1.12"]
    assert int(last.split("/")[0].split(":")[1]) >= 12


def test_points_and_state_are_told(web: Web, session: str, buffer: Buffer) -> None:
    attempt = make_attempt()
    store_metric(attempt, "loss", [2.0])
    record = encode(RESULT, [1e9, "metric", "loss", 1, 0.5])
    buffer.push(attempt.key, Stream.RESULTS, after=1, entries=[entry(attempt.key, 2, record)], reset=True)
    points: list[Any] = []
    state: dict[str, Any] = {}
    for event in listen(web, attempt.run_id, session):
        points += json.loads(event.data) if event.name == "points" else []
        state = json.loads(event.data) if event.name == "state" else state
        if len(points) == 2 and state:
            break
    assert [[p[0], p[2], p[4]] for p in points] == [["loss", 0, 2.0], ["loss", 1, 0.5]]
    assert state["status"] == "running"


def test_a_run_that_is_deleted_ends_its_streams(web: Web, session: str) -> None:
    attempt = make_attempt()
    names = []
    for event in listen(web, attempt.run_id, session):
        names.append(event.name)
        Run.objects.filter(pk=attempt.run_id).delete()
    assert names[-1] == "end"


@pytest.mark.parametrize(
    ("values", "permission", "status"),
    [
        ({"is_staff": True}, "view_run", 200),
        ({"is_staff": True, "is_superuser": True}, None, 200),
        ({"is_staff": True}, None, 403),
        ({"is_staff": False}, "view_run", 403),
        ({"is_staff": True, "is_active": False}, "view_run", 403),
    ],
)
def test_only_who_may_view_the_run_is_told(web: Web, values: Any, permission: str | None, status: int) -> None:
    user = get_user_model().objects.create(username=f"p{get_user_model().objects.count()}", **values)
    if permission:
        user.user_permissions.add(Permission.objects.get(codename=permission))
    run = end_run(make_attempt())
    if status == 200:
        assert list(listen(web, run.pk, session_of(user)))
    else:
        with pytest.raises(AssertionError, match=str(status)):
            list(listen(web, run.pk, session_of(user)))


@pytest.mark.parametrize(
    ("session_key", "query", "status"), [("", "", 403), ("forged", "", 403), (None, "?at=x", 400), (None, "", 404)]
)
def test_what_makes_no_sense_is_refused(
    web: Web, session: str, session_key: str | None, query: str, status: int
) -> None:
    key = session if session_key is None else session_key
    with pytest.raises(AssertionError, match=str(status)):
        list(listen(web, 10**9, key, query=query))


def test_lines_come_without_redis_too(web: Web, session: str, redis_server: Any, tmp_path: Path) -> None:
    attempt = make_attempt()
    redis_server.kill()
    try:
        with closing(listen(web, attempt.run_id, session)) as events:
            store_lines(attempt, range(1, 11))
            found, _ = read(events, lambda so_far: len(so_far) >= 10)
    finally:
        redis_server.start()
    assert found == numbers(1, 10)
