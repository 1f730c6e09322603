"""Lines before a checkpoint are numbered and stored before the checkpoint is recorded."""

from __future__ import annotations

import selectors
from types import SimpleNamespace
from typing import Any, cast

from runs.conf import RunsSettings
from runs.forkserver.client import Child
from runs.lines import records
from runs.lines.buffer import Stream
from runs.lines.records import CheckpointRecord
from runs.states import AttemptKey, Level
from runs.supervisor.intake import Intake, system_line
from runs.supervisor.recorder import RunRecords
from runs.supervisor.window import Window


def test_lines_and_results_before_a_checkpoint_are_kept_when_it_is_noted() -> None:
    window = Window(AttemptKey(1, 1), max_entries=10, max_bytes=10_000, tail=5)
    seen: list[tuple[int, int]] = []

    def checkpoint(_: CheckpointRecord) -> None:
        seen.append((window.emitted(Stream.LINES), window.emitted(Stream.RESULTS)))

    child = SimpleNamespace(records_fd=-1, stdout_fd=-2, stderr_fd=-3)
    writes: Any = SimpleNamespace(checkpoint=checkpoint)
    intake = Intake(
        cast("Child", child), RunsSettings(), window, cast("RunRecords", writes), selectors.SelectSelector()
    )
    line, result = system_line(Level.INFO, "said"), records.encode(records.RESULT, [0.0, "metric", "loss", 1, 0.5])
    kept = records.encode(records.CHECKPOINT, {"id": 1, "sync": False, "state": {}})

    intake._take([line, result, kept, line])

    assert seen == [(1, 1)]
    assert window.emitted(Stream.LINES) == 2
