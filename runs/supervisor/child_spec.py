"""Specification of a child, from the rows of its run."""

from __future__ import annotations

from runs.conf import RunsSettings
from runs.folders import run_folder, stacks_file
from runs.forkserver.client import ChildSpec
from runs.models import Checkpoint, Run
from runs.states import AttemptKey, Origin
from runs.supervisor.recorder import RunRecords


def child_spec(run: Run, key: AttemptKey, conf: RunsSettings, records: RunRecords) -> ChildSpec:
    """Build the specification of an attempt's child, and record the checkpoint from which it continues."""
    checkpoint = Checkpoint.objects.filter(run=run).first() if _may_have_checkpoint(run, key) else None
    if checkpoint is not None:
        records.mark(restored={"attempt": checkpoint.attempt, "number": checkpoint.number})
    return ChildSpec(
        key=key,
        experiment=run.experiment,
        configuration=run.configuration,
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


def _may_have_checkpoint(run: Run, key: AttemptKey) -> bool:
    """Return False for a first attempt, unless the run is a retry, which gets a copy of its origin's."""
    return key.number > 1 or run.origin_kind == Origin.RETRY
