"""Shared parts of the scripted experiment's behaviours: configuration, marks, list of behaviours."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from experiments import RunContext

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
    """File with evidence of who executed what. Writes nothing without `append_to`."""

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


def read_marks(path: Path) -> list[dict[str, Any]]:
    """All marks of a file, in the order in which they were written; none if there is no file yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def padded(ctx: Context, text: str) -> str:
    return text.ljust(ctx.config.size, ".") if ctx.config.size else text
