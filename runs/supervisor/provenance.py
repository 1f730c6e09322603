"""Provenance of results: code, versions, machine. Stored on the attempt."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import time
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, TypedDict

from runs.lines.records import Hello
from runs.supervisor.shared_call import SharedCall

GIT_TIMEOUT_S = 5.0


GIT_RECENT_S = 1.0
"""Age up to which the last answer of git is used again. Starting git takes as long as a short run."""

State = tuple[object, ...]


class Provenance(TypedDict, total=False):
    source_file: str
    source_digest: str
    """SHA-256 of the experiment's module, hexadecimal."""
    git_commit: str
    git_dirty: bool
    """True if the working tree had uncommitted changes."""
    python: str
    platform: str
    host: str
    start: str
    """Kind of the start: "warm, ..." or why it was cold. Missing for an experiment that does not ask to start warm."""
    user: str
    """Unix user of the child, if it is not the worker's."""
    isolation: str
    """Isolation of the child besides its user: "private /tmp and /proc", or why it has none. Missing if it is off."""
    packages: dict[str, str]
    """Distribution → version."""


class _Answer(NamedTuple):
    """Last answer of git for a folder."""

    asked_at: float
    """Monotonic seconds, before git was started."""
    state: State
    provenance: Provenance


_answers: dict[Path, _Answer] = {}


def complete(hello: Hello, source_file: Path) -> Provenance:
    """Complete the child's record with the data of git and the environment. Blocks for git, at most some seconds."""
    repository = git(source_file.parent, _state(hello, source_file)) if _may_ask_git(hello, source_file) else {}
    return _joined(hello, repository)


def recent(hello: Hello, source_file: Path) -> Provenance | None:
    """Complete the child's record from the last query of git; None if that may not be true any more.

    It is used for GIT_RECENT_S, while neither the experiment's file nor the commit or the index of its repository has
    changed.
    """
    answer = _answers.get(source_file.parent)
    if answer is None or time.monotonic() - answer.asked_at > GIT_RECENT_S:
        return None
    return _joined(hello, answer.provenance) if answer.state == _state(hello, source_file) else None


def _may_ask_git(hello: Hello, source_file: Path) -> bool:
    """Return False for a repository that a run of another Unix user may have created.

    Git executes commands from its configuration, and the run reports the location of the experiment's file.
    """
    folder = _git_folder(source_file.parent) if "user" in hello else None
    try:
        return folder is None or folder.stat().st_uid in (0, os.geteuid())
    except OSError:
        return False


def _joined(hello: Hello, repository: Provenance) -> Provenance:
    provenance: Provenance = {**environment()}
    provenance.update(hello)  # type: ignore[typeddict-item]  # a Provenance has all fields of a Hello
    provenance.update(repository)
    return provenance


@cache
def environment() -> Provenance:
    """Return the versions and the machine of this worker. Read once: they do not change."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "packages": dict(
            sorted((dist.name, dist.version) for dist in metadata.distributions() if isinstance(dist.name, str))
        ),
    }


def git(folder: Path, state: State = ()) -> Provenance:
    """Return the commit of the repository of `folder`, and whether it is dirty. Empty without a repository or git.

    Runs that start at the same time share one query, which begins after the last of them has started.
    """
    asked_at = time.monotonic()
    provenance = _query(folder)()
    _answers[folder] = _Answer(asked_at, state, provenance)
    return provenance


def _state(hello: Hello, source_file: Path) -> State:
    """Return what changes with the experiment's file, with a commit, a checkout, and most other commands of git."""
    folder = _git_folder(source_file.parent)
    files = () if folder is None else (folder / "HEAD", folder / "index", folder / "logs" / "HEAD")
    return (hello.get("source_digest"), *map(_stamp, files))


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size


@cache
def _git_folder(folder: Path) -> Path | None:
    """Return the folder in which git keeps the state of the working tree of `folder`."""
    for parent in (folder, *folder.parents):
        marker = parent / ".git"
        if marker.is_dir():
            return marker
        with suppress(OSError, ValueError):
            return parent / marker.read_text().removeprefix("gitdir:").strip()  # a linked working tree
    return None


@cache
def _query(folder: Path) -> SharedCall[Provenance]:
    return SharedCall(lambda: _ask_git(folder))


def _ask_git(folder: Path) -> Provenance:
    try:
        status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no").splitlines()
    except (OSError, subprocess.SubprocessError):
        return {}
    head = "# branch.oid "
    commits = [line.removeprefix(head) for line in status if line.startswith(head)]
    if not commits or commits == ["(initial)"]:
        return {}
    return {"git_commit": commits[0], "git_dirty": any(not line.startswith("#") for line in status)}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603  # a fixed program with fixed arguments
        ["git", "--no-optional-locks", "-C", str(folder), *arguments],  # noqa: S607  # the git on PATH
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_TIMEOUT_S,
        env=None,
    )
    return done.stdout.strip()
