"""Programs of these tests: each has its own settings, and so a process of its own. It prints its findings as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]


def findings(module: str, folder: Path) -> dict[str, Any]:
    """Execute a module with data in `folder`. Return what it prints."""
    environ = {**os.environ, "ATHANOR_VAR": str(folder), "ATHANOR_DATABASE_URL": f"sqlite://{folder}/db.sqlite3"}
    command = [sys.executable, "-m", f"tests.integration.{module}"]
    program = subprocess.run(command, env=environ, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert program.returncode == 0, program.stderr[-3000:]
    answer: dict[str, Any] = json.loads(program.stdout)
    return answer
