"""The death certificate: one record of what was known when an attempt ended badly. Pure but for the stacks' file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from runs import records
from runs.states import Status
from runs.supervisor.outcome import Observation, Verdict

STACKS_MAX_CHARS = 20_000


class LastLine(TypedDict):
    seq: int
    time: float
    level: int
    source: str
    message: str


class Certificate(TypedDict):
    """Stored as `Attempt.certificate`. Ages are seconds before the end of the watch; None where it never happened."""

    last_sign_age_s: float
    """Since the child's last line, result or progress."""
    started: bool
    steps: list[str]
    """What was done to it, in order of force."""
    last_lines: list[LastLine]
    stacks: str
    """Python stacks of all its threads, newest dump last; empty if none was taken."""


def of(found: Verdict, observation: Observation, tail: Iterable[bytes], stacks_file: Path) -> Certificate | None:
    """The certificate of an attempt, or None if it ended well."""
    if found.ending.status == Status.COMPLETED:
        return None
    lines = [records.decode_line(entry) for entry in tail]
    return {
        "last_sign_age_s": round(observation.last_sign_age_s, 3),
        "started": observation.started,
        "steps": sorted(observation.done),
        "last_lines": [
            {
                "seq": line.seq,
                "time": line.time,
                "level": line.level,
                "source": line.source,
                "message": line.message[:2000],
            }
            for line in lines
        ],
        "stacks": stacks(stacks_file),
    }


def stacks(file: Path) -> str:
    """The newest part of the stacks that faulthandler wrote."""
    try:
        return file.read_text(errors="replace").replace("\0", "␀")[-STACKS_MAX_CHARS:]
    except OSError:
        return ""
