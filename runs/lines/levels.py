"""The level that a line of text gives itself, as log formats, compilers and tracebacks write it. Pure."""

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
    """The level that a line gives itself, or `default`."""
    text = line[:_LOOKED_AT_CHARS]
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    if found := _LOG_FORMAT.search(text):
        return _NAMES[found[1]]
    if found := _COMPILER.match(text):
        return _NAMES[found[1].split()[0].upper()]
    if found := _PYTHON.match(text):
        return Level.WARNING if found[1] else Level.ERROR
    if found := _GLOG.match(text):
        return _LETTERS[found[1]]
    return Level.ERROR if text.startswith("Traceback (most recent call last)") else default
