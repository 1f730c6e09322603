"""Python programs of the group, for forks of `up`. `athanor.up.roles` has the command line of each.

`preload` loads what they need once. Each then has its own only what it changes: the group needs half of the memory,
and a process is up again in a fraction of a second. Programs keep the code that `up` loaded at its start.
"""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from experiments import catalog

MODULES = (
    "athanor.beat",
    "athanor.urls",
    "celery.app.control",
    "celery.app.log",
    "celery.app.routes",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "celery.events",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer.consumer",
    "celery.worker.consumer.delayed_delivery",
    "celery.worker.strategy",
    "django.contrib.sessions.backends.db",
    "django.core.asgi",
    "django_celery_results.backends",
    "kombu.transport.redis",
    "runs.live.stream",
    "runs.recovery.reconcile",
    "runs.recovery.task_results",
    "runs.schedules.tick",
    "runs.supervisor.supervise",
    "runs.tasks",
    "runs.worker.steps",
    "starlette.applications",
    "starlette.staticfiles",
    "uvicorn",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.h11_impl",
)


def preload() -> None:
    """Load what the programs need, but open no connection and start no thread."""
    from athanor.celery import app

    app.loader.init_worker()
    app.finalize()
    for name in MODULES:
        import_module(name)


def worker(name: str, queue: str, slots: int) -> Callable[[], int]:
    return partial(_begin, _worker, name, queue, slots)


def beat() -> Callable[[], int]:
    return partial(_begin, _beat)


def web(host: str, port: int, graceful_s: int) -> Callable[[], int]:
    return partial(_begin, _web, host, port, graceful_s)


def _begin(program: Callable[..., int], *arguments: str | int) -> int:
    gc.enable()
    sys.argv = ["athanor", program.__name__.strip("_"), *map(str, arguments)]
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    catalog.use_this_process()
    catalog.use_process()  # none that `up` has used
    return program(*arguments)


def _worker(name: str, queue: str, slots: int) -> int:
    from athanor.celery import app

    quiet = dict.fromkeys(("without_gossip", "without_mingle", "without_heartbeat"), True)
    hostname = f"{name}@{socket.gethostname()}"
    worker = app.Worker(
        hostname=hostname, pool="threads", concurrency=slots, queues=[queue], loglevel="WARNING", **quiet
    )
    worker.start()
    return int(worker.exitcode or 0)


def _beat() -> int:
    from athanor.celery import app

    app.Beat(loglevel="WARNING").run()
    return 0


def _web(host: str, port: int, graceful_s: int) -> int:
    import uvicorn

    uvicorn.run(
        "athanor.asgi:application",
        host=host,
        port=port,
        http="athanor.connections:Connection",
        ws="none",
        proxy_headers=False,  # the application handles them itself
        server_header=False,
        timeout_graceful_shutdown=graceful_s,
    )
    return 0
