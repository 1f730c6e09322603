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
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from experiments import Experiment

from . import _output, _processes  # noqa: F401  # their behaviours register themselves
from ._script import BEHAVIOURS, Context, Marks, ScriptedConfig, behaviour, read_marks

__all__ = ["Scripted", "ScriptedAsync", "ScriptedConfig", "read_marks"]


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


class ScriptedWarm(Scripted):
    """Scripted experiment whose runs start warm."""

    name = "scripted_warm"
    warm = True


class ScriptedAsync(Experiment):
    """Scripted experiment as a coroutine: `count` steps of `pause_s` each, all awaited."""

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
def tell_slot(ctx: Context) -> dict[str, str | None]:
    """Return the moment that it was scheduled for."""
    return {"slot": ctx.slot.isoformat() if ctx.slot else None}


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


@behaviour
def retry_later(ctx: Context) -> dict[str, int]:
    """Asks for another attempt `count` times, `pause_s` from then."""
    if ctx.attempt <= ctx.config.count:
        ctx.log.info("not yet")
        ctx.retry_later(f"{ctx.config.text}: not yet", ctx.config.pause_s)
    return {"attempt": ctx.attempt}


@behaviour
def stop_kindly(ctx: Context) -> dict[str, Any]:
    """Counts until its worker goes down, keeps a last checkpoint and leaves; the next attempt returns what was kept."""
    if ctx.restored is None:
        steps = 0
        ctx.log.info("counting")
        while not ctx.stopping:
            steps += 1
            ctx.sleep(0.02)
        ctx.checkpoint({"steps": steps}, sync=True)
        ctx.log.info(f"kept {steps}")
        ctx.retry_later("the worker goes down")
    return {"kept": ctx.restored["steps"], "attempt": ctx.attempt}


def die(ctx: Context) -> None:
    ctx.log.warning(f"dying by {ctx.config.die_by}")
    if ctx.config.die_by == "raise":
        raise RuntimeError(ctx.config.text)
    if ctx.config.die_by == "os_exit":
        os._exit(9)
    os.kill(os.getpid(), signal.SIGKILL)
