"""Facts about the machine and the checkout that a figure was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
QUIET_BELOW_PERCENT = 10.0
SAMPLE_S = 1.0
"""Time over which other work on the machine is measured."""


def facts() -> dict[str, Any]:
    """Return the machine, the checkout, and how busy other work kept the machine. Blocks for a second."""
    busy = busy_percent()
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "busy_percent": round(busy, 1),
        "is_quiet": busy < QUIET_BELOW_PERCENT,
    }


def busy_percent() -> float:
    """Return the share of all cores that is in use, over one second; 0 where the platform does not tell."""
    before = _ticks()
    time.sleep(SAMPLE_S)
    after = _ticks()
    total = after[0] - before[0]
    return 100 * (1 - (after[1] - before[1]) / total) if total else 0.0


def _ticks() -> tuple[int, int]:
    """Return all ticks of all cores, and the idle ones."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except OSError:
        return 0, 0
    return sum(ticks), ticks[3] + ticks[4]


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{git('rev-parse', '--short', 'HEAD') or 'unknown'}{' with changes' if changed else ''}"
