"""Runs that are forked from a process that has imported their experiment, and when they are not."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from runs.exceptions import SpawnFailed
from runs.forkserver.client import ForkServer
from runs.forkserver.clock import lease_clock
from runs.forkserver.prctl import IS_LINUX
from runs.forkserver.spec import Fate
from tests.integration.spawning import Heard, alive, ready_children, spec, warm_up
from tests.integration.warming import one, server_for, server_of_test, template_of, templates, write
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not IS_LINUX, reason="warm starts need Linux")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ForkServer]:
    """Start a server for a folder of this test, `experiments`."""
    yield from server_of_test(tmp_path)


# What ends a template


@pytest.mark.parametrize("change", ["edit", "helper", "touch", "shadow", "replace"])
def test_a_changed_file_starts_the_next_run_cold_with_the_new_code(
    own_server: ForkServer, tmp_path: Path, change: str
) -> None:
    experiments = tmp_path / "experiments"
    helper = experiments / "helper_one.py"
    helper.write_text("VALUE = 1\n")
    file = write(experiments, "one", "import helper_one", "return helper_one.VALUE")
    assert warm_up(own_server, tmp_path, "one").startswith("warm")
    expected = 1
    if change == "helper":
        helper.write_text("VALUE = 2\n")
        expected = 2
    elif change == "edit":
        write(experiments, "one", "import helper_one", "return helper_one.VALUE + 2")
        expected = 3
    elif change == "touch":
        file.touch()
    elif change == "shadow":
        (experiments / "other_one.py").write_text("")
    else:
        (tmp_path / "new.py").write_text("VALUE = 4\n")
        (tmp_path / "new.py").replace(helper)
        expected = 4

    heard = one(own_server, tmp_path, "one")
    assert (heard.child.start, heard.summary) == ("", expected)
    assert warm_up(own_server, tmp_path, "one").startswith("warm")
    assert one(own_server, tmp_path, "one").summary == expected


def test_a_corrected_module_starts_warm(own_server: ForkServer, tmp_path: Path) -> None:
    write(tmp_path / "experiments", "one", "file = open(__file__)")
    assert warm_up(own_server, tmp_path, "one").startswith("cold")
    write(tmp_path / "experiments", "one")

    assert warm_up(own_server, tmp_path, "one").startswith("warm")


def test_a_template_that_is_not_used_ends(tmp_path: Path) -> None:
    write(tmp_path, "one")
    for server in server_for(tmp_path, {"ATHANOR_RUNS_WARM_IDLE_S": "1"}):
        assert warm_up(server, tmp_path, "one").startswith("warm")
        template = template_of(server)

        wait_until(lambda: not alive([template]), timeout_s=20, what="the end of the template")  # noqa: B023  # called at once
        assert one(server, tmp_path, "one").child.start == ""


def test_the_number_of_templates_is_limited(own_server: ForkServer, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write(tmp_path / "experiments", name)
        one(own_server, tmp_path, name).child.keep_warm(is_explicit=True)

    assert warm_up(own_server, tmp_path, "two").startswith("warm")
    wait_until(lambda: len(templates(own_server)) == 2, what="two templates")
    assert one(own_server, tmp_path, "three").child.start == ""


def test_a_setting_starts_every_run_cold(tmp_path: Path) -> None:
    write(tmp_path, "one")
    for server in server_for(tmp_path, {"ATHANOR_RUNS_WARM_TEMPLATES_MAX": "0"}):
        one(server, tmp_path, "one").child.keep_warm(is_explicit=True)

        assert one(server, tmp_path, "one").child.start == ""
        assert not templates(server)


# Whoever dies


def warm_and_holding(server: ForkServer, folder: Path) -> Heard:
    """A warm run that holds."""
    write(folder / "experiments", "one", "import time", "time.sleep(99)")
    first = Heard(server, spec(folder, "one"))
    first.wait_for("running")
    first.child.keep_warm(is_explicit=True)
    first.child.kill()
    first.wait()
    while True:
        heard = Heard(server, spec(folder, "one"))
        heard.wait_for("running")
        if heard.child.start.startswith("warm"):
            return heard
        heard.child.kill()
        heard.wait()


def test_a_run_lives_on_when_its_template_is_killed(own_server: ForkServer, tmp_path: Path) -> None:
    heard = warm_and_holding(own_server, tmp_path)
    template = template_of(own_server)
    template.kill()
    wait_until(lambda: not alive([template]), what="the end of the template")
    other = Heard(own_server, spec(tmp_path, "one"))
    other.wait_for("running")

    assert not heard.has_ended
    for each in (heard, other):
        each.child.kill()
        assert (each.wait().signal, each.exit.orphans_killed) == (signal.SIGKILL, 0)


@pytest.mark.parametrize("killed", ["run", "server"])
def test_kill_9_ends_what_it_must(own_server: ForkServer, tmp_path: Path, killed: str) -> None:
    heard = warm_and_holding(own_server, tmp_path)
    server = psutil.Process(own_server.pid)
    below = server.children()
    psutil.Process(heard.child.pid if killed == "run" else own_server.pid).kill()

    exit_ = heard.wait()
    assert exit_.signal == signal.SIGKILL
    assert exit_.fate == (Fate.NONE if killed == "run" else Fate.SERVER)
    if killed == "server":
        wait_until(lambda: not alive(below), what="the end of everything")
    else:
        assert template_of(own_server)


def test_a_frozen_template_costs_its_runs_two_seconds_once(own_server: ForkServer, tmp_path: Path) -> None:
    write(tmp_path / "experiments", "one")
    assert warm_up(own_server, tmp_path, "one").startswith("warm")
    template = template_of(own_server)
    wait_until(lambda: ready_children(own_server.pid), what="a process forked in advance")
    template.suspend()
    starts = [one(own_server, tmp_path, "one").child.start for _ in range(4)]

    assert "cold: its template process did not answer" in starts
    assert starts[-1] == ""
    wait_until(lambda: not alive([template]), timeout_s=20, what="the end of the template")


def test_an_expired_lease_starts_nothing(own_server: ForkServer, tmp_path: Path) -> None:
    write(tmp_path / "experiments", "one")
    warm_up(own_server, tmp_path, "one")
    with pytest.raises(SpawnFailed, match="expired") as refused:
        own_server.spawn(spec(tmp_path, "one"), lambda _: None, before=lease_clock)

    assert refused.value.fate == Fate.LEASE


def test_a_burst_of_runs_executes_each_once(own_server: ForkServer, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    write(tmp_path / "experiments", "one", "import os", f"open({str(marks)!r}, 'a').write(f'{{ctx.run_id}}\\n')")
    warm_up(own_server, tmp_path, "one")
    marks.write_text("")
    with ThreadPoolExecutor(8) as pool:
        heard = list(pool.map(lambda _: one(own_server, tmp_path, "one"), range(40)))

    assert sorted(marks.read_text().split()) == sorted(str(each.spec.key.run_id) for each in heard)
    assert all(each.child.start.startswith("warm") for each in heard)
    assert {(each.exit.status, each.exit.orphans_killed) for each in heard} == {(0, 0)}


def test_stop_ends_templates_too(tmp_path: Path) -> None:
    write(tmp_path, "one")
    for server in server_for(tmp_path):
        warm_up(server, tmp_path, "one")
        below = psutil.Process(server.pid).children()
        server.stop()

        assert not alive(below)
