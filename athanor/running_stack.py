"""Environment of the running stack, for commands in another shell.

`up` writes its ATHANOR_ variables to a file that only its user can read. `manage.py` adopts those that the shell does
not set itself, so that a second shell uses the same database, Redis and experiments. The file of a killed `up` is
ignored, since its process is not alive.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from athanor.environment import INTERNAL, valid_names

FOLDER = Path(".athanor") / "stacks"
LOCATIONS = ("ATHANOR_VAR", "ATHANOR_DATABASE_URL", "ATHANOR_REDIS_URL")
"""A shell that sets one of these to another value belongs to another stack."""
PATHS = "ATHANOR_EXPERIMENT_PATHS"
START_TOLERANCE_S = 2.0
"""Start times of processes are computed from the wall clock."""


@dataclass(frozen=True, slots=True)
class RunningStack:
    """One running `up` and its environment."""

    pid: int
    started: float
    """Start of the process, seconds since 1970."""
    environment: dict[str, str]

    @property
    def var(self) -> str:
        return self.environment["ATHANOR_VAR"]

    @property
    def is_up(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < START_TOLERANCE_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


class SeveralStacks(Exception):
    """More than one stack is up from this folder, and the shell does not select one."""

    def __init__(self, stacks: list[RunningStack]) -> None:
        listed = "\n".join(f"  ATHANOR_VAR={stack.var}" for stack in stacks)
        super().__init__(f"{len(stacks)} stacks are up from this folder. Choose one:\n{listed}")


def publish(base: Path, var: Path, environ: Mapping[str, str], url: str) -> Path | None:
    """Write the environment of this process; return the file, or None if it cannot be written."""
    names = valid_names() - INTERNAL.keys()
    environment = {name: value for name, value in environ.items() if name in names}
    environment |= {"ATHANOR_VAR": str(var), "ATHANOR_URL": environ.get("ATHANOR_URL") or url}
    if folders := environment.get(PATHS):
        environment[PATHS] = os.pathsep.join(str(Path(folder).absolute()) for folder in folders.split(os.pathsep))
    stack = {"pid": os.getpid(), "started": psutil.Process().create_time(), "environment": environment}
    file = base / FOLDER / f"{hashlib.sha256(os.fsencode(var)).hexdigest()[:16]}.json"
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(stack, indent=1))
        draft.replace(file)
    except OSError:
        return None
    return file


def withdraw(file: Path | None) -> None:
    if file is not None:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def adopt(base: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the running stack that `environ` lacks; empty if no stack of this shell is up.

    Raises SeveralStacks.
    """
    stacks = [stack for stack in running(base) if not _is_other(stack, environ)]
    if len(stacks) > 1:
        stacks = [stack for stack in stacks if Path(stack.var) == base / "var"] or stacks
    if len(stacks) > 1:
        raise SeveralStacks(stacks)
    return {name: value for stack in stacks for name, value in stack.environment.items() if name not in environ}


def running(base: Path) -> Iterator[RunningStack]:
    """Yield the stacks that are up from a folder."""
    for file in sorted((base / FOLDER).glob("*.json")):
        stack = _read(file)
        if stack is not None and stack.is_up:
            yield stack


def _read(file: Path) -> RunningStack | None:
    """Return the stack in a file; None if it cannot be read: of another version or user, or incomplete."""
    try:
        stored = json.loads(file.read_text())
        environment = {str(name): str(value) for name, value in stored["environment"].items()}
        stack = RunningStack(int(stored["pid"]), float(stored["started"]), environment)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return stack if "ATHANOR_VAR" in environment else None


def _is_other(stack: RunningStack, environ: Mapping[str, str]) -> bool:
    """Return whether the shell belongs to another stack than this one."""
    for name in LOCATIONS:
        if name in environ:
            value = str(Path(environ[name]).absolute()) if name == "ATHANOR_VAR" else environ[name]
            if value != stack.environment.get(name):
                return True
    return False
