"""List the workers."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from runs import formatting
from runs.health import with_busy
from runs.management.base import Exit, RunsCommand, add_json, table
from runs.models import Worker
from runs.serializers import iso


class Command(RunsCommand):
    help = "List the workers that have not stopped: host, last heartbeat, runs in progress."
    examples = "list_workers --json"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--all", action="store_true", help="include stopped workers (the newest 100)")
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        queryset = with_busy(Worker.objects.order_by("-id"))
        workers = list(queryset[:100] if options["all"] else queryset.filter(stopped_at=None)[:1000])
        now = timezone.now()
        if options["json"]:
            self.print_json([document(worker) for worker in workers])
        elif workers:
            rows = [
                (
                    worker.name,
                    worker.host,
                    worker.pid,
                    f"{worker.busy}/{worker.slots}",  # type: ignore[attr-defined]  # annotated
                    formatting.age(worker.heartbeat_at, now),
                )
                for worker in workers
            ]
            self.print(table(rows, ("WORKER", "HOST", "PID", "RUNS", "LAST HEARTBEAT")))
        else:
            self.print("No worker is online. Start everything with `./manage.py up`.")
        return Exit.OK


def document(worker: Any) -> dict[str, Any]:
    return {
        "id": worker.pk,
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "queues": worker.queues,
        "slots": worker.slots,
        "busy": worker.busy,
        "version": worker.version,
        "started_at": iso(worker.started_at),
        "heartbeat_at": iso(worker.heartbeat_at),
        "stopping_at": iso(worker.stopping_at),
        "stopped_at": iso(worker.stopped_at),
    }
