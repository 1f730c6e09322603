"""Umask of Athanor's own processes, and of the code of experiments.

Only its own user can access what Athanor creates. Experiments have the umask of the shell or service manager that
started Athanor, as their authors expect for files elsewhere. ATHANOR_UMASK passes it on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

PRIVATE = 0o077
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
VARIABLE = "ATHANOR_UMASK"


def make_private() -> None:
    """Create files for this user only from now on. Safe to repeat, also in further processes."""
    before = os.umask(PRIVATE)
    os.environ.setdefault(VARIABLE, f"{before:03o}")


def use_inherited() -> None:
    """Use the umask with which Athanor was started; keep the current one if that is unknown."""
    text = os.environ.get(VARIABLE, "")
    if text and not text.strip("01234567"):
        os.umask(int(text, 8) & 0o777)


@contextmanager
def private() -> Iterator[None]:
    """Create files for this user only within the block. Not for a process with threads."""
    before = os.umask(PRIVATE)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def inherited() -> Iterator[None]:
    """Use the umask with which Athanor was started within the block. Not for a process with threads."""
    before = os.umask(PRIVATE)
    os.umask(before)
    use_inherited()
    try:
        yield
    finally:
        os.umask(before)
