"""Real processes for whole modules: starting them costs seconds, and a worker serves many tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command

from tests.servers import RedisServer
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.recovery import Team
    from tests.web import Web


@pytest.fixture(scope="module")
def open_database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Commit to the tests' database, so that other processes see it; empty it after the module."""
    with django_db_blocker.unblock():
        yield
        call_command("flush", interactive=False, verbosity=0)


@pytest.fixture(scope="module")
def module_redis(redis_server: RedisServer) -> Iterator[RedisServer]:
    redis_server.start()
    with redis_server.client() as client:
        client.flushall()
    yield redis_server
    if redis_server.is_running:
        redis_server.thaw()


@pytest.fixture(scope="module")
def ground_of_module(open_database: None, module_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the logs of a module's processes, with database and Redis at hand."""
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def stack(ground_of_module: Path) -> Iterator[Stack]:
    """A worker of runs, a system worker and a beat, for tests that leave them alive."""
    with Stack(ground_of_module) as whole:
        yield whole.whole()


@pytest.fixture(scope="module")
def hasty_stack(ground_of_module: Path) -> Iterator[Stack]:
    """A system worker and a beat with the short times of tests.recovery, for tests that bring their own workers."""
    from tests.recovery import SHORT  # Django is not set up when this module is imported

    with Stack(ground_of_module, **SHORT) as hasty:
        with hasty.at_once():
            hasty.system()
            hasty.beat()
        yield hasty


@pytest.fixture
def team(hasty_stack: Stack, tmp_path: Path) -> Iterator[Team]:
    """No workers yet, and a queue that nobody else uses."""
    from tests.recovery import Team  # as above

    found = Team(hasty_stack, tmp_path)
    yield found
    found.disband()


@pytest.fixture
def own_stack(ground_of_module: Path, tmp_path: Path) -> Iterator[Stack]:
    """An empty stack, for tests that kill what is in it."""
    with Stack(tmp_path) as own:
        yield own


@pytest.fixture(scope="module")
def web(stack: Stack) -> Iterator[Web]:
    """A web server beside the stack."""
    from tests.web import Web

    with Web(stack.folder) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from tests.browser import chromium

    with chromium() as found:
        yield found


@pytest.fixture
def visit(request: pytest.FixtureRequest, browser: Browser, web: Web) -> Iterator[Callable[..., Page]]:
    """Open a path as a superuser; after the test each page is kept as a picture, and none has had an error."""
    from tests.browser import Visitor, picture

    user, _ = get_user_model().objects.get_or_create(username="ada", is_staff=True, is_superuser=True)
    visitors: list[Visitor] = []
    pages: list[Page] = []

    def open_page(path: str, **options: Any) -> Page:
        visitors.append(Visitor(browser, web, user, **options))
        pages.append(visitors[-1].open(path))
        return pages[-1]

    yield open_page
    for number, page in enumerate(pages, 1):
        picture(page, f"{request.node.name}-{number}")
    for visitor in visitors:
        visitor.close()
    assert [problem for visitor in visitors for problem in visitor.problems] == []
