"""Shared fixtures: a temporary folder, a real database, and a real Redis for tests that need one.

`--database=sqlite` (the default: a file, since processes share it) or `--database=postgresql` (a server of ours).
With ATHANOR_REQUIRE_SERVICES=1 a missing service fails the tests that need it; else they are skipped and say why. The
environment set here is inherited by the processes that tests start: they meet the same database, Redis and folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings as hypothesis_settings

from tests.servers import (
    PostgresServer,
    RedisServer,
    ServerMissing,
    postgres_folder,
    redis_binary,
    unprivileged,
)

if TYPE_CHECKING:
    from runs.lines.buffer import Buffer

# A busy machine is no failure: what hangs is ended by pytest's own time-out.
hypothesis_settings.register_profile("untimed", deadline=None)
hypothesis_settings.load_profile("untimed")

FOLDER = pytest.StashKey[Path]()
POSTGRES = pytest.StashKey[PostgresServer]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database", choices=("sqlite", "postgresql"), default="sqlite", help="the database that the tests run on"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Lay the ground before Django reads its settings, which pytest-django has it do after this.

    Each process of a parallel run has its own. The one that distributes tests has none, and what it had would be
    inherited by the others: there Django would read its settings before this.
    """
    if _distributes(config):
        if config.getoption("--database") == "postgresql":
            _expect_postgresql()
        return
    folder = config.stash[FOLDER] = Path(tempfile.mkdtemp(prefix="ath-", dir="/tmp"))  # short: it holds unix sockets
    os.environ.update(
        DJANGO_SETTINGS_MODULE="tests.settings",
        ATHANOR_VAR=str(folder / "var"),
        ATHANOR_REDIS_URL=f"unix://{folder / 'redis.sock'}",
        ATHANOR_DATABASE_URL=_database_url(config, folder),
    )
    from django.conf import settings

    assert settings.DATABASES


def _distributes(config: pytest.Config) -> bool:
    return config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")


def _expect_postgresql() -> None:
    try:
        postgres_folder()
        unprivileged()
    except ServerMissing as missing:
        if os.environ.get("ATHANOR_REQUIRE_SERVICES") == "1":
            raise pytest.UsageError(str(missing)) from missing
        pytest.exit(f"skipped, all of it: {missing}", returncode=0)


def _database_url(config: pytest.Config, folder: Path) -> str:
    if config.getoption("--database") == "sqlite":
        return f"sqlite://{folder / 'db.sqlite3'}"
    _expect_postgresql()
    server = config.stash[POSTGRES] = PostgresServer(folder / "postgres")
    server.start()
    return server.url("test_athanor")


def pytest_unconfigure(config: pytest.Config) -> None:
    if POSTGRES in config.stash:
        config.stash[POSTGRES].stop()
    if FOLDER in config.stash:
        shutil.rmtree(config.stash[FOLDER], ignore_errors=True)


@pytest.hookimpl(trylast=True)  # pytest-django has marked what asks for a database by then
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out on PostgreSQL what uses no database, or any, and would only be repeated."""
    if config.getoption("--database") == "sqlite":
        return
    used = {item: _uses_database(item) for item in items}
    config.hook.pytest_deselected(items=[item for item in items if not used[item]])
    items[:] = [item for item in items if used[item]]


def _uses_database(item: pytest.Item) -> bool:
    if item.get_closest_marker("any_database"):
        return False
    names = set(getattr(item, "fixturenames", ()))
    marked = any(item.get_closest_marker(name) for name in ("django_db", "acceptance"))
    return marked or not names.isdisjoint({"db", "transactional_db", "django_db_setup", "postgres_server"})


def pytest_report_header(config: pytest.Config) -> str:
    return f"ground: {config.getoption('--database')}, {config.stash.get(FOLDER, 'one for each process')}"


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    """Create the database with its tables even if no test is marked as using it: other processes use it."""
    from django.test.utils import setup_databases, teardown_databases

    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False)
    yield
    with django_db_blocker.unblock():
        teardown_databases(made, verbosity=0)


def miss(reason: object) -> None:
    """Skip the test for want of a service, or fail it where services are required."""
    if os.environ.get("ATHANOR_REQUIRE_SERVICES") == "1":
        pytest.fail(str(reason))
    pytest.skip(str(reason))


@pytest.fixture(scope="session")
def ground(pytestconfig: pytest.Config) -> Path:
    """Create the session's folder: short enough for unix sockets, removed after the session."""
    return pytestconfig.stash[FOLDER]


@pytest.fixture(scope="session")
def redis_server(ground: Path) -> Iterator[RedisServer]:
    """Start the session's Redis, at ATHANOR_REDIS_URL. Tests may stop or freeze it: `redis_url` restores it."""
    try:
        redis_binary()
    except ServerMissing as missing:
        miss(missing)
    with RedisServer(ground / "redis", socket_path=ground / "redis.sock") as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    """Return the URL of the session's Redis, running and empty."""
    redis_server.start()
    with redis_server.client() as client:
        client.flushall()
    yield redis_server.url
    if redis_server.is_running:
        redis_server.thaw()


@pytest.fixture
def buffer(redis_url: str) -> Iterator[Buffer]:
    """Return this process's buffer, on an empty Redis."""
    from runs.lines import buffer as module

    found = module.buffer()
    yield found
    found.close()


@pytest.fixture
def postgres_server(pytestconfig: pytest.Config) -> PostgresServer:
    """Return the session's PostgreSQL, for tests that stop it; on SQLite they are skipped."""
    if POSTGRES not in pytestconfig.stash:
        pytest.skip("runs with --database=postgresql only")
    return pytestconfig.stash[POSTGRES]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """An empty folder whose path is short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="ath-", dir="/tmp", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.fixture
def configure(settings: Any) -> Callable[..., None]:
    """Change settings of `runs.conf` for this test: `configure(list_max=3)`."""

    def change(**values: Any) -> None:
        from runs.conf import runs_settings

        settings.ATHANOR_RUNS = {**settings.ATHANOR_RUNS, **values}
        runs_settings.cache_clear()

    return change


@pytest.fixture(autouse=True)
def _settings_are_read_anew() -> Iterator[Any]:
    """A test that changed settings is followed by one that reads them anew."""
    from experiments import catalog
    from runs.conf import runs_settings

    runs_settings.cache_clear()
    yield
    runs_settings.cache_clear()
    if not catalog.is_in_process():
        catalog.use_this_process()
