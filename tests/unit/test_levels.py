"""Level of a line of stderr: its own, or info."""

from __future__ import annotations

import pytest

from runs.lines.levels import level_of
from runs.states import Level


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("", Level.INFO),
        ("hello", Level.INFO),
        (" 45%|####      | 45/100 [00:01<00:01, 40.1it/s]", Level.INFO),
        ("no errors, 0 warnings", Level.INFO),
        ("the errors: none", Level.INFO),
        ("WARNING:root:careful", Level.WARNING),
        ("DEBUG:app:x", Level.DEBUG),
        ("[ERROR] it broke", Level.ERROR),
        ("[2026-01-01 10:00:00,123: WARNING/MainProcess] x", Level.WARNING),
        ("2026-01-01 10:00:00,123 - app.core - CRITICAL - x", Level.CRITICAL),
        ("10:00:01 INFO  started", Level.INFO),
        ("10:00:01 ERROR stopped", Level.ERROR),
        ("\x1b[33mWARN\x1b[0m x", Level.WARNING),
        ("W1128 10:00:01.234567 123 file.cc:45] x", Level.WARNING),
        ("main.c:3:5: warning: unused", Level.WARNING),
        ("gcc: fatal error: no input files", Level.CRITICAL),
        ("Error: no such file", Level.ERROR),
        ("/a/b.py:3: UserWarning: old", Level.WARNING),
        ("Traceback (most recent call last):", Level.ERROR),
        ("ValueError: bad", Level.ERROR),
        ("json.decoder.JSONDecodeError: bad", Level.ERROR),
        ("KeyboardInterrupt", Level.INFO),
    ],
)
def test_a_line_gives_its_level(line: str, level: Level) -> None:
    assert level_of(line, Level.INFO) == level
