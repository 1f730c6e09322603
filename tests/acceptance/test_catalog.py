"""Real workers, web and beat beside hostile modules: they import none of them, and go on with all others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.utils.html import escape

from experiments import catalog
from experiments.conf import experiments_settings
from runs import services
from runs.models import Schedule
from runs.states import Overlap, SlotState, Status
from tests.schedules import make_schedule
from tests.stack import Stack, ended
from tests.waiting import wait_until
from tests.web import Web, session_of

pytestmark = pytest.mark.acceptance

EXPERIMENT = """
open({told!r}, "ab").write(open("/proc/self/cmdline", "rb").read().replace(b"\\0", b" ") + b"\\n")
from experiments import Experiment
class {name}(Experiment):
    def run(self, ctx): return {{"answer": 42}}
"""
HARMS = {
    "chdir": "import os; os.chdir('/')",
    "warnings": "import warnings; warnings.simplefilter('error')",
    "raises": "raise BaseException('never')",
    "leaves": "import os; os._exit(3)",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "prints": "print('printed by an author' * 1000)",
}
SAYS = {
    "raises": "BaseException: never",
    "leaves": "ended the process (exit status 3)",
    "crashes": "ended the process (SIGSEGV)",
}
IMPORTERS = ("experiments.catalog.process", "runs.forkserver.keeper")


class Place:
    """A folder of experiments that note in which process they are imported."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, folder / "told.txt"

    def write(self, name: str, line: str = "") -> None:
        text = EXPERIMENT.format(name=name.capitalize(), told=str(self.told))
        (self.folder / f"{name}.py").write_text(f"{text}{line}\n")

    def importers(self) -> list[str]:
        return self.told.read_text().splitlines()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Create the folder, with the environment of this process and of those that it starts."""
    place = Place(tmp_path_factory.mktemp("experiments"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATHANOR_EXPERIMENT_PATHS", str(place.folder))
        patch.setenv("ATHANOR_EXPERIMENTS_IMPORT_MAX_S", "3")
        patch.setenv("ATHANOR_EXPERIMENTS_REFRESH_S", "0.2")
        experiments_settings.cache_clear()
        for name, line in {"good": "", "endless": "", **HARMS}.items():
            place.write(name, line)
        yield place
    experiments_settings.cache_clear()


@pytest.fixture(scope="module")
def hostile_stack(place: Place, ground_of_module: Path) -> Iterator[Stack]:
    # A run whose import does not end keeps its slot until this limit.
    with Stack(ground_of_module, ATHANOR_RUNS_START_TIMEOUT_S="8") as whole:
        yield whole.whole()


@pytest.fixture(scope="module")
def web(hostile_stack: Stack) -> Iterator[Web]:
    with Web(hostile_stack.folder) as server:
        yield server


@pytest.fixture(autouse=True)
def _asks_a_catalog(place: Place) -> None:
    """Make the tests' own process import none of the modules either."""
    catalog.use_process()


@pytest.fixture
def no_schedules() -> Iterator[None]:
    yield
    Schedule.objects.all().delete()


def page(web: Web, path: str) -> str:
    user = get_user_model().objects.filter(username="ada").first()
    user = user or get_user_model().objects.create_superuser("ada", password="x")
    with contextlib.closing(HTTPConnection("127.0.0.1", web.port, timeout=60)) as connection:
        connection.request("GET", path, headers={"Cookie": f"sessionid={session_of(user)}"})
        with connection.getresponse() as answer:
            text = answer.read().decode()
            assert answer.status == 200, text[-2000:]
            return text


def test_the_page_says_what_each_module_did_and_offers_the_others(hostile_stack: Stack, place: Place, web: Web) -> None:
    text = page(web, "/admin/runs/run/launch/")

    for name, says in SAYS.items():
        assert f"{name}.py: " in text
        assert escape(says) in text
    for name in ("good", "chdir", "warnings", "prints"):
        assert f"?experiment={name}" in text


def test_no_long_lived_process_imports_a_module_of_an_author(hostile_stack: Stack, place: Place, web: Web) -> None:
    schedule = make_schedule("good", experiment="good", every_s=1)
    page(web, "/admin/runs/run/launch/?experiment=good")
    run = ended(services.launch("warnings"))
    wait_until(lambda: schedule.runs.filter(status=Status.COMPLETED).exists(), timeout_s=30, what="a scheduled run")
    Schedule.objects.all().delete()

    assert run.status == Status.COMPLETED
    assert all(process.is_running for process in hostile_stack.processes)
    importers = place.importers()
    assert any(IMPORTERS[0] in line for line in importers)
    assert any(IMPORTERS[1] in line for line in importers)
    assert [line for line in importers if not any(each in line for each in IMPORTERS)] == []
    moved = [Path(f"/proc/{process.pid}/cwd").readlink() for process in hostile_stack.processes]
    assert Path("/") not in moved


def test_an_endless_import_that_a_schedule_launches_stops_no_other_schedule(
    hostile_stack: Stack, place: Place, no_schedules: None
) -> None:
    endless = make_schedule("endless", experiment="endless", every_s=1, overlap=Overlap.ALLOW)
    good = make_schedule("good", experiment="good", every_s=1, overlap=Overlap.ALLOW)
    place.write("endless", "while True: pass")

    wait_until(
        lambda: endless.slots.filter(state=SlotState.REFUSED, reason__contains="did not end within 3 s").exists(),
        timeout_s=40,
        what="the endless import to be refused",
    )
    run = ended(services.launch("good"), timeout_s=90)

    assert run.status == Status.COMPLETED
    slots = list(good.slots.order_by("slot").values_list("state", "slot"))
    assert {state for state, _ in slots} == {SlotState.LAUNCHED}
    assert (slots[-1][1] - slots[0][1]).total_seconds() == len(slots) - 1
