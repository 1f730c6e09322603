"""Contestants of one benchmark: Athanor in this process, and its peers in processes of their own.

with athanor(ground, slots=4) as ours, beside(ground, peers=True) as others:
    ours.first_line(20)
    others["RQ"].first_line(20)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, pss_mib, tree
from benchmarks.ground import Ground
from benchmarks.peers import install
from tests.stack import Process, Stack

OURS = "Athanor"
SINGLE = "single"
"""Queue of the worker with one slot."""


class AthanorQueue:
    """Launches runs of the experiment `measured`."""

    def submit(self, job: str, *values: Any, single: bool = False) -> int:
        from runs import services

        queue = SINGLE if single else "runs"
        return services.launch("measured", configuration={"job": job, "values": list(values)}, queue=queue).pk

    def is_final(self, handle: int) -> bool:
        from runs.models import Run
        from runs.states import Status

        status, error = Run.objects.values_list("status", "error").get(pk=handle)
        if status == Status.FAILED:
            raise RuntimeError(f"Run {handle} failed: {error}")
        return bool(status == Status.COMPLETED)


class Athanor(Contest):
    """Athanor with its workers."""

    def __init__(self, stack: Stack, worker: Process) -> None:
        super().__init__(AthanorQueue())
        self.stack, self.worker = stack, worker

    def memory(self) -> float:
        """Return the MiB of the worker with its fork server, renewer and runs."""
        return pss_mib(tree([self.worker.pid]))


@contextmanager
def athanor(ground: Ground, *, slots: int, whole: bool = False, single: bool = False) -> Iterator[Athanor]:
    """Start a worker with `slots`; with `whole`, a system worker and a beat; with `single`, a worker with one slot."""
    with Stack(ground.folder / "stack") as stack:
        with stack.at_once():
            worker = stack.worker(slots=slots)
            if single:
                stack.worker(SINGLE, slots=1, queues=SINGLE)
            if whole:
                stack.system()
                stack.beat()
        ours = Athanor(stack, worker)
        try:
            ours.warm_up(single=single)
            yield ours
        finally:
            ours.box.close()


@dataclass(frozen=True, slots=True)
class Kind:
    """One contestant beside Athanor."""

    name: str
    module: str
    environment: str
    """Environment of `benchmarks.peers.install`; empty for this one."""


FLOOR = Kind("a plain fork", "fork", "")
RQ = Kind("RQ", "rq", "rq")
CELERY = Kind("Celery, not isolated", "celery", "celery")
CELERY_DJANGO = Kind("Celery and a Django process", "celery_django", "celery")


class Peer:
    """Measures in a process of its own; its methods are those of `Contest`, and `memory`."""

    def __init__(self, kind: Kind, ground: Ground, number: int, workers: int) -> None:
        self.kind, self._log = kind, ground.folder / f"{kind.module}.log"
        python = install.python(kind.environment) if kind.environment else Path(sys.executable)
        environ = {
            **os.environ,
            "BENCH_REDIS": ground.redis_url(number),
            "BENCH_BROKER": ground.broker_url(number),
            "BENCH_PEER_LOG": str(self._log),
            "DJANGO_SETTINGS_MODULE": "benchmarks.peers.django_settings",
        }
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.peers.driver", kind.module, str(workers)],
            env=environ, cwd=ground.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait(self) -> None:
        """Wait until its workers have executed a job."""
        self._answer()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def first_line(self, count: int) -> list[float]:
        return [float(value) for value in self._ask("first_line", count)]

    def waited(self, count: int) -> list[float]:
        return [float(value) for value in self._ask("waited", count)]

    def burst(self, count: int) -> dict[str, float]:
        return dict(self._ask("burst", count))

    def submitted(self, count: int) -> float:
        return float(self._ask("submitted", count))

    def asleep(self, count: int, seconds: float) -> list[int]:
        return list(self._ask("asleep", count, seconds))

    def memory(self) -> float:
        return float(self._ask("memory"))

    def _ask(self, *request: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        if answer := self._process.stdout.readline():
            return json.loads(answer)
        log = self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""
        raise RuntimeError(f"{self.kind.name} ended:\n{log}")


@contextmanager
def beside(
    ground: Ground, *, peers: bool, kinds: Sequence[Kind] = (FLOOR, RQ, CELERY, CELERY_DJANGO), workers: int = 1
) -> Iterator[dict[str, Peer]]:
    """Start the floor, and with `peers` the installed peers, each with `workers` processes; yield them by name."""
    with ExitStack() as stack:
        found: dict[str, Peer] = {}
        for number, kind in enumerate(kinds, start=1):
            if kind.environment and not (peers and install.is_installed(kind.environment)):
                continue
            found[kind.name] = Peer(kind, ground, number, workers)
            stack.callback(found[kind.name].stop)
        for peer in found.values():
            peer.wait()
        yield found


def named(ours: Athanor, others: Mapping[str, Peer]) -> list[tuple[str, Athanor | Peer]]:
    """Return all contestants with their names, in the order in which they take turns."""
    return [(OURS, ours), *others.items()]
