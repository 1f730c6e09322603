"""Files of Athanor that other users of the machine can read or change."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OTHERS = stat.S_IRWXG | stat.S_IRWXO
OTHERS_READ_OR_WRITE = OTHERS & ~(stat.S_IXGRP | stat.S_IXOTH)
OWN_NAMES = (
    "accounts", "bytecode", "db.sqlite3", "first_password", "imports", "log", "ready", "redis", "runs", "secret_key",
    "up.json", "up.lock",
)  # fmt: skip
"""Names in the var folder that are Athanor's in every installation."""
JOURNALS = ("-wal", "-shm", "-journal", "-renewal")


@dataclass(frozen=True, slots=True)
class Exposed:
    """File or folder with too many permissions."""

    path: Path
    mode: int

    @property
    def remedy(self) -> str:
        return f"chmod go-rwx {self.path}"


def exposed(var: Path, database: Mapping[str, Any]) -> Iterator[Exposed]:
    """Yield what other users can access: the var folder and its contents, and the file of SQLite.

    A folder that others can only pass through, as `run_as` needs, is not reported, but its contents may be.
    """
    mode = _mode(var)
    if mode & OTHERS_READ_OR_WRITE:
        yield Exposed(var, mode)
    if mode & OTHERS:
        yield from _open_to_others(var / name for name in OWN_NAMES if name != "runs")
        if _mode(var / "runs") & OTHERS_READ_OR_WRITE:  # runs of other users pass through it
            yield Exposed(var / "runs", _mode(var / "runs"))
    file = Path(str(database.get("NAME", "")))
    is_elsewhere = database["ENGINE"].endswith("sqlite3") and file.is_absolute() and file != var / "db.sqlite3"
    if is_elsewhere and not _is_shut(file.parent):
        yield from _open_to_others([file])


def tighten(var: Path, *, is_ours: bool) -> list[Path]:
    """Remove the permissions of other users from what an older version created in the var folder, and from the folder
    itself if it `is_ours`. Return the changed paths. Leave files of other users unchanged.
    """
    own = [var / name for name in OWN_NAMES]
    own += [var / f"db.sqlite3{ending}" for ending in JOURNALS]
    changed = []
    for path in [*([var] if is_ours else []), *own]:
        with suppress(OSError):
            status = path.lstat()
            if (
                status.st_uid == os.getuid()
                and status.st_mode & OTHERS_READ_OR_WRITE
                and not stat.S_ISLNK(status.st_mode)
            ):
                path.chmod(stat.S_IMODE(status.st_mode) & ~OTHERS)
                changed.append(path)
    return changed


def _open_to_others(paths: Iterator[Path] | list[Path]) -> Iterator[Exposed]:
    for path in paths:
        if (mode := _mode(path)) & OTHERS_READ_OR_WRITE:
            yield Exposed(path, mode)


def _is_shut(folder: Path) -> bool:
    return not _mode(folder) & OTHERS


def _mode(path: Path) -> int:
    """Return the permissions of a path; 0 if it does not exist."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0
