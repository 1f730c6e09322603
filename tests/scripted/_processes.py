"""Behaviours that make processes and threads."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import threading
import time

import psutil

from ._script import Context, Marks, behaviour, padded


@behaviour
def spawn_children(ctx: Context) -> dict[str, list[int]]:
    """`count` sub-processes that sleep."""
    children = [subprocess.Popen(["sleep", str(ctx.config.hold_s)]) for _ in range(ctx.config.count)]
    return after_spawning(ctx, [child.pid for child in children])


@behaviour
def kill_above(ctx: Context) -> None:
    """Kill the process `count` levels above this one: 1 is the fork server, 2 its keeper, 3 the worker."""
    above = psutil.Process().parents()[ctx.config.count - 1]
    ctx.log.info("killing", name=above.name())
    time.sleep(ctx.config.pause_s)
    above.kill()
    time.sleep(ctx.config.hold_s)


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
    """Do the same with threads."""
    workers = [threading.Thread(target=log_lines, args=(ctx, f"thread {n}")) for n in range(ctx.config.count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"lines": ctx.config.count * ctx.config.lines}


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
    """Start a new daemon and return its pid."""
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
