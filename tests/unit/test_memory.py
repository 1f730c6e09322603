"""Default memory limit: for runs that have none, from what the machine or the container has."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.limits import Limits
from runs.conf import RunsSettings
from runs.supervisor import memory
from runs.supervisor.memory import cgroup_limits, machine_memory_bytes, with_default_limit

GIB = 2**30


@pytest.mark.parametrize(
    ("own", "share", "limit"),
    [(None, 0.5, 5 * GIB), (None, 0.0, None), (GIB, 0.5, GIB), (20 * GIB, 0.5, 20 * GIB)],
)
def test_a_run_without_a_limit_gets_a_share_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, own: int | None, share: float, limit: int | None
) -> None:
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: 10 * GIB)
    limits = with_default_limit(Limits(memory_limit_bytes=own), RunsSettings(memory_default_share=share))
    assert limits.memory_limit_bytes == limit


def test_the_default_leaves_this_machine_something() -> None:
    limit = with_default_limit(Limits(), RunsSettings()).memory_limit_bytes
    assert limit is not None
    assert 0 < limit < machine_memory_bytes()


@pytest.mark.parametrize(
    ("membership", "files", "limits"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "1000\n"}, [1000]),
        ("0::/\n", {"memory.max": "2000\n"}, [2000]),
        ("3:memory:/c\n", {"memory/c/memory.limit_in_bytes": "3000\n"}, [3000]),
        ("0::/../outside\n", {}, []),
        ("garbage", {"garbage/memory.max": "x"}, []),
    ],
)
def test_limits_of_control_groups_are_read(
    tmp_path: Path, membership: str, files: dict[str, str], limits: list[int]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "membership").write_text(membership)
    assert cgroup_limits(tmp_path / "membership", tmp_path) == limits


def test_no_control_groups_are_no_limit(tmp_path: Path) -> None:
    assert cgroup_limits(tmp_path / "none", tmp_path) == []
