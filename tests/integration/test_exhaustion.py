"""A worker that has run out of open files, threads or memory hands a run back: not now, which is no failure."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from pathlib import Path

import pytest
from django.utils import timezone

from runs.exceptions import SpawnFailed
from runs.forkserver import client
from runs.forkserver.client import Fate, ForkServer
from runs.models import Run
from runs.supervisor.supervise import _abandon
from tests.factories import make_attempt
from tests.integration.spawning import spec

TOO_MANY = OSError(errno.EMFILE, "Too many open files")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("error", "status", "end"),
    [
        (TOO_MANY, "pending", "released"),
        (SpawnFailed("no pipes", Fate.EXHAUSTED), "pending", "released"),
        (RuntimeError("can't start new thread"), "pending", "released"),
        (RuntimeError("a bug"), "failed", "lost"),
    ],
)
def test_a_run_is_handed_back_where_its_worker_had_run_out_of_something(
    error: Exception, status: str, end: str
) -> None:
    attempt = make_attempt()
    Run.objects.filter(pk=attempt.run_id).update(max_attempts=1)
    assert _abandon(attempt, error, nullcontext)["end"] == end
    run = Run.objects.get(pk=attempt.run_id)
    assert run.status == status
    if status == "pending":
        assert run.not_before is not None
        assert run.not_before > timezone.now()


def test_a_child_without_pipes_is_not_the_run_s_failure(
    fork_server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(uid: int | None) -> None:
        raise TOO_MANY

    monkeypatch.setattr(client, "Pipes", none_left)
    with pytest.raises(SpawnFailed, match="Too many open files") as refused:
        fork_server.spawn(spec(tmp_path, do="nothing"), lambda exit_: None)
    assert refused.value.fate == Fate.EXHAUSTED
