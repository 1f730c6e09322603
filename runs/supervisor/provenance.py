"""What a result came from: code, versions, machine. Stored on the attempt that ran it."""

from __future__ import annotations

import platform
import socket
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TypedDict

from runs.lines.records import Hello

GIT_TIMEOUT_S = 5.0


class Provenance(TypedDict, total=False):
    source_file: str
    source_digest: str
    """SHA-256 of the experiment's module, hexadecimal."""
    git_commit: str
    git_dirty: bool
    """Whether the working tree had changes that are not in the commit."""
    python: str
    platform: str
    host: str
    packages: dict[str, str]
    """Distribution → version."""


def complete(hello: Hello, source_file: Path) -> Provenance:
    """What the child said of its code, with git's and the environment's part. Blocks for git, at most some seconds."""
    known: Provenance = {**environment()}
    known.update(hello)  # type: ignore[typeddict-item]  # the fields of a Hello are among those of a Provenance
    known.update(git(source_file.parent))
    return known


@cache
def environment() -> Provenance:
    """Versions and machine of this worker, read once: they do not change while it lives."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "packages": dict(
            sorted((dist.name, dist.version) for dist in metadata.distributions() if isinstance(dist.name, str))
        ),
    }


def git(folder: Path) -> Provenance:
    """Commit and cleanness of the repository that `folder` is in; empty where there is none or no git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"git_commit": commit, "git_dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603  # a fixed program with fixed arguments
        ["git", "-C", str(folder), *arguments],  # noqa: S607  # the git that is on PATH is the one meant
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_TIMEOUT_S,
        env=None,
    )
    return done.stdout.strip()
