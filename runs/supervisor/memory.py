"""Default memory limit of a run that has none of its own: a share of what its machine, or its container, has."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import psutil

from experiments.limits import Limits
from runs.conf import RunsSettings

_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def with_default_limit(limits: Limits, conf: RunsSettings) -> Limits:
    """The limits with the default for memory, if they name none and there is one (`memory_default_share`)."""
    if limits.memory_limit_bytes is not None or not conf.memory_default_share:
        return limits
    return limits.model_copy(update={"memory_limit_bytes": int(machine_memory_bytes() * conf.memory_default_share)})


@cache
def machine_memory_bytes() -> int:
    """Memory that this process can use at most: the machine's, or less where its control group has a limit."""
    return min([int(psutil.virtual_memory().total), *cgroup_limits(_CGROUP, _CGROUPS)])


def cgroup_limits(membership: Path, root: Path) -> list[int]:
    """The limits (cgroup v2 `memory.max`, v1 `memory.limit_in_bytes`) of this process' group and of those above."""
    limits = []
    for name in _group_paths(membership):
        folder = root / name
        for file in (folder / "memory.max", root / "memory" / name / "memory.limit_in_bytes"):
            try:
                limits.append(int(file.read_text()))
            except (OSError, ValueError):  # not there, or "max"
                continue
    return [limit for limit in limits if limit > 0]


def _group_paths(membership: Path) -> list[str]:
    """The groups that this process is in, from its own to the root: `a/b`, `a`, ``."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    paths = {""}
    for line in lines:
        parts = line.split(":", 2)[-1].strip("/").split("/")
        paths.update("/".join(parts[:length]) for length in range(1, len(parts) + 1) if ".." not in parts)
    return sorted(paths)
