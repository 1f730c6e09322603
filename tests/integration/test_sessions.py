"""Life of a session: idle and absolute, for pages and streams; and streams that end with the right to watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import InterfaceError
from django.test import Client
from django.utils import timezone

from runs import sessions
from runs.conf import RunsSettings
from runs.live import guard, stream
from runs.live.access import Answer, may_watch
from runs.live.guard import Guard, Watch
from runs.models import Run
from tests.factories import make_run
from tests.web import session_of

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
LIMITS = RunsSettings()
PAST = {
    "idle": {sessions.SEEN: LIMITS.session_idle_s},
    "old": {sessions.BEGAN: LIMITS.session_life_s},
}
HOME = "/admin/"


@pytest.fixture
def viewer() -> User:
    user = User.objects.create(username="vera", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    return user


@pytest.fixture
def client(viewer: User) -> Client:
    client = Client()
    client.force_login(viewer)
    return client


def age(client: Client, ages_s: dict[str, float]) -> None:
    """Let the times of the session be that many seconds ago, and one more."""
    session = client.session
    for name, age_s in ages_s.items():
        session[name] = time.time() - age_s - 1
    session.save()


@pytest.mark.parametrize("reason", PAST)
def test_a_session_ends_by_idleness_and_by_age(client: Client, reason: str) -> None:
    assert client.get(HOME).status_code == 200
    age(client, PAST[reason])
    page = client.get(HOME, follow=True)
    assert page.redirect_chain == [("/admin/login/?next=/admin/", 302)]
    assert "Your session has ended. Log in again." in page.content.decode()
    assert not Session.objects.exclude(session_key=client.session.session_key).exists()


def test_a_page_that_updates_itself_keeps_no_session_alive(client: Client) -> None:
    for headers, is_kept in (({"Sec-Fetch-Dest": "empty"}, False), ({}, True)):
        age(client, {sessions.SEEN: LIMITS.session_idle_s / 2})
        before = client.session[sessions.SEEN]
        assert client.get(HOME, headers=headers).status_code == 200
        assert (client.session[sessions.SEEN] > before) == is_kept


def test_a_session_is_written_once_in_a_minute(client: Client) -> None:
    client.get(HOME)
    before = client.session[sessions.SEEN]
    client.get(HOME)
    assert client.session[sessions.SEEN] == before


def test_an_older_session_begins_at_its_next_request(viewer: User) -> None:
    client = Client()
    client.cookies["sessionid"] = session_of(viewer)
    assert client.get(HOME).status_code == 200
    assert {sessions.BEGAN, sessions.SEEN} <= set(client.session.keys())


def test_a_login_removes_sessions_that_have_expired(viewer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "EXPIRED_MAX", 2)
    for age_s in (30, 20, 10, -100):
        store = SessionStore()
        store.create()
        Session.objects.filter(pk=store.session_key).update(expire_date=timezone.now() - timedelta(seconds=age_s))
    Client().force_login(viewer)
    assert Session.objects.filter(expire_date__lt=timezone.now()).count() == 1
    assert Session.objects.count() == 3, "one that has expired, one that has not, and the new one"


def nothing(_: User, __: str) -> None:
    pass


def log_out(_: User, key: str) -> None:
    SessionStore(key).flush()


def let_it_age(_: User, key: str) -> None:
    client = Client()
    client.cookies["sessionid"] = key
    age(client, PAST["old"])


LOSSES: list[tuple[Callable[[User, str], Any], bool]] = [
    (nothing, False),
    (log_out, True),
    (let_it_age, True),
    (lambda user, _: User.objects.update(is_active=False), True),
    (lambda user, _: User.objects.update(is_staff=False), True),
    (lambda user, _: user.user_permissions.clear(), True),
    (lambda user, _: Run.objects.all().delete(), True),  # as a run that is not visible any more
    (lambda user, _: User.objects.update(password=make_password("another")), True),
]


@pytest.mark.parametrize(("lose", "is_over"), LOSSES)
@pytest.mark.django_db(transaction=True)
def test_a_stream_ends_with_the_right_to_watch(viewer: User, lose: Any, is_over: bool) -> None:
    run, key = make_run(), session_of(viewer)
    cookies = f"theme=dark; sessionid={key}"
    assert may_watch(cookies, run.pk) == (Answer.MAY, viewer.pk)
    lose(viewer, key)

    async def look() -> bool:
        keeper = Guard()
        with keeper.watching(Watch(viewer.pk, cookies, run.pk, asyncio.Event())) as watch:
            await keeper.check()
            assert watch.bell.is_set() == watch.is_over
            return watch.is_over

    assert asyncio.run(look()) == is_over


def test_the_guard_checks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "runs_settings", lambda: RunsSettings(stream_check_s=0.01))
    faults: list[Exception] = [InterfaceError("the connection is closed"), ValueError("of a session")]

    def may_watch(_cookies: str, _run_id: int) -> tuple[Answer, int]:
        if faults:
            raise faults.pop()
        return Answer.MAY_NOT, 1

    monkeypatch.setattr(guard, "may_watch", may_watch)

    async def wait() -> None:
        keeper = Guard()
        task = asyncio.create_task(keeper.run())
        for _ in range(2):  # it waits for streams again
            with keeper.watching(Watch(1, "", 1, asyncio.Event())) as watch:
                async with asyncio.timeout(20):
                    await watch.bell.wait()
            await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(wait())


def test_a_user_has_a_limited_number_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "runs_settings", lambda: RunsSettings(streams_by_user_max=2))
    monkeypatch.setattr(stream, "may_watch", lambda cookies, _run_id: (Answer.MAY, int(cookies)))
    keeper = Guard()
    streams: Any = stream.Streams(SimpleNamespace(guard=keeper, streams=0))  # type: ignore[arg-type]  # what it needs

    async def admit(user_id: int) -> Watch:
        headers = [(b"cookie", str(user_id).encode())]
        scope = {"type": "http", "method": "GET", "path_params": {"run_id": 1}, "query_string": b"", "headers": headers}
        watch, _ = await streams._admit(scope)
        return watch  # type: ignore[no-any-return]  # `streams` is Any

    async def several() -> None:
        with keeper.watching(await admit(1)), keeper.watching(await admit(1)):
            with pytest.raises(stream.Refused, match="too many open pages") as refused:
                await admit(1)
            assert refused.value.status == 429
            await admit(2)
        await admit(1)
        assert keeper._by_user == {}

    asyncio.run(several())
