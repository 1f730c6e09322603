"""One experiment for all tests: it behaves, or misbehaves, as its configuration says. Nothing of Django in it.

It is found when ATHANOR_EXPERIMENT_PATHS names this folder. With `append_to` each process that executes a run writes
JSON lines into that file: `{"mark", "run", "attempt", "pid", "time", ...}`, of which `start` and `end` enclose the
execution, `spawned` names a process it made, `step` a step of `checkpoint`, and **`overlap` says that another execution
of the run, or a process forked from it, was still alive at the start**: each holds a lock on the file while it lives.
`read_marks(path)` reads them.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from experiments import Experiment, RunContext

Behaviour = Callable[["Context"], Any]
BEHAVIOURS: dict[str, Behaviour] = {}


class ScriptedConfig(BaseModel):
    behaviour: str = Field("ok", description="One of the functions of this module marked @behaviour")
    count: int = Field(3, ge=0, description="Lines, steps, processes or threads; 0 is endless where that makes sense")
    lines: int = Field(100, ge=0, description="Lines of each process or thread")
    size: int = Field(0, ge=0, description="Characters that each line is padded to, or bytes of a long line")
    pause_s: float = Field(0.0, ge=0, description="Between two lines or steps")
    hold_s: float = Field(120.0, ge=0, description="The longest time that anything hangs: no test leaves it for ever")
    code: int | str | None = Field(1, description="Of exit and os_exit")
    text: str = Field("scripted", description="Message of errors and lines")
    mib: int = Field(64, ge=1, description="Memory to allocate")
    mode: Literal["sleep", "busy", "swallow"] = Field("sleep", description="How hang hangs")
    then: Literal["return", "hold", "raise", "crash", "segfault"] = Field("return", description="After spawning")
    die_at: dict[int, int] = Field(default_factory=dict, description="checkpoint: attempt → step at which it dies")
    die_by: Literal["sigkill", "raise", "os_exit"] = "sigkill"
    sync: bool = Field(False, description="checkpoint: wait until it is stored")
    append_to: str = Field("", description="File for marks; {run_id} is replaced")

    @field_validator("behaviour")
    @classmethod
    def is_known(cls, value: str) -> str:
        if value not in BEHAVIOURS:
            raise ValueError(f"known are {', '.join(BEHAVIOURS)}")
        return value


Context = RunContext[ScriptedConfig]


def behaviour(function: Behaviour) -> Behaviour:
    BEHAVIOURS[function.__name__.rstrip("_")] = function
    return function


class Marks:
    """The file that proves who executed what. Does nothing without `append_to`."""

    def __init__(self, ctx: Context) -> None:
        self.about = {"run": ctx.run_id, "attempt": ctx.attempt}
        self.name = ctx.config.append_to.format(run_id=ctx.run_id)

    def write(self, mark: str, **more: Any) -> None:
        if self.name:
            entry = {"mark": mark, **self.about, "pid": os.getpid(), "time": time.time(), **more}
            fd = self._open()
            os.write(fd, json.dumps(entry).encode() + b"\n")
            os.close(fd)

    def start(self) -> None:
        """Takes the lock, which forked children keep too, and notes whether somebody else still has it."""
        if self.name:
            try:
                fcntl.flock(self._open(), fcntl.LOCK_EX | fcntl.LOCK_NB)  # kept open until the process ends
            except BlockingIOError:
                self.write("overlap")
        self.write("start")

    def _open(self) -> int:
        return os.open(self.name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


class Scripted(Experiment):
    """Does what its configuration says; for Athanor's own tests."""

    name = "scripted"

    class Config(ScriptedConfig):
        pass

    def run(self, ctx: Context) -> Any:
        marks = Marks(ctx)
        marks.start()
        try:
            return BEHAVIOURS[ctx.config.behaviour](ctx)
        finally:
            marks.write("end")


class ScriptedAsync(Experiment):
    """The same as a coroutine; `count` steps of `pause_s` each, all awaited."""

    name = "scripted_async"

    class Config(ScriptedConfig):
        pass

    async def run(self, ctx: Context) -> Any:
        marks = Marks(ctx)
        marks.start()
        try:
            for step in range(ctx.config.count):
                ctx.log.info(f"{ctx.config.text} {step}")
                await asyncio.sleep(ctx.config.pause_s)
            if ctx.config.behaviour == "ok":
                return {"steps": ctx.config.count}
            return await asyncio.to_thread(BEHAVIOURS[ctx.config.behaviour], ctx)
        finally:
            marks.write("end")


# Ways to end


@behaviour
def ok(ctx: Context) -> dict[str, Any]:
    """Some of everything, then a summary."""
    for step in ctx.track(range(ctx.config.count), "Working"):
        ctx.log.info(f"{ctx.config.text} {step}", step=step)
        ctx.metric("value", step / 2, step=step)
        ctx.sleep(ctx.config.pause_s)
    ctx.result("answer", {"count": ctx.config.count})
    ctx.artifact(ctx.config.text.encode(), "hello.txt", content_type="text/plain")
    return {"count": ctx.config.count, "attempt": ctx.attempt, "seed": ctx.seed}


