"""Default memory limit of a run without its own: a share of the memory of its machine or container."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import psutil

from experiments.limits import Limits
from runs.conf import RunsSettings

_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def with_default_limit(limits: Limits, conf: RunsSettings) -> Limits:
    """Add the default memory limit (`memory_default_share`) to limits without one."""
    if limits.memory_limit_bytes is not None or not conf.memory_default_share:
        return limits
    return limits.model_copy(update={"memory_limit_bytes": int(machine_memory_bytes() * conf.memory_default_share)})


@cache
def machine_memory_bytes() -> int:
    """Return the memory that this process can use: the machine's, or the limit of its control group if lower."""
    return min([int(psutil.virtual_memory().total), *cgroup_limits(_CGROUP, _CGROUPS)])


def cgroup_limits(membership: Path, root: Path) -> list[int]:
    """Read the limits (cgroup v2 `memory.max`, v1 `memory.limit_in_bytes`) of this process's group and its parents."""
    limits = []
    for name in _group_paths(membership):
        folder = root / name
        for file in (folder / "memory.max", root / "memory" / name / "memory.limit_in_bytes"):
            try:
                limits.append(int(file.read_text()))
            except (OSError, ValueError):  # no such file, or "max"
                continue
    return [limit for limit in limits if limit > 0]


def _group_paths(membership: Path) -> list[str]:
    """Return the groups of this process, from the root to its own: ``, `a`, `a/b`."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    paths = {""}
    for line in lines:
        parts = line.split(":", 2)[-1].strip("/").split("/")
        paths.update("/".join(parts[:length]) for length in range(1, len(parts) + 1) if ".." not in parts)
    return sorted(paths)
