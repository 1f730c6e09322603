"""Roles of the processes that make up Athanor on one machine. Data only: nothing is started here."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from athanor.embedded import redis
from athanor.up import programs
from athanor.up.process import Role
from runs.conf import SYSTEM_QUEUE, runs_settings

RUNS_QUEUE = "runs"
SYSTEM_SLOTS = 4
GRACEFUL_SHUTDOWN_S = 5
"""Seconds that open streams of pages get before the web server closes them."""
PYTHON = (sys.executable, "-u")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of `up`."""

    host: str
    port: int
    workers: int
    slots: int
    var: Path


def all_roles(options: Options, embedded_redis: list[str] | None, redis_url: str) -> list[Role]:
    """Return all roles of the group. `embedded_redis` is the server's command line; None if Redis runs elsewhere."""
    ready_files = options.var / "ready"
    roles = [redis_role(embedded_redis, redis_url)] if embedded_redis else []
    roles.append(system_worker(ready_files))
    roles += [runs_worker(number, options.slots, ready_files) for number in range(1, options.workers + 1)]
    return [*roles, beat(ready_files), web(options.host, options.port)]


def redis_role(command: list[str], url: str) -> Role:
    return Role(
        "redis", tuple(command), rank=0, gate=True, ready=partial(redis.answers, url), orphan_signal=signal.SIGTERM
    )


def system_worker(ready_files: Path) -> Role:
    return _worker("system", SYSTEM_QUEUE, SYSTEM_SLOTS, ready_files, rank=1)


def runs_worker(number: int, slots: int, ready_files: Path) -> Role:
    """Return the role of a worker for runs. It may stop as slowly as its runs are allowed to drain."""
    name = f"runs{number}"
    timeout_s = runs_settings().drain_s + 15
    return _worker(name, RUNS_QUEUE, slots, ready_files, rank=2, stop_timeout_s=timeout_s)


def beat(ready_files: Path) -> Role:
    command = (*PYTHON, "-m", "celery", "-A", "athanor", "beat")
    return _celery("beat", command, programs.beat(), ready_files, rank=3)


def web(host: str, port: int) -> Role:
    graceful = ("--timeout-graceful-shutdown", str(GRACEFUL_SHUTDOWN_S))
    own = ("--no-proxy-headers", "--no-server-header", "--ws", "none", "--http", "athanor.connections:Connection")
    server = (*PYTHON, "-m", "uvicorn", "athanor.asgi:application", *own)
    command = (*server, "--host", host, "--port", str(port), *graceful)
    return Role(
        "web",
        command,
        programs.web(host, port, GRACEFUL_SHUTDOWN_S),
        rank=4,
        ready=partial(web_answers, host, port),
        stop_timeout_s=GRACEFUL_SHUTDOWN_S + 5,
    )


def worker_command(name: str, queue: str, slots: int) -> tuple[str, ...]:
    pool = ("-P", "threads", "-c", str(slots), "-Q", queue, "-n", f"{name}@%h")
    return (*PYTHON, "-m", "celery", "-A", "athanor", "worker", *pool, *QUIET)


def _worker(name: str, queue: str, slots: int, ready_files: Path, *, rank: int, stop_timeout_s: float = 10) -> Role:
    command, program = worker_command(name, queue, slots), programs.worker(name, queue, slots)
    return _celery(name, command, program, ready_files, rank=rank, stop_timeout_s=stop_timeout_s)


def _celery(
    name: str,
    command: tuple[str, ...],
    program: Callable[[], int],
    ready_files: Path,
    *,
    rank: int,
    stop_timeout_s: float = 10,
) -> Role:
    """Return the role of a Celery process, which creates a file when it is ready (athanor.celery)."""
    file = ready_files / name
    return Role(
        name,
        command,
        program,
        rank=rank,
        ready=file.exists,
        stop_timeout_s=stop_timeout_s,
        environment={"ATHANOR_READY_FILE": str(file)},
        ready_file=file,
    )


def web_answers(host: str, port: int) -> bool:
    """Return True once the web server answers, whatever health it reports."""
    connection = HTTPConnection(reachable(host), port, timeout=1)
    try:
        connection.request("GET", "/healthz")
        connection.getresponse().read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


def reachable(host: str) -> str:
    """Return an address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104  # for a client


def environment(var: Path, base: Path) -> dict[str, str]:
    """Return the variables that all processes of the group get in addition to the environment of `up`."""
    python_path = [str(base), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"ATHANOR_VAR": str(var), "PYTHONPATH": os.pathsep.join(python_path), "PYTHONUNBUFFERED": "1"}
