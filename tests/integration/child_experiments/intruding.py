"""Intruder: an experiment that tries what another Unix user must not be able to do, and says what it achieved."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from experiments import Experiment, RunContext

Ctx = RunContext[Any]
PR_SET_PDEATHSIG = 1
PTRACE_SEIZE = 0x4206


class Intruder(Experiment):
    """Tries actions of this module, each with an argument. Returns their outcomes: "refused", or what it got."""

    class Config(BaseModel):
        attempts: list[tuple[str, str]]

    def run(self, ctx: Ctx) -> list[str]:
        return [_outcome(globals()[action], argument) for action, argument in ctx.config.attempts]


def _outcome(action: Callable[[str], Any], argument: str) -> str:
    try:
        return f"succeeded: {action(argument)!r}"[:200]
    except PermissionError:
        return "refused"
    except OSError as error:
        return repr(error)


def read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(100)


def enumerate_folder(path: str) -> list[str]:
    return [entry.name for entry in Path(path).iterdir()]


def owners_of_processes(_: str) -> set[int]:
    """Return the users of the processes that it sees."""
    return {entry.stat().st_uid for entry in Path("/proc").iterdir() if entry.name.isdigit()}


def write(path: str) -> int:
    return Path(path).write_text("intruded")


def remove(path: str) -> None:
    Path(path).unlink()


def signal_process(pid: str) -> None:
    os.kill(int(pid), 0)


def end_server(pid: str) -> None:
    """Kill the fork server, after giving up the signal that the kernel sends at its end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)
    os.environ.clear()
    os.kill(int(pid), signal.SIGKILL)
    time.sleep(60)


def trace(pid: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_SEIZE, int(pid), None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def become_user(uid: str) -> None:
    os.setresuid(int(uid), int(uid), int(uid))


def become_group(gid: str) -> None:
    os.setresgid(int(gid), int(gid), int(gid))


def join_groups(gid: str) -> None:
    os.setgroups([int(gid)])


def change_root(path: str) -> None:
    os.chroot(path)


def raise_limit(_: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NPROC, (hard + 1, hard + 1))
    except ValueError as error:  # "not allowed to raise maximum limit"
        raise PermissionError from error


def execute_as_owner(program: str) -> str:
    """Execute a program with the set-user-id bit, which says who it is."""
    uid = subprocess.run([program, "-u"], capture_output=True, text=True, check=True).stdout.strip()
    if uid == str(os.getuid()):
        raise PermissionError
    return uid


class Identity(Experiment):
    """Returns who it is, and what it may do where it should."""

    def run(self, ctx: Ctx) -> dict[str, Any]:
        stored = ctx.artifact(b"1, 2", "deep/er/table.csv")
        made = ctx.workdir / "made.txt"
        made.write_text("mine")
        Path("/dev/stdout").open("w").close()
        status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        print("spoken", flush=True)
        return {
            "uids": os.getresuid(),
            "gids": os.getresgid(),
            "groups": sorted(os.getgroups()),
            "names": [os.environ[name] for name in ("HOME", "USER", "LOGNAME")],
            "capabilities": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
            "no_new_privs": status["NoNewPrivs"],
            "core": resource.getrlimit(resource.RLIMIT_CORE),
            "processes": resource.getrlimit(resource.RLIMIT_NPROC),
            "files": resource.getrlimit(resource.RLIMIT_NOFILE),
            "descriptors": len(list(Path("/proc/self/fd").iterdir())) > 0,
            "stored": [str(stored), oct(stored.stat().st_mode), stored.stat().st_gid],
            "made": [str(made), oct(made.stat().st_mode), made.stat().st_gid],
        }
