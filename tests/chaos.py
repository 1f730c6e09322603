"""Run the command `chaos` in another process, and read its answer."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANAGE = Path(__file__).parent.parent / "manage.py"


@dataclass(frozen=True)
class Answer:
    """Exit code and output of the command."""

    code: int
    document: dict[str, Any]
    stderr: str

    def forget(self) -> None:
        """Remove what was kept because something was expectedly broken."""
        for folder in re.findall(r"kept in (/tmp/athanor-chaos-\S+)", self.stderr):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def broken(self) -> set[str]:
        return {name for name, found in self.document["invariants"].items() if not found["holds"]}


def clean_environ(**more: str) -> dict[str, str]:
    """Return this process's environment without the tests' variables, for separate stacks."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ATHANOR_", "DJANGO_"))} | more


def chaos(*arguments: str, **environ: str) -> Answer:
    done = subprocess.run(
        [sys.executable, str(MANAGE), "chaos", "--json", *arguments],
        env=clean_environ(**environ), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    return Answer(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr)


def throwaway(*arguments: str, **environ: str) -> Answer:
    return chaos("--throwaway", *arguments, **environ)
