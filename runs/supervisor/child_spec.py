"""Specification of a child, from the rows of its run."""

from __future__ import annotations

from typing import Any

from experiments import references, sealing
from runs.conf import RunsSettings
from runs.exceptions import SpawnFailed
from runs.folders import run_folder, stacks_file
from runs.forkserver.client import ChildSpec
from runs.models import Checkpoint, Run
from runs.states import AttemptKey, Origin


def child_spec(
    run: Run, key: AttemptKey, conf: RunsSettings, configuration: dict[str, Any], checkpoint: Checkpoint | None
) -> ChildSpec:
    """Build the specification of an attempt's child, which continues from `checkpoint`."""
    return ChildSpec(
        key=key,
        experiment=run.experiment,
        configuration=configuration,
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


def readable(stored: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return a stored configuration with decrypted secrets and resolved references, and (name, secret) of each.

    Raises SpawnFailed.
    """
    secrets: list[tuple[str, str]] = []

    def read(value: Any, path: sealing.Path) -> Any:
        if not isinstance(value, sealing.StoredSecret):
            return sealing.mapped(value, path, read)
        secret = sealing.opened(value, path)
        if isinstance(secret, str):
            secret = references.resolved(secret)
            secrets.append((".".join(map(str, path)), secret))
        return secret

    try:
        return read(stored, ()), secrets
    except sealing.Unreadable as error:
        raise SpawnFailed(f"configuration.{error}") from error
    except references.Unresolved as error:
        raise SpawnFailed(str(error)) from error


def may_continue(run: Run, key: AttemptKey) -> bool:
    """Return False for a first attempt, unless the run is a retry, which gets a copy of its origin's checkpoint."""
    return key.number > 1 or run.origin_kind == Origin.RETRY
