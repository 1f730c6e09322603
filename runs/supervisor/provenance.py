"""Provenance of results: code, versions, machine. Stored on the attempt."""

from __future__ import annotations

import platform
import socket
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TypedDict

from runs.lines.records import Hello
from runs.supervisor.shared_call import SharedCall

GIT_TIMEOUT_S = 5.0


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
    packages: dict[str, str]
    """Distribution → version."""


def complete(hello: Hello, source_file: Path) -> Provenance:
    """Complete the child's record with the data of git and the environment. Blocks for git, at most some seconds."""
    provenance: Provenance = {**environment()}
    provenance.update(hello)  # type: ignore[typeddict-item]  # a Provenance has all fields of a Hello
    provenance.update(git(source_file.parent))
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


def git(folder: Path) -> Provenance:
    """Return the commit of the repository of `folder`, and whether it is dirty. Empty without a repository or git.

    Runs that start at the same time share one query, which begins after the last of them has started.
    """
    return _query(folder)()


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
