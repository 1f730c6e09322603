"""Level of a line of text, from its form: log formats, compilers, tracebacks. Pure."""

from __future__ import annotations

import re

from runs.states import Level

_LOOKED_AT_CHARS = 200
_NAMES = {
    "TRACE": Level.DEBUG,
    "DEBUG": Level.DEBUG,
    "NOTE": Level.INFO,
    "INFO": Level.INFO,
    "NOTICE": Level.INFO,
    "WARN": Level.WARNING,
    "WARNING": Level.WARNING,
    "ERROR": Level.ERROR,
    "SEVERE": Level.ERROR,
    "CRITICAL": Level.CRITICAL,
    "FATAL": Level.CRITICAL,
    "PANIC": Level.CRITICAL,
}
_LETTERS = {
    "D": Level.DEBUG,
    "I": Level.INFO,
    "W": Level.WARNING,
    "E": Level.ERROR,
    "F": Level.CRITICAL,
    "C": Level.CRITICAL,
}
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_NAMED = "TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|SEVERE|CRITICAL|FATAL|PANIC"
_LOG_FORMAT = re.compile(rf"(?:^|[\[(|<]\s*|[-:]\s+|[\d:.,+]{{4,}}Z?\]?\s+)({_NAMED})(?=\s*[\]):|>/-]|\s|$)")
"""`WARNING:root:…`, `[ERROR] …`, `10:00:01,234 - app - INFO - …`, `10:00:01 DEBUG …`."""
_GLOG = re.compile(r"^([DIWEFC])\d{4} \d\d:\d\d:\d\d")
"""`W1128 10:00:01.234567 …`, as of absl, glog and klog."""
_COMPILER = re.compile(r"^(?:[^\s:]+:(?:\d+:){0,2}\s+)?(note|warning|error|fatal|fatal error|panic)\s*:", re.IGNORECASE)
"""`file.c:3:5: warning: …`, `error: …`."""
_PYTHON = re.compile(r"^(?:\S+:\d+: )?(?:[\w.]*\.)?(?:(\w*Warning)|(\w*(?:Error|Exception)))(?::|$)")
"""`file.py:3: UserWarning: …`, `ValueError: …`."""


def level_of(line: str, default: Level) -> Level:
    """Return the level that a line names, or `default`."""
    text = line[:_LOOKED_AT_CHARS]
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    if match := _LOG_FORMAT.search(text):
        return _NAMES[match[1]]
    if match := _COMPILER.match(text):
        return _NAMES[match[1].split()[0].upper()]
    if match := _PYTHON.match(text):
        return Level.WARNING if match[1] else Level.ERROR
    if match := _GLOG.match(text):
        return _LETTERS[match[1]]
    return Level.ERROR if text.startswith("Traceback (most recent call last)") else default
