"""Public services: rows, refusals and sent messages."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models.functions import Now

from experiments.models import Instance
from runs import launch_order, services, wake
from runs.exceptions import BufferUnavailable, LaunchRefused, RunNotFinal, RunNotFound
from runs.models import Checkpoint, Run
from runs.states import Origin, Status
from tests.factories import make_attempt, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the queues that were sent a wake-up."""
    queues: list[str] = []
    monkeypatch.setattr(wake, "workers", lambda queue, count=1: queues.append(queue))
    return queues


@pytest.fixture
def flagged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the runs whose cancel flag was set in Redis."""
    runs: list[int] = []

    class Flags:
        def flag_cancel(self, run_id: int) -> None:
            runs.append(run_id)

    monkeypatch.setattr(services, "buffer", Flags)
    return runs


def make_instance(**values: Any) -> Instance:
    return Instance.objects.create(**{"name": "mine", "experiment": "scripted"} | values)


def end(run: Run, status: Status = Status.COMPLETED) -> Run:
    """Return the run after its end."""
    failed = {"failure_kind": "error"} if status == Status.FAILED else {}
    Run.objects.filter(pk=run.pk).update(status=status, finished_at=Now(), **failed)
    run.refresh_from_db()
    return run


def test_launching_an_experiment_writes_a_pending_run_with_everything_filled_in(woken: list[str]) -> None:
    run = services.launch("scripted", name="first", tags=["a"])

    stored = Run.objects.get(pk=run.pk)
    assert (stored.status, stored.attempt, stored.name, stored.tags) == (Status.PENDING, 0, "first", ["a"])
    assert stored.configuration["behaviour"] == "ok"
    assert stored.limits["cancel_grace_s"] == 10.0
    assert 0 <= stored.seed < 2**31
    assert (stored.launched_via, stored.launched_by) == ("python", None)


def test_many_runs_are_launched_at_once_or_none(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    sent: list[tuple[str, int]] = []
    monkeypatch.setattr(wake, "workers", lambda queue, count=1: sent.append((queue, count)))
    texts = ["a", "b", "c"]
    with django_capture_on_commit_callbacks(execute=True):
        runs = services.launch_many("scripted", [{"text": text} for text in texts], tags=["sweep"], queue="gpu")

    stored = [Run.objects.get(pk=run.pk) for run in runs]
    assert [run.configuration["text"] for run in stored] == texts
    assert {(run.queue, *run.tags, run.status) for run in stored} == {("gpu", "sweep", Status.PENDING)}
    assert len({run.seed for run in stored}) == len(texts)
    assert sent == [("gpu", 3)]

    with pytest.raises(LaunchRefused) as refused:
        services.launch_many("scripted", [{}, {"behaviour": "unknown"}, {"count": "x"}])
    assert {path.partition(".")[0] for path in refused.value.problems} == {"1", "2"}
    assert Run.objects.count() == len(texts)


def test_workers_are_woken_after_the_commit_only(woken: list[str], django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        services.launch("scripted", queue="gpu")

    assert woken == []
    for callback in callbacks:
        callback()
    assert woken == ["gpu"]


def test_a_launch_that_does_not_fit_names_every_field_and_writes_nothing() -> None:
    with pytest.raises(LaunchRefused) as refused:
        services.launch("scripted", configuration={"behavior": "ok"}, limits={"timeout_s": -1})

    assert set(refused.value.problems) == {"configuration.behavior", "limits.timeout_s"}
    assert "did you mean 'behaviour'" in refused.value.problems["configuration.behavior"]
    assert not Run.objects.exists()


def test_an_unknown_experiment_is_refused_with_a_suggestion() -> None:
    with pytest.raises(LaunchRefused, match="did you mean 'scripted'") as refused:
        services.launch("scriptet")
    assert set(refused.value.problems) == {"experiment"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("seed", 2**31),
        ("name", "x" * 201),
        ("name", "two\nlines"),
        ("queue", "two words"),
        ("queue", "q" * 101),
        ("priority", 32768),
    ],
)
def test_what_no_column_can_hold_is_refused_at_its_field(field: str, value: Any) -> None:
    with pytest.raises(LaunchRefused) as refused:
        services.launch("scripted", **{field: value})
    assert set(refused.value.problems) == {field}


def test_a_launch_is_laid_over_its_instance_and_the_instance_over_the_experiment() -> None:
    make_instance(
        configuration={"behaviour": "print"}, limits={"timeout_s": 60, "kill_grace_s": 1}, tags=["x"], priority=4
    )

    run = services.launch("mine", limits={"timeout_s": 5}, tags=["y", "x"], seed=7)

    assert run.configuration["behaviour"] == "print"
    assert (run.limits["timeout_s"], run.limits["kill_grace_s"], run.limits["cancel_grace_s"]) == (5, 1, 10)
    assert (run.tags, run.priority, run.queue, run.seed, run.name) == (["x", "y"], 4, "runs", 7, "mine")
    assert run.instance is not None


def test_mappings_of_a_configuration_are_merged_and_everything_else_is_replaced() -> None:
    base = {"optimizer": {"name": "sgd", "rate": 0.1}, "layers": [1, 2]}
    over = {"optimizer": {"rate": 0.5}, "layers": [3]}
    assert launch_order.overlay(base, over) == {"optimizer": {"name": "sgd", "rate": 0.5}, "layers": [3]}


@pytest.mark.parametrize(
    ("over", "problem"),
    [
        ({}, ""),
        ({"epochs": 3}, ""),
        ({"epochs": 4}, "configuration.token: Give it again"),
        ({"epochs": 4, "token": "new"}, ""),
        ({"token": "**********"}, "configuration.token: ********** is only a placeholder"),
        ({"token": "new", "layers": [{"key": "**********"}]}, "configuration.layers.0.key: ********** is only"),
    ],
)
def test_a_secret_of_an_instance_does_not_follow_other_values(over: dict[str, Any], problem: str) -> None:
    instance = make_instance(experiment="layered", configuration={"token": "hush"})
    if problem:
        with pytest.raises(LaunchRefused) as caught:
            services.launch(instance, configuration=over)
        assert problem in str(caught.value)
        assert "hush" not in str(caught.value)
    else:
        token = services.launch(instance, configuration=over).configuration["token"]
        assert token == over.get("token", "hush")


def test_editing_an_instance_leaves_its_runs_as_they_were() -> None:
    instance = make_instance(configuration={"behaviour": "print"})
    run = services.launch(instance)

    instance.configuration = {"behaviour": "ok"}
    instance.save()

    run.refresh_from_db()
    assert run.configuration["behaviour"] == "print"


def test_a_pending_run_is_cancelled_at_once(flagged: list[int]) -> None:
    run = make_run()
    assert services.cancel(run.pk, by="ada") == Status.CANCELLED
    run.refresh_from_db()
    assert (run.status, run.cancel_requested_by) == (Status.CANCELLED, "ada")
    assert flagged == []


def test_the_cancel_of_a_running_run_is_stored_and_then_told(
    flagged: list[int], django_capture_on_commit_callbacks: Any
) -> None:
    run = make_attempt().run
    with django_capture_on_commit_callbacks(execute=True):
        assert services.cancel(run.pk, by="ada") == Status.RUNNING
    run.refresh_from_db()
    assert run.cancel_requested_at is not None
    assert flagged == [run.pk]


def test_a_cancel_is_stored_even_while_redis_is_away(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    class Away:
        def flag_cancel(self, run_id: int) -> None:
            raise BufferUnavailable("away")

    monkeypatch.setattr(services, "buffer", Away)
    run = make_attempt().run
    with django_capture_on_commit_callbacks(execute=True):
        services.cancel(run.pk, by="ada")
    run.refresh_from_db()
    assert run.cancel_requested_at is not None


def test_cancelling_a_final_run_changes_nothing(flagged: list[int]) -> None:
    run = end(make_attempt().run)
    assert services.cancel(run.pk, by="ada") == Status.COMPLETED
    run.refresh_from_db()
    assert run.cancel_requested_at is None


@pytest.mark.parametrize("verb", [services.retry, services.rerun, lambda run_id: services.cancel(run_id, by="ada")])
def test_a_run_that_is_not_there_is_said_to_be(verb: Any) -> None:
    with pytest.raises(RunNotFound, match="no run 12345"):
        verb(12345)


@pytest.mark.parametrize("verb", [services.retry, services.rerun])
def test_only_a_final_run_is_launched_again(verb: Any) -> None:
    with pytest.raises(RunNotFinal, match="is running"):
        verb(make_attempt().run.pk)


def test_a_retry_has_all_of_the_old_run_and_its_checkpoint(woken: list[str]) -> None:
    old = end(services.launch("scripted", configuration={"behaviour": "raise"}, tags=["t"], seed=3), Status.FAILED)
    Checkpoint.objects.create(run=old, attempt=1, number=4, state={"chunk": 12})

    new = services.retry(old.pk)

    same = ("experiment", "configuration", "limits", "tags", "seed", "name", "queue", "priority")
    assert [getattr(new, column) for column in same] == [getattr(old, column) for column in same]
    assert (new.status, new.origin, new.origin_kind) == (Status.PENDING, old, Origin.RETRY)
    assert new.checkpoint.state == {"chunk": 12}
    old.refresh_from_db()
    assert old.status == Status.FAILED


def test_a_rerun_starts_clean() -> None:
    old = end(services.launch("scripted", seed=3))
    Checkpoint.objects.create(run=old, attempt=1, number=4, state={"chunk": 12})
    new = services.rerun(old.pk)
    assert (new.seed, new.origin_kind) == (3, Origin.RERUN)
    assert not Checkpoint.objects.filter(run=new).exists()


def test_a_retry_of_what_no_longer_fits_is_refused() -> None:
    old = end(make_run(configuration={"gone": 1}))
    with pytest.raises(LaunchRefused) as refused:
        services.retry(old.pk)
    assert "configuration.gone" in refused.value.problems


def test_a_run_is_active_and_somewhere_while_its_lease_is_valid() -> None:
    attempt = make_attempt(child_pid=77)
    assert attempt.worker is not None
    where = services.whereis(attempt.run_id)

    assert services.is_active(attempt.run_id)
    assert where is not None
    assert (where.worker, where.host, where.pid) == (attempt.worker.name, attempt.worker.host, attempt.worker.pid)
    assert (where.child_pid, where.attempt, where.since) == (77, 1, attempt.claimed_at)


def test_a_run_is_nowhere_without_a_valid_lease() -> None:
    for run_id in (make_attempt(lease_s=-1).run_id, make_run().pk, 12345):
        assert not services.is_active(run_id)
        assert services.whereis(run_id) is None


def test_the_user_who_launched_is_kept() -> None:
    user = get_user_model().objects.create(username="ada")
    run = services.launch("scripted", by=user, via="admin")
    assert (run.launched_by, run.launched_via) == (user, "admin")
