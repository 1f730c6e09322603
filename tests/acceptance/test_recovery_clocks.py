"""Wall clocks of a worker and of a system worker are an hour off: the database's clock decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs import services
from runs.models import Run
from runs.states import Status
from tests.recovery import PATIENCE_S, SHORT, Team, attempts, ends, has_said, is_whole
from tests.stack import Stack, ended
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance

CLOCK = Path(__file__).parent.parent / "meddling" / "clock"
HOUR = 3600


@pytest.mark.parametrize("off_s", [HOUR, -HOUR])
def test_workers_whose_clocks_are_an_hour_off_do_their_work(own_stack: Stack, tmp_path: Path, off_s: int) -> None:
    own_stack.environ.update(SHORT)
    off = {"PYTHONPATH": str(CLOCK), "CLOCK_OFF_S": str(off_s), "ATHANOR_RUNS_VARIABLES": "CLOCK_OFF_S"}
    own_stack.system(**off)
    own_stack.beat()
    team = Team(own_stack, tmp_path)
    worker = team.worker(slots=4, **off)
    later = team.launch("retry_later", count=1, pause_s=1)
    run = has_said(team.counting(count=100), "step 3", timeout_s=PATIENCE_S)
    assert run.status == Status.RUNNING, "its lines were flushed while it runs: the system worker takes its ticks"
    assert is_off(run, off_s)
    wait_until(lambda: attempts(run)[0].started_at, what="its start in the database")
    (first,) = attempts(run)
    assert first.started_at is not None
    assert abs((first.started_at - first.claimed_at).total_seconds()) < 30, "times are the database's"
    assert services.is_active(run.pk)
    worker.kill()
    team.worker()
    assert team.is_counted(ended(run, timeout_s=PATIENCE_S), count=100)
    assert (ends(run), is_whole(attempts(run)[0])) == (["lost", "completed"], True)
    assert ended(later).status == Status.COMPLETED


def is_off(run: Run, off_s: int) -> bool:
    """Return whether the clock of its worker and child was that far off."""
    line = run.lines.order_by("seq").first()
    return line is not None and abs((line.time - run.created_at).total_seconds() - off_s) < 60
