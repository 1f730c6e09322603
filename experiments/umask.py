"""Umask of Athanor's own processes, and of the code of experiments.

What Athanor makes is its user's only. Files that an experiment writes elsewhere are as its author expects: with the
umask of the shell or the service manager that started Athanor, which ATHANOR_UMASK passes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

PRIVATE = 0o077
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
VARIABLE = "ATHANOR_UMASK"


def make_private() -> None:
    """Let only this user read what the process makes from now on. Safe to repeat, also in further processes."""
    before = os.umask(PRIVATE)
    os.environ.setdefault(VARIABLE, f"{before:03o}")


def use_operators() -> None:
    """Use the umask with which Athanor was started; keep the current one if that is unknown."""
    text = os.environ.get(VARIABLE, "")
    if text and not text.strip("01234567"):
        os.umask(int(text, 8) & 0o777)


@contextmanager
def private() -> Iterator[None]:
    """Let only this user read what the process makes in the block. Not for a process with threads."""
    before = os.umask(PRIVATE)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def operators() -> Iterator[None]:
    """Use the umask with which Athanor was started in the block. Not for a process with threads."""
    before = os.umask(PRIVATE)
    os.umask(before)
    use_operators()
    try:
        yield
    finally:
        os.umask(before)
