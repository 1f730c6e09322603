"""Capacity of a worker: the open files and Redis connections that its slots need."""

from __future__ import annotations

import logging
import resource
from pathlib import Path

logger = logging.getLogger(__name__)

FILES_PER_SLOT = 16
"""Open files per slot: four pipes, their other ends during the start, inbox, selector, Redis, database. Measured."""
FILES_OF_WORKER = 128
"""Open files of the worker itself: broker, fork server, logs, libraries."""
FILES_MAX = 65_536
"""Highest soft limit that is set. More is not needed, and some programs close every possible file."""
DESCRIPTORS = Path("/proc/self/fd")


def files_needed(slots: int) -> int:
    """Return the open files of a worker with this number of slots."""
    return FILES_OF_WORKER + FILES_PER_SLOT * slots


def slots_that_fit(files: int) -> int:
    return max((files - FILES_OF_WORKER) // FILES_PER_SLOT, 0)


def redis_connections(slots: int) -> int:
    """Return the connections to Redis: two per supervisor, and some for the worker's own threads."""
    return 2 * slots + 32


def file_limit() -> int:
    """Return how many files this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FILES_MAX if soft == resource.RLIM_INFINITY else soft


def raise_file_limit() -> int:
    """Raise the soft limit of open files as far as the hard limit allows. Return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < target:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        except (OSError, ValueError) as error:
            logger.warning("Cannot raise the limit of %d open files to %d: %s", soft, target, error)
    return file_limit()


def refuse_too_many_slots(slots: int) -> None:
    """Raise SystemExit if this process may not open enough files for its slots."""
    limit = file_limit()
    if files_needed(slots) > limit:
        raise SystemExit(
            f"{slots} slots need {files_needed(slots)} open files, and this process may open {limit}. Start the worker"
            f" with `-c {slots_that_fit(limit)}` at most, or raise the limit: `ulimit -n {files_needed(slots)}`."
        )


def has_room() -> bool:
    """Return whether this process can open the files for another run."""
    try:
        used = sum(1 for _ in DESCRIPTORS.iterdir())
    except FileNotFoundError:
        return True  # macOS
    except OSError:
        return False
    return used + FILES_PER_SLOT <= file_limit()
