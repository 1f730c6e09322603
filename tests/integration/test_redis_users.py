"""Users of Redis by role, as docs/operating.md creates them: enough for the way of a line, and no more."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from celery import current_app
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from athanor import databases
from athanor.embedded import redis as embedded
from runs import wake
from runs.lines.buffer import Buffer, Stream, buffer, keys
from runs.lines.flush import flush_all
from runs.live import buffered
from runs.models import LogLine
from tests.conftest import miss
from tests.factories import make_attempt
from tests.servers import RedisServer, ServerMissing, free_port, redis_binary
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

DOCUMENT = Path(__file__).parents[2] / "docs" / "operating.md"
ROLES = ("web", "runs", "system", "beat")
As = Callable[[str], str]


def documented_commands() -> list[list[str]]:
    """Return the arguments of redis-cli in the document."""
    (block,) = re.findall(r"```\nREDIS='redis-cli (.+?)'\n(.+?)```", DOCUMENT.read_text(), re.DOTALL)
    lines = block[1].replace("\\\n", " ").strip().splitlines()
    return [shlex.split(line.replace("$REDIS", block[0])) for line in lines]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Start a Redis with the documented users; yield its port."""
    try:
        redis_binary()
    except ServerMissing as missing:
        miss(missing)
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    with RedisServer(folder, options={"port": str(port), "bind": "127.0.0.1"}) as server:
        with server.client() as client:
            commands = documented_commands()
            for command in [*commands[1:], commands[0]]:  # the last one ends this client's own rights
                client.execute_command(*command)
        yield port


@pytest.fixture
def use(guarded: int, monkeypatch: pytest.MonkeyPatch) -> As:
    """Make this process one of a role. Return its URL."""

    def become(role: str) -> str:
        url = f"redis://{role}:PASSWORD@127.0.0.1:{guarded}/0"
        monkeypatch.setattr(settings, "REDIS_URL", url)
        return url

    return become


def test_a_line_travels_with_the_rights_of_each_role(use: As) -> None:
    attempt = make_attempt()
    use("runs")
    value = b'#1:1:1\n[1.0,20,"log","hello",null]'
    assert buffer().push(attempt.key, Stream.LINES, after=0, entries=[value]).accepted
    supervise(buffer(), attempt.run_id)
    url = use("web")
    assert asyncio.run(read_live(url, attempt.run_id)) == [b'1:1:[1.0,20,"log","hello",null]']
    watch_and_steer(buffer(), attempt.run_id)
    use("runs")
    assert buffer().flagged([attempt.run_id]) == {attempt.run_id}
    use("system")
    assert flush_all(5).failed == {}
    buffer().rest_schedules(1)
    buffer().repair(attempt.run_id)
    assert LogLine.objects.get(run_id=attempt.run_id).message == "hello"
    use("beat")
    assert (buffer().has_dirty(), buffer().has_no_schedules()) == (False, True)


def supervise(own: Buffer, run_id: int) -> None:
    """Use what supervisors and listeners use besides a push."""
    key = make_attempt().key
    assert own.tail(key, Stream.LINES) == 0
    assert own.oldest(key, Stream.LINES) is None
    assert next(own.notices(0.01)) is None
    own.mark_dirty(run_id)
    own.forget_tail(key.run_id, Stream.LINES)
    own.repair(key.run_id)
    own.discard(key.run_id)


def watch_and_steer(own: Buffer, run_id: int) -> None:
    """Use what pages and commands use."""
    own.flag_cancel(run_id)
    own.request_inspection(run_id)
    own.wake_schedules()
    own.discard(run_id + 1_000)
    assert own.backlog().entries == 1


async def read_live(url: str, run_id: int) -> list[bytes]:
    async with redis.asyncio.Redis.from_url(url) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(keys.NOTICES, keys.live(run_id))
        return await buffered.after(client, run_id, Stream.LINES, {}, 10)


@pytest.mark.parametrize(("sender", "queue", "receiver"), [
    ("web", "runs", "runs"), ("system", "runs", "runs"), ("beat", "system", "system"),
])  # fmt: skip
def test_messages_travel_with_the_rights_of_each_role(use: As, sender: str, queue: str, receiver: str) -> None:
    with current_app.connection_for_write(use(sender)) as broker:
        current_app.send_task(wake.EXECUTE, queue=queue, connection=broker, retry=False)
        assert broker.default_channel.queue_declare(queue).message_count == 1
    with current_app.connection_for_read(use(receiver)) as broker:
        assert broker.default_channel.basic_get(queue, no_ack=True).headers["task"] == wake.EXECUTE


LINES = keys.entries(7, Stream.LINES)
REFUSED: list[tuple[str, tuple[Any, ...]]] = [
    *((role, command) for role in ROLES for command in [
        ("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("MONITOR",),
        ("CLIENT", "KILL", "ID", 1), ("SHUTDOWN",), ("SET", "other", 1), ("GET", "other"), ("EVAL", "return 1", 0),
        ("RESTORE", "athanor:x", 0, "x"), ("PUBLISH", "other", "x"),
    ]),
    ("web", ("RPUSH", LINES, "x")), ("web", ("LTRIM", LINES, 1, 0)), ("web", ("BRPOP", "athanor:broker:runs", 1)),
    ("system", ("RPUSH", LINES, "x")), ("system", ("SUBSCRIBE", "other")),
    ("beat", ("LPUSH", LINES, "x")), ("beat", ("LLEN", LINES)), ("beat", ("SADD", keys.DIRTY, 1)),
    ("beat", ("SET", keys.NO_SCHEDULES, 1)), ("beat", ("PUBLISH", keys.NOTICES, "x")),
]  # fmt: skip


@pytest.mark.parametrize(("role", "command"), REFUSED, ids=str)
def test_a_role_can_do_no_more(use: As, role: str, command: tuple[Any, ...]) -> None:
    with redis.Redis.from_url(use(role)) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_cannot_reach_the_server_of_up(short_folder: Path) -> None:
    short_folder.chmod(0o755)  # the socket itself refuses, wherever it is
    server = embedded.identify(Path(redis_binary()))
    assert server is not None
    with subprocess.Popen(embedded.prepare(server, short_folder), stdout=subprocess.DEVNULL) as process:
        try:
            url = databases.redis_url(short_folder, {})
            wait_until(lambda: embedded.answers(url), timeout_s=10, what="Redis to answer")
            with redis.Redis.from_url(url) as own:
                assert own.config_get("port") == {"port": "0"}
            socket = str(databases.redis_socket(short_folder))
            connect = f"import socket; socket.socket(socket.AF_UNIX).connect({socket!r})"
            try:
                refused = subprocess.run(["python3", "-c", connect], user=65534, stderr=subprocess.PIPE, check=False)
            except PermissionError:
                pytest.skip("another user may not execute this Python")
            assert b"PermissionError" in refused.stderr
        finally:
            process.terminate()


def test_nobody_gets_in_without_a_password(guarded: int) -> None:
    with (
        redis.Redis("127.0.0.1", guarded, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()