@behaviour
def raise_(ctx: Context) -> None:
    ctx.log.info("about to raise")
    raise ValueError(ctx.config.text)


@behaviour
def fail(ctx: Context) -> None:
    ctx.fail(ctx.config.text)


@behaviour
def exit_(ctx: Context) -> None:
    ctx.log.info("about to exit")
    sys.exit(ctx.config.code)


@behaviour
def os_exit(ctx: Context) -> None:
    ctx.log.info("about to os._exit")
    os._exit(int(ctx.config.code or 0))


@behaviour
def segfault(ctx: Context) -> None:
    ctx.log.info("about to segfault")
    ctypes.string_at(0)


@behaviour
def sigkill(ctx: Context) -> None:
    ctx.log.info("about to kill myself")
    os.kill(os.getpid(), signal.SIGKILL)


@behaviour
def unserialisable(ctx: Context) -> object:
    return {"value": object()}


@behaviour
def environment(ctx: Context) -> None:
    """Tells what it was given: its environment and where its descriptors lead."""
    ctx.result("environ", dict(os.environ))
    descriptors = []
    for fd in range(256):
        try:
            descriptors.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        except OSError:
            continue
    ctx.result("descriptors", descriptors)


# Ways to use too much


@behaviour
def allocate(ctx: Context) -> dict[str, int]:
    """Touches `mib` MiB, in steps, and holds them."""
    kept = []
    for step in range(ctx.config.mib):
        kept.append(bytearray(os.urandom(1024)) * 1024)
        if step % 16 == 0:
            ctx.log.info(f"{step} MiB")
            ctx.sleep(ctx.config.pause_s)
    ctx.log.info("allocated")
    ctx.sleep(ctx.config.hold_s)
    return {"mib": len(kept)}


@behaviour
def hang(ctx: Context) -> None:
    """Never looks at the context: sleeps, computes, or swallows every Exception that is thrown at it."""
    ctx.log.info("hanging")
    until = time.monotonic() + ctx.config.hold_s
    while time.monotonic() < until:
        if ctx.config.mode == "sleep":
            time.sleep(ctx.config.hold_s)
        elif ctx.config.mode == "swallow":
            try:
                time.sleep(0.01)
            except Exception:
                ctx.log.warning("swallowed")


@behaviour
def ignore_cancel(ctx: Context) -> None:
    """Swallows even RunCancelled and ignores SIGTERM: only SIGKILL ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctx.log.info("ignoring")
    until = time.monotonic() + ctx.config.hold_s
    while time.monotonic() < until:
        try:
            time.sleep(0.01)
        except BaseException as error:
            ctx.log.warning(f"ignored {type(error).__name__}")


@behaviour
def cooperative(ctx: Context) -> dict[str, int]:
    """Loops over `ctx.sleep`; notes in its marks that its `finally` block ran."""
    steps = 0
    until = time.monotonic() + ctx.config.hold_s
    ctx.log.info("cooperating")
    try:
        while time.monotonic() < until:
            ctx.sleep(max(ctx.config.pause_s, 0.01))
            steps += 1
        return {"steps": steps}
    finally:
        Marks(ctx).write("finally", steps=steps)
        ctx.log.info("cleaned up", steps=steps)


# Output


@behaviour
def print_(ctx: Context) -> None:
    """One line by each way there is: print, stderr, logging, a warning, ctx.log; then a sub-process's two."""
    text = ctx.config.text
    for _ in range(ctx.config.count):
        print(f"{text} stdout")
        print(f"{text} stderr", file=sys.stderr)
        logging.getLogger("scripted").error("%s logging", text)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(f"{text} warning", stacklevel=1)
        ctx.log.info(f"{text} log")
    script = f"echo '{text} child stdout'; echo '{text} child stderr' >&2"
    subprocess.run(["/bin/sh", "-c", script], check=True)


@behaviour
def log_many(ctx: Context) -> dict[str, int]:
    """`count` numbered lines through the log, `pause_s` apart."""
    for number in range(ctx.config.count):
        ctx.log.info(padded(ctx, f"line {number}"))
        if ctx.config.pause_s:
            ctx.sleep(ctx.config.pause_s)
    return {"lines": ctx.config.count}


@behaviour
def flood(ctx: Context) -> dict[str, int]:
    """Lines as fast as it can; endless when `count` is 0."""
    number, until = 0, time.monotonic() + ctx.config.hold_s
    while (not ctx.config.count or number < ctx.config.count) and time.monotonic() < until:
        upto = min(number + 500, ctx.config.count or number + 500)
        ctx.log_batch([padded(ctx, f"line {n}") for n in range(number, upto)])
        number = upto
    return {"lines": number}


@behaviour
def flood_raw(ctx: Context) -> None:
    """Bytes without a newline to descriptor 1, `size` of them, then a newline."""
    left = ctx.config.size
    while left > 0:
        left -= os.write(1, b"x" * min(left, 65536))
    os.write(1, b"\n")


