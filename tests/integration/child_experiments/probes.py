"""Probes: behaviours of an experiment in its process, for the tests of the child. They use no Django."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, Field

from experiments import Experiment, RunContext

Ctx = RunContext[Any]
HOLD_S = 60.0
"""The longest that anything hangs: no test leaves it for ever."""


class Probe(Experiment):
    """Calls one function of this module."""

    class Config(BaseModel):
        do: str
        size: int = Field(0, ge=0)
        path: str = ""

    def run(self, ctx: Ctx) -> Any:
        action: Callable[[Ctx], Any] = globals()[ctx.config.do]
        return action(ctx)


class AsyncProbe(Experiment):
    """Probe with a coroutine."""

    class Config(Probe.Config):
        pass

    async def run(self, ctx: Ctx) -> Any:
        return await globals()[ctx.config.do](ctx)


def nothing(ctx: Ctx) -> None:
    pass


def surroundings(ctx: Ctx) -> dict[str, Any]:
    """Return the process's environment as the experiment sees it."""
    return {
        "environ": dict(os.environ),
        "argv": sys.argv,
        "cwd": str(Path.cwd()),
        "fds": sorted(int(path.name) for path in Path("/proc/self/fd").iterdir()),
        "oom": int(Path("/proc/self/oom_score_adj").read_text()),
        "is_session_leader": os.getsid(0) == os.getpid() == os.getpgid(0),
        "random": random.random(),
        "stdin": sys.stdin.read(),
        "signals": {
            name: str(signal.getsignal(getattr(signal, name))) for name in ("SIGTERM", "SIGHUP", "SIGINT", "SIGCHLD")
        },
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        "threads": [thread.name for thread in threading.enumerate()],
        "restored": len((ctx.restored or {}).get("blob", "")),
        "seed": ctx.seed,
        "slot": str(ctx.slot),
    }


def permissions(ctx: Ctx) -> dict[str, str]:
    """Return the modes of the run's folder, and of what the experiment makes in it and beside it."""
    file, beside = ctx.workdir / "file", ctx.workdir.parent.parent / f"beside-{os.getpid()}"
    file.touch()
    beside.mkdir()
    ctx.artifact(b"x", "kept.txt")
    kept = next(ctx.workdir.parent.rglob("kept.txt"))
    places = (ctx.workdir.parent, file, kept, beside)
    modes = {path.name.partition("-")[0]: f"{path.stat().st_mode & 0o777:o}" for path in places}
    return modes | {"import": f"{IMPORTED_WITH:o}"}


IMPORTED_WITH = os.umask(0o077)
os.umask(IMPORTED_WITH)


def square(value: int) -> int:
    return value * value


def pools(ctx: Ctx) -> dict[str, list[int]]:
    """Every start method of multiprocessing, with a function of this module."""
    found = {}
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            found[method] = pool.map(square, range(4))
    return found


def order(ctx: Ctx) -> None:
    """Lines by all ways of Python's, which come out in this order."""
    for n in range(50):
        print(f"print {n}")
        ctx.log.info(f"log {n}")
        sys.stderr.write(f"stderr {n}\n")
        sys.stdout.buffer.write(b"bytes %d\n" % n)


def unfinished(ctx: Ctx) -> None:
    """Lines without an end, of two threads and of C."""
    print("dots", end="")
    for _ in range(3):
        print(".", end="", flush=True)
    thread = threading.Thread(target=print, args=("other",), kwargs={"end": ""})
    thread.start()
    thread.join()
    ctypes.CDLL(None).printf(b"from C")


def wait_uninterrupted(ctx: Ctx) -> str:
    """Swallows the first interrupt, and says how it was interrupted the second time."""
    ctx.log.info("waiting")
    with suppress(BaseException):
        time.sleep(HOLD_S)
    ctx.log.info("swallowed")
    try:
        time.sleep(HOLD_S)
    finally:
        ctx.log.info("cleaned up")
    return "not interrupted"


async def await_long(ctx: Ctx) -> None:
    ctx.log.info("waiting")
    try:
        await asyncio.sleep(HOLD_S)
    finally:
        ctx.log.info("cleaned up")


async def block_in_a_coroutine(ctx: Ctx) -> None:
    ctx.log.info("waiting")
    time.sleep(HOLD_S)


async def async_value(ctx: Ctx) -> dict[str, int]:
    await asyncio.sleep(0)
    return {"value": 7}


def on_term(ctx: Ctx) -> None:
    """Handles SIGTERM, and so does a sub-process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
    subprocess.Popen(["sleep", str(HOLD_S)])
    ctx.log.info("waiting")
    time.sleep(HOLD_S)


def tree(ctx: Ctx) -> None:
    """Descendants of every kind; then `path` decides: return, hold, crash or stop."""
    spawn_tree(ctx)
    match ctx.config.path:
        case "hold":
            time.sleep(HOLD_S)
        case "crash":
            ctypes.string_at(0)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise ValueError("after spawning")


def spawn_tree(ctx: Ctx) -> None:
    """Six processes: a plain one, one in its own session and without our environment, a deaf shell and its child,
    daemons.
    """
    subprocess.Popen(["sleep", "60"])
    subprocess.Popen(["/bin/sleep", "60"], start_new_session=True, env={})
    subprocess.Popen(["sh", "-c", "trap '' TERM HUP INT; sleep 60; true"])
    forked_daemon()
    forked_daemon()
    while len(below := psutil.Process().children(recursive=True)) < 6:
        time.sleep(0.01)
    ctx.result("tree", [process.pid for process in below])
    ctx.log.info("spawned")


def forked_daemon() -> None:
    """Forked twice, without exec, in a session of its own, with nothing open and deaf."""
    if (pid := os.fork()) == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            os.closerange(0, 2000)
            time.sleep(HOLD_S)
        os._exit(0)
    os.waitpid(pid, 0)


def restless(ctx: Ctx) -> None:
    """A daemon that forks itself anew all the time."""
    if os.fork() == 0:
        os.setsid()
        until = time.monotonic() + HOLD_S
        while time.monotonic() < until:
            if os.fork():
                os._exit(0)
            time.sleep(0.001)
        os._exit(0)
    ctx.log.info("spawned")


def be_traced(ctx: Ctx) -> None:
    """Asks to be traced by its parent, and then gets the signal `size`."""
    ctypes.CDLL(None).ptrace(0, 0, None, None)
    os.kill(os.getpid(), ctx.config.size)


def hang_in_c(ctx: Ctx) -> None:
    """Holds the interpreter's lock in C code."""
    ctx.log.info("hanging")
    libc, until = ctypes.PyDLL(None), time.monotonic() + HOLD_S
    while time.monotonic() < until:
        libc.sleep(int(HOLD_S))  # ended early by a signal


