"""Context for tests of experiments: it records, and refuses the same values as the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from experiments import ExperimentFailed, RunCancelled, RunContext
from experiments.testing import RecordedProgress, RecordingContext


class Empty(BaseModel):
    pass


@pytest.fixture
def ctx(tmp_path: Path) -> RecordingContext[Empty]:
    return RecordingContext(Empty(), workdir=tmp_path)


def test_it_is_a_run_context(ctx: RecordingContext[Empty]) -> None:
    context: RunContext[Empty] = ctx  # checked by mypy
    missing = [name for name in dir(RunContext) if not name.startswith("_") and not hasattr(context, name)]

    assert missing == []


def test_it_records_lines_of_all_levels(ctx: RecordingContext[Empty]) -> None:
    ctx.log.debug("a", n=1)
    ctx.log.info("b")
    ctx.log.warning("c")
    ctx.log.error("d")
    ctx.log_batch(["e", "f"], level="debug")

    assert "".join(line.message for line in ctx.lines) == "abcdef"
    assert [line.level for line in ctx.lines] == ["debug", "info", "warning", "error", "debug", "debug"]
    assert ctx.lines[0].metadata == {"n": 1}


def test_track_reports_progress_and_stops_between_two_items(ctx: RecordingContext[Empty]) -> None:
    ctx.cancel_after(3)
    seen: list[str] = []

    with pytest.raises(RunCancelled):
        seen.extend(ctx.track("abc", "spelling"))

    assert seen == ["a", "b"]
    assert ctx.progresses[-1] == RecordedProgress(2, 3, "spelling")


def test_sleep_does_not_wait_and_sees_a_cancel(ctx: RecordingContext[Empty]) -> None:
    ctx.sleep(3600)
    ctx.cancel()

    with pytest.raises(RunCancelled):
        ctx.sleep(1)
    assert ctx.slept_s == 3600


def test_the_next_attempt_gets_the_last_checkpoint_and_the_same_folder(ctx: RecordingContext[Empty]) -> None:
    ctx.checkpoint({"n": 1})
    ctx.checkpoint({"n": 2})

    later = ctx.next_attempt()

    assert (later.attempt, later.restored, later.workdir) == (2, {"n": 2}, ctx.workdir)
    assert later.next_attempt().restored == {"n": 2}


@pytest.mark.parametrize("state", [{"x": object()}, {"x": "y" * 2_000_000}])
def test_a_checkpoint_that_cannot_be_kept_is_refused(ctx: RecordingContext[Empty], state: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"ctx\.checkpoint"):
        ctx.checkpoint(state)


def test_artifacts_are_kept_by_name(ctx: RecordingContext[Empty], tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(b"weights")

    assert ctx.artifact(source).read_bytes() == b"weights"
    assert ctx.artifact(b"text", "plots/loss.txt").read_bytes() == b"text"
    assert list(ctx.artifacts) == ["model.bin", "plots/loss.txt"]


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "", None])
def test_an_artifacts_name_is_a_plain_relative_path(ctx: RecordingContext[Empty], name: str | None) -> None:
    with pytest.raises(ValueError, match=r"name|plain relative path"):
        ctx.artifact(b"", name)


def test_fail_raises_what_ends_a_run_without_a_traceback(ctx: RecordingContext[Empty]) -> None:
    with pytest.raises(ExperimentFailed, match="no data"):
        ctx.fail("no data")
