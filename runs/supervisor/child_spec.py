"""Specification of a child, from the rows of its run."""

from __future__ import annotations

from typing import Any

from experiments import sealing
from runs.conf import RunsSettings
from runs.exceptions import SpawnFailed
from runs.folders import run_folder, stacks_file
from runs.forkserver.client import ChildSpec
from runs.models import Checkpoint, Run
from runs.states import AttemptKey, Origin


def child_spec(run: Run, key: AttemptKey, conf: RunsSettings, checkpoint: Checkpoint | None) -> ChildSpec:
    """Build the specification of an attempt's child, which continues from `checkpoint`. Raises SpawnFailed."""
    return ChildSpec(
        key=key,
        experiment=run.experiment,
        configuration=_opened(run.configuration),
        limits=run.limits,
        seed=run.seed,
        slot=run.slot.isoformat() if run.slot else None,
        folder=run_folder(run.pk),
        stacks_path=stacks_file(run_folder(run.pk), key.number),
        restored=checkpoint.state if checkpoint else None,
        line_max_bytes=conf.line_max_bytes,
        record_max_bytes=conf.record_max_bytes,
        checkpoint_max_bytes=conf.checkpoint_max_bytes,
    )


def _opened(configuration: dict[str, Any]) -> dict[str, Any]:
    try:
        opened: dict[str, Any] = sealing.opened(configuration)
    except sealing.Unreadable as error:
        raise SpawnFailed(f"configuration.{error}") from error
    return opened


def may_continue(run: Run, key: AttemptKey) -> bool:
    """Return False for a first attempt, unless the run is a retry, which gets a copy of its origin's checkpoint."""
    return key.number > 1 or run.origin_kind == Origin.RETRY
