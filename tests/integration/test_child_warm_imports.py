"""Imports after which runs can be forked from a process, and those after which they cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runs.forkserver.client import ForkServer
from runs.forkserver.prctl import IS_LINUX
from tests.integration.spawning import Heard, warm_up
from tests.integration.warming import one, server_for, server_of_test, templates, write
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not IS_LINUX, reason="warm starts need Linux")

UNSAFE = {
    "a_thread": ("from threading import Event, Thread\nThread(target=Event().wait, name='poller', daemon=True).start()",
                 "started 1 thread (poller)"),
    "an_unnamed_thread": ("import _thread, time\n_thread.start_new_thread(time.sleep, (99,))", "1 thread of a library"),
    "a_process": ("import subprocess\nprocess = subprocess.Popen(['sleep', '99'])", "started 1 process"),
    "a_socket": ("import socket\nsock = socket.socket()", "left 1 file or socket (socket:"),
    "a_file": ("file = open(__file__)", "a_file.py) open"),
    "shared_memory": ("import mmap\nblock = mmap.mmap(-1, 4096)", "mapped shared memory"),
    "a_handler": ("import signal\nsignal.signal(signal.SIGTERM, lambda *_: None)", "installed a handler for SIGTERM"),
    "a_timer": ("import signal\nsignal.setitimer(signal.ITIMER_REAL, 999)", "started a timer"),
    "a_folder": ("import tempfile\nfolder = tempfile.TemporaryDirectory()", "created a temporary folder"),
    "a_generator": ("import random\nrng = random.Random()", "created a random generator (athanor_folder_"),
    "raw_output": ("import os\nos.write(1, b'hello')", "wrote to its standard output other than by Python"),
    "a_flood": ("for number in range(2_000): print(number)", "wrote more than 1,000 lines"),
    "the_attempt": ("import os\nattempt = os.environ['ATHANOR_ATTEMPT']", "importing it failed: "),
}  # fmt: skip
"""Name → body of a module, part of the reason for its cold starts."""

SAFE = {
    "quiet": ("count = [0]", "count.append(1); return len(count)"),
    "printing": ("import sys\nprint('imported')\nprint('to stderr', file=sys.stderr)\nprint('un', end='')",
                 "print('finished')"),
    "logging_one": ("import logging, warnings\nlogging.warning('logged')\nwarnings.warn('warned')", "return 1"),
    "unseeded": ("import random\nfirst = random.random()", "return random.random()"),
    "seeded": ("import random\nrandom.seed(7)\nfirst = random.random()", "return random.random()"),
}  # fmt: skip
"""Name → body of a module, body of its run."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiments")
    for name, (body, _) in UNSAFE.items():
        write(folder, name, body)
    for name, (body, run_body) in SAFE.items():
        write(folder, name, body, run_body)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ForkServer]:
    yield from server_for(folder, {"ATHANOR_RUNS_WARM_TEMPLATES_MAX": "50"})


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ForkServer]:
    """Start a server for a folder of this test, `experiments`."""
    yield from server_of_test(tmp_path)


@pytest.mark.parametrize("name", UNSAFE)
def test_an_import_that_a_fork_would_share_makes_cold_starts_with_a_reason(
    server: ForkServer, folder: Path, tmp_path: Path, name: str
) -> None:
    start = warm_up(server, tmp_path, name)

    assert start.startswith("cold: importing it ")
    assert UNSAFE[name][1] in start
    again = one(server, tmp_path, name)
    assert again.child.start == start
    assert "running" in again.lines()


@pytest.mark.parametrize("name", SAFE)
def test_a_warm_run_says_what_a_cold_one_says(server: ForkServer, folder: Path, tmp_path: Path, name: str) -> None:
    def said(heard: Heard) -> list[Any]:
        return [line[1:4] for line in heard.line_records()]

    cold = one(server, tmp_path, name)
    assert warm_up(server, tmp_path, name).startswith("warm, without ")
    warm = [one(server, tmp_path, name) for _ in range(2)]

    assert [said(each) for each in warm] == [said(cold)] * 2
    assert warm[0].payloads("H")[0]["source_digest"] == cold.payloads("H")[0]["source_digest"]


def test_a_run_changes_nothing_for_the_next(server: ForkServer, folder: Path, tmp_path: Path) -> None:
    warm_up(server, tmp_path, "quiet")

    assert [one(server, tmp_path, "quiet").summary for _ in range(3)] == [2, 2, 2]


def test_runs_draw_numbers_of_their_own_unless_the_import_seeds(
    server: ForkServer, folder: Path, tmp_path: Path
) -> None:
    cold = one(server, tmp_path, "seeded").summary
    warm_up(server, tmp_path, "seeded")
    warm_up(server, tmp_path, "unseeded")

    assert {one(server, tmp_path, "seeded").summary for _ in range(3)} == {cold}
    assert len({one(server, tmp_path, "unseeded").summary for _ in range(3)}) == 3


def test_threads_that_openblas_starts_are_no_obstacle(own_server: ForkServer, tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    code = "m = np.random.rand(300, 300); m @ m; return [np.random.rand(), len(os.listdir('/proc/self/task'))]"
    write(tmp_path / "experiments", "arrays", "import os\nimport numpy as np", code)
    cold = one(own_server, tmp_path, "arrays").summary
    assert warm_up(own_server, tmp_path, "arrays").startswith("warm")
    warm = [one(own_server, tmp_path, "arrays").summary for _ in range(3)]

    assert {threads for _, threads in warm} == {cold[1]}
    assert len({number for number, _ in warm}) == 3


def test_a_seed_of_numpy_at_import_holds_for_each_run(own_server: ForkServer, tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    write(tmp_path / "experiments", "arrays", "import numpy as np\nnp.random.seed(3)", "return np.random.rand()")
    cold = one(own_server, tmp_path, "arrays").summary
    assert warm_up(own_server, tmp_path, "arrays").startswith("warm")

    assert {one(own_server, tmp_path, "arrays").summary for _ in range(2)} == {cold}


def test_a_generator_of_numpy_that_has_its_seed_from_the_system_is_not_shared(
    own_server: ForkServer, tmp_path: Path
) -> None:
    pytest.importorskip("numpy")
    write(tmp_path / "experiments", "arrays", "import numpy as np\nrng = np.random.default_rng()")

    assert "created a random generator" in warm_up(own_server, tmp_path, "arrays")


def test_an_import_that_ends_its_process_makes_cold_starts(own_server: ForkServer, tmp_path: Path) -> None:
    body = "import os\nif 'ATHANOR_ATTEMPT' not in os.environ:\n    os.abort()"
    write(tmp_path / "experiments", "one", body)

    assert warm_up(own_server, tmp_path, "one") == "cold: importing it ended its template process"


def test_an_experiment_that_does_not_ask_starts_warm_if_it_only_defines(own_server: ForkServer, tmp_path: Path) -> None:
    write(tmp_path / "experiments", "one", "count = [0]")

    assert warm_up(own_server, tmp_path, "one", is_explicit=False).startswith("warm")


def test_an_experiment_that_does_not_ask_and_runs_code_starts_cold_without_a_word(
    own_server: ForkServer, tmp_path: Path
) -> None:
    write(tmp_path / "experiments", "one", "import time\nstarted = time.time()")
    write(tmp_path / "experiments", "two")
    one(own_server, tmp_path, "one").child.keep_warm(is_explicit=False)
    warm_up(own_server, tmp_path, "two")

    assert wait_until(lambda: len(templates(own_server)) == 1, what="the end of the template")
    assert one(own_server, tmp_path, "one").child.start == ""
