"""Behaviours that write: too much, too fast, by every way there is, or after closing it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
import warnings

from ._script import Context, behaviour, padded


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
def metered(ctx: Context) -> dict[str, int]:
    """`count` numbered lines, `lines` a second."""
    began, number = time.monotonic(), 0
    while number < ctx.config.count:
        upto = min(int((time.monotonic() - began) * ctx.config.lines) + 1, ctx.config.count)
        if upto > number:
            ctx.log_batch([f"line {n}" for n in range(number, upto)])
            number = upto
        time.sleep(0.01)
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
def forge(ctx: Context) -> dict[str, bool]:
    """Each line of `text` on the records descriptor, its first letter being the record's kind; then a line."""
    pipe = ctx._pipe  # type: ignore[attr-defined]  # what a hostile experiment finds too
    for record in ctx.config.text.split("\n"):
        pipe.send(ord(record[0]), record[1:].encode())
    ctx.log.info("still there")
    return {"forged": True}


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