@behaviour
def raw_bytes(ctx: Context) -> None:
    """NUL, invalid UTF-8 and a line without an end on descriptors 1 and 2."""
    os.write(1, b"nul \0 here\ninvalid \xff\xfe here\n")
    os.write(2, b"no newline")


@behaviour
def progress_bar(ctx: Context) -> None:
    """Redraws one line by carriage returns, by print and on the descriptor."""
    for step in range(ctx.config.count):
        print(f"\r{step + 1}/{ctx.config.count}", end="", flush=True)
        os.write(2, f"\rraw {step + 1}/{ctx.config.count}".encode())
        time.sleep(ctx.config.pause_s)
    print()
    os.write(2, b"\n")


@behaviour
def close_pipes(ctx: Context) -> None:
    """Closes every descriptor but 0 to 2, the records' too, and goes on as if nothing had happened."""
    ctx.log.info("closing")
    os.closerange(3, 1024)
    ctx.log.info("into the void")


@behaviour
def close_output(ctx: Context) -> dict[str, bool]:
    os.close(1)
    os.close(2)
    ctx.log.info("still there")
    return {"closed": True}


# Processes and threads


@behaviour
def spawn_children(ctx: Context) -> dict[str, list[int]]:
    """`count` sub-processes that sleep."""
    children = [subprocess.Popen(["sleep", str(ctx.config.hold_s)]) for _ in range(ctx.config.count)]
    return after_spawning(ctx, [child.pid for child in children])


@behaviour
def daemonize(ctx: Context) -> dict[str, list[int]]:
    """`count` daemons: forked twice, a session of their own, deaf to SIGTERM, SIGINT and SIGHUP."""
    return after_spawning(ctx, [daemon(ctx.config.hold_s) for _ in range(ctx.config.count)])


@behaviour
def fork_workers(ctx: Context) -> dict[str, int]:
    """`count` forked processes that log `lines` lines each through the same context."""
    forking = multiprocessing.get_context("fork")
    workers = [forking.Process(target=log_lines, args=(ctx, f"process {n}")) for n in range(ctx.config.count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"lines": ctx.config.count * ctx.config.lines}


@behaviour
def threads(ctx: Context) -> dict[str, int]:
    """The same with threads."""
    workers = [threading.Thread(target=log_lines, args=(ctx, f"thread {n}")) for n in range(ctx.config.count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"lines": ctx.config.count * ctx.config.lines}


# Attempts


@behaviour
def checkpoint(ctx: Context) -> dict[str, int]:
    """Counts to `count`, keeping each step, and dies on the way where `die_at` says so."""
    state = ctx.restored or {"step": 0, "total": 0}
    resumed_from, total = state["step"], state["total"]
    for step in range(resumed_from, ctx.config.count):
        if ctx.config.die_at.get(ctx.attempt) == step:
            die(ctx)
        total += step
        Marks(ctx).write("step", step=step)
        ctx.checkpoint({"step": step + 1, "total": total}, sync=ctx.config.sync)
        ctx.progress(step + 1, ctx.config.count)
        ctx.log.info(f"step {step}", step=step)
        ctx.sleep(ctx.config.pause_s)
    return {"steps": ctx.config.count, "total": total, "resumed_from": resumed_from, "attempt": ctx.attempt}


# What they share


def padded(ctx: Context, text: str) -> str:
    return text.ljust(ctx.config.size, ".") if ctx.config.size else text


def log_lines(ctx: Context, who: str) -> None:
    for number in range(ctx.config.lines):
        ctx.log.info(padded(ctx, f"{who} line {number}"))


def after_spawning(ctx: Context, pids: list[int]) -> dict[str, list[int]]:
    for pid in pids:
        Marks(ctx).write("spawned", child=pid)
        ctx.result("pid", pid)
    ctx.log.info("spawned", pids=pids)
    if ctx.config.then == "hold":
        ctx.sleep(ctx.config.hold_s)
    elif ctx.config.then == "raise":
        raise ValueError(ctx.config.text)
    elif ctx.config.then == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    elif ctx.config.then == "segfault":
        ctypes.string_at(0)
    return {"pids": pids}


def daemon(hold_s: float) -> int:
    """The pid of a new daemon."""
    read_end, write_end = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.setsid()
        if pid := os.fork():
            os.write(write_end, str(pid).encode())
            os._exit(0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(write_end)
        time.sleep(hold_s)
        os._exit(0)
    os.close(write_end)
    os.waitpid(middle, 0)
    pid = int(os.read(read_end, 32))
    os.close(read_end)
    return pid


def die(ctx: Context) -> None:
    ctx.log.warning(f"dying by {ctx.config.die_by}")
    if ctx.config.die_by == "raise":
        raise RuntimeError(ctx.config.text)
    if ctx.config.die_by == "os_exit":
        os._exit(9)
    os.kill(os.getpid(), signal.SIGKILL)


def read_marks(path: Path) -> list[dict[str, Any]]:
    """All marks of a file, in the order in which they were written; none if there is no file yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