def close_everything(ctx: Ctx) -> None:
    os.closerange(3, 4096)
    time.sleep(0.5)  # the threads of ours meet what is closed
    with suppress(Exception):
        ctx.log.info("unheard")


def fill_the_table(ctx: Ctx) -> str:
    """Many files open and closed: what is ours is not hit."""
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
    for fd in files:
        os.close(fd)
    ctx.log.info("still heard")
    return "fine"


def records_flags(ctx: Ctx) -> list[int]:
    """Descriptors that sub-processes of ours would inherit."""
    return [
        fd
        for fd in [int(path.name) for path in Path("/proc/self/fd").iterdir()]
        if fd > 2 and _is_open(fd) and not fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    ]


def _is_open(fd: int) -> bool:
    with suppress(OSError):
        return fcntl.fcntl(fd, fcntl.F_GETFD) >= 0
    return False


def big_summary(ctx: Ctx) -> str:
    return "x" * int(ctx.config.size)


def deep(ctx: Ctx) -> None:
    deep(ctx)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": [value]}
    return value


def return_nested(ctx: Ctx) -> Any:
    return nested(ctx.config.size)


def checkpoint_nested(ctx: Ctx) -> None:
    ctx.checkpoint({"deep": nested(ctx.config.size)}, sync=True)


def inform_of_odd_things(ctx: Ctx) -> str:
    odd: dict[str, Any] = {}
    odd["me"] = odd
    ctx.log.info("odd", circular=odd, keys={(1, 2): 3}, deep=nested(10_000), huge=10**5000)
    ctx.progress(10**400, "many", object())  # type: ignore[arg-type]
    return "went on"


def give_back(ctx: Ctx) -> Any:
    """Return the types in the checkpoint, then save a checkpoint of the same values."""
    assert ctx.restored is not None
    ctx.checkpoint(ctx.restored)
    return {name: repr(value) for name, value in ctx.restored.items()}


def retry(ctx: Any) -> None:
    ctx.retry_later("the service is busy", 12.5)


class Strange(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def raise_strange(ctx: Ctx) -> None:
    raise Strange


PROGRAM = """
import importlib.util, json, os, sys
settings = os.environ.setdefault("DJANGO_SETTINGS_MODULE", "another.settings")
found = [importlib.util.find_spec(name) is not None for name in ("runs", "experiments", "athanor")]
print(json.dumps({"settings": settings, "found": found, "path": sys.path}))
"""


def another_project(ctx: Ctx) -> Any:
    """Return the variables that a Django project started by the experiment would get."""
    ctx.workdir.joinpath("manage.py").write_text(PROGRAM)
    return json.loads(subprocess.check_output([sys.executable, "manage.py"], cwd=ctx.workdir))


def program_of_this_module(ctx: Ctx) -> str:
    """A Python program, started in any way, that imports this module."""
    code = f"from {__name__} import square; print(square(7))"
    return subprocess.check_output([sys.executable, "-c", code], text=True, cwd="/").strip()


def use_the_database(ctx: Ctx) -> None:
    from django.contrib.auth.models import User
    from django.db import connection, transaction

    match ctx.config.path:
        case "query":
            User.objects.count()
        case "save":
            User(username="somebody").save()
        case "transaction":
            with transaction.atomic():
                pass
        case "connection":
            connection.cursor()
        case "tables":
            connection.introspection.table_names()


def freeze_time(ctx: Ctx) -> float:
    """Replace the clocks in every module that has them, as freezegun does."""
    real = {id(getattr(time, name)): name for name in ("time", "monotonic", "perf_counter")}
    fakes = {"time": lambda: 1.0, "monotonic": lambda: 2.0, "perf_counter": lambda: 3.0}
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()):
            if id(value) in real and not module.__name__.startswith("threading"):
                setattr(module, name, fakes[real[id(value)]])
    return speak_and_sleep(ctx)


def replace_time(ctx: Ctx) -> float:
    for name, value in (("time", 1.0), ("monotonic", 2.0)):
        setattr(time, name, lambda value=value: value)
    time.sleep = lambda _: None
    return speak_and_sleep(ctx)


def speak_and_sleep(ctx: Ctx) -> float:
    ctx.log.info("log")
    print("print")
    ctx.log_batch(["batch"])
    ctx.metric("metric", 1.0)
    ctx.sleep(0.3)
    ctx.log.info("after the sleep")
    return time.time()


@dataclass
class Node:
    below: Any


def return_deep(ctx: Ctx) -> Any:
    """A value that is nested `size` deep."""
    value: Any = 1
    for _ in range(ctx.config.size):
        value = {"list": lambda below: [below], "dict": lambda below: {"below": below}, "dataclass": Node}[
            ctx.config.path
        ](value)
    return value
