"""A script of the benchmarks in a tiny form, so that their common parts keep working."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.machine import ROOT
from tests.servers import RedisServer

TINY = {
    "last_lines": ("--rounds", "2", "--lines", "2000"),
}


@pytest.mark.parametrize("name", TINY)
def test_a_script_writes_its_figures(name: str, tmp_path: Path, redis_server: RedisServer) -> None:
    """Run the script, which starts its own servers. `redis_server` only shows that Redis is installed."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("ATHANOR_")}
    command = [sys.executable, "-m", f"benchmarks.{name}", "--database", "sqlite", *TINY[name]]
    done = subprocess.run(
        command, cwd=ROOT, env=environ | {"BENCH_RESULTS": str(tmp_path)}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / f"{name}-sqlite.json").read_text())
    assert result["benchmark"] == f"{name}-sqlite"
    assert all(figure["value"] > 0 and figure["unit"] for figure in result["figures"])
