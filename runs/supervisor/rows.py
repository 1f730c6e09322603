"""Rows that a running attempt writes: its progress, its newest checkpoint, its artifacts."""

from __future__ import annotations

from django.db.models.functions import Now

from runs.lines.records import ArtifactRecord, CheckpointRecord, Progress
from runs.models import Artifact, Checkpoint, Run
from runs.states import AttemptKey


def store_progress(key: AttemptKey, progress: Progress) -> None:
    Run.objects.filter(pk=key.run_id, attempt=key.number).update(
        progress_current=progress.current,
        progress_total=progress.total,
        progress_message=progress.message[:500],
        progress_at=Now(),
    )


def store_checkpoint(key: AttemptKey, record: CheckpointRecord) -> None:
    Checkpoint.objects.update_or_create(
        run_id=key.run_id,
        defaults={
            "attempt": key.number,
            "number": record["id"],
            "state": record["state"],
            "saved_at": Now(),
        },
    )


def store_artifact(key: AttemptKey, record: ArtifactRecord) -> None:
    Artifact.objects.update_or_create(
        run_id=key.run_id,
        attempt=key.number,
        name=record["name"],
        defaults={
            "path": record["path"],
            "content_type": record["content_type"],
            "size_bytes": record["size_bytes"],
            "sha256": record["sha256"],
        },
    )
