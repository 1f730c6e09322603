"""Fixtures of the integration tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs.conf import runs_settings
from runs.forkserver.client import ForkServer
from tests.integration.spawning import EXPERIMENTS, warm_up


@pytest.fixture(scope="module")
def child_environment() -> Iterator[None]:
    """Set the environment of a worker whose children find the experiments of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        scripted = Path(__file__).parent.parent / "scripted"
        patch.setenv("ATHANOR_EXPERIMENT_PATHS", os.pathsep.join(map(str, (EXPERIMENTS, scripted))))
        patch.setenv("ATHANOR_SECRET_KEY", "hidden")
        patch.setenv("ATHANOR_UMASK", "026")
        patch.setenv("SERVICE_API_KEY", "the author's own")
        patch.setenv("POSTGRES_PASSWORD", "hidden")
        patch.setenv("ATHANOR_RUNS_VARIABLES", "SERVICE_*,ATHANOR_SECRET_KEY")
        runs_settings.cache_clear()
        yield
    runs_settings.cache_clear()


@pytest.fixture(scope="module", params=["cold", "warm"])
def fork_server(
    request: pytest.FixtureRequest, child_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForkServer]:
    """Start a shared server for tests that do not change it. Runs of `probe` and `script` start cold or warm."""
    for server in _started():
        if request.param == "warm":
            folder = tmp_path_factory.mktemp("warm")
            (folder / "empty.py").touch()
            assert warm_up(server, folder, do="nothing").startswith("warm")
            assert warm_up(server, folder, "script", path=str(folder / "empty.py")).startswith("warm")
        yield server


@pytest.fixture(scope="module")
def cold_fork_server(child_environment: None) -> Iterator[ForkServer]:
    """Start a shared server without templates, for many tests that other files repeat warm."""
    yield from _started()


@pytest.fixture
def own_fork_server(child_environment: None) -> Iterator[ForkServer]:
    """Start a separate server for tests that damage it."""
    yield from _started()


def _started() -> Iterator[ForkServer]:
    server = ForkServer()
    server.start()
    yield server
    server.stop()
    assert server.pid is None
