"""What several files of these tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs.forkserver.client import ForkServer
from tests.integration.spawning import EXPERIMENTS


@pytest.fixture(scope="module")
def child_environment() -> Iterator[None]:
    """The environment of a worker whose children find the experiments of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        scripted = Path(__file__).parent.parent / "scripted"
        patch.setenv("ATHANOR_EXPERIMENT_PATHS", os.pathsep.join(map(str, (EXPERIMENTS, scripted))))
        patch.setenv("ATHANOR_SECRET_KEY", "hidden")
        patch.setenv("SERVICE_API_KEY", "the author's own")
        yield


@pytest.fixture(scope="module")
def fork_server(child_environment: None) -> Iterator[ForkServer]:
    """For tests that leave the server as it is."""
    yield from _started()


@pytest.fixture
def own_fork_server(child_environment: None) -> Iterator[ForkServer]:
    """For tests that harm the server."""
    yield from _started()


def _started() -> Iterator[ForkServer]:
    server = ForkServer()
    server.start()
    yield server
    server.stop()
    assert server.pid is None
