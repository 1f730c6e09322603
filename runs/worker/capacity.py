"""How many runs a worker can hold: open files and connections to Redis, counted by the slot."""

from __future__ import annotations

import logging
import resource
from pathlib import Path

logger = logging.getLogger(__name__)

FILES_PER_SLOT = 16
"""Four pipes, their other ends during the start, an inbox, a selector, Redis, and a database with its log. Measured."""
FILES_OF_WORKER = 128
"""Broker, fork server, logs, libraries."""
FILES_MAX = 65_536
"""The soft limit is raised up to here: more is not needed, and some programs try to close every possible file."""
DESCRIPTORS = Path("/proc/self/fd")


def files_needed(slots: int) -> int:
    """Open files of a worker with so many slots."""
    return FILES_OF_WORKER + FILES_PER_SLOT * slots


def slots_that_fit(files: int) -> int:
    return max((files - FILES_OF_WORKER) // FILES_PER_SLOT, 0)


def redis_connections(slots: int) -> int:
    """Connections to Redis: two for each supervisor, some for the worker's own threads."""
    return 2 * slots + 32


def file_limit() -> int:
    """How many files this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FILES_MAX if soft == resource.RLIM_INFINITY else soft


def raise_file_limit() -> int:
    """Raise the soft limit of open files as far as the hard limit allows; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            logger.warning("The limit of %d open files cannot be raised to %d: %s", soft, wanted, error)
    return file_limit()


def refuse_too_many_slots(slots: int) -> None:
    """Raise SystemExit if the open files of this process do not suffice for so many runs."""
    limit = file_limit()
    if files_needed(slots) > limit:
        raise SystemExit(
            f"{slots} slots need {files_needed(slots)} open files, and this process may open {limit}. Start the worker"
            f" with `-c {slots_that_fit(limit)}` at most, or raise the limit: `ulimit -n {files_needed(slots)}`."
        )


def has_room() -> bool:
    """Whether the files for one more run can be opened now."""
    try:
        used = sum(1 for _ in DESCRIPTORS.iterdir())
    except FileNotFoundError:
        return True  # macOS
    except OSError:
        return False
    return used + FILES_PER_SLOT <= file_limit()
