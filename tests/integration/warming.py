"""Experiments of a test's own, and the processes that a fork server keeps for their warm starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runs.forkserver.client import ForkServer
from runs.forkserver.template import TEMPLATE_NAME
from tests.integration.spawning import Heard, kept_processes, run, spec
from tests.waiting import wait_until

EXPERIMENT = """
from experiments import Experiment
{body}
class One(Experiment):
    name = "{name}"

    def run(self, ctx):
        ctx.log.info("running")
        {run}
"""


def write(folder: Path, name: str, body: str = "", run_body: str = "return None") -> Path:
    file = folder / f"{name}.py"
    file.write_text(EXPERIMENT.format(name=name, body=body, run=run_body))
    return file


def server_for(folder: Path, environment: dict[str, str] | None = None) -> Iterator[ForkServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATHANOR_EXPERIMENT_PATHS", str(folder))
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        server = ForkServer()
        server.start()
        yield server
        server.stop()


def server_of_test(tmp_path: Path) -> Iterator[ForkServer]:
    """Start a server for the folder `experiments` of a test."""
    (tmp_path / "experiments").mkdir()
    yield from server_for(tmp_path / "experiments", {"ATHANOR_RUNS_WARM_TEMPLATES_MAX": "2"})


def one(server: ForkServer, folder: Path, name: str) -> Heard:
    return run(server, spec(folder, name))


def template_of(server: ForkServer) -> psutil.Process:
    """Return the only template of a server, once it waits for runs."""
    (template,) = wait_until(lambda: templates(server), what="a template")
    return template


def templates(server: ForkServer) -> list[psutil.Process]:
    """Return the templates that wait for runs."""
    return kept_processes(server.pid, TEMPLATE_NAME)
