"""Rehearsal of a run in a ready child, while it waits: what a run does first is done once before, for nothing.

A child shares the fork server's memory. The first look at each part of it costs a copy of a page, which takes most of
the time from the start of a run to its first line. The rehearsal pays that before the run is there. It imports a module
with an experiment, as a run does, builds its configuration, and leaves nothing behind.
"""

from __future__ import annotations

import importlib
import sys
import threading
from contextlib import suppress

import runs.child
from experiments.remembered import known_candidates
from experiments.source import source_digest
from experiments.validation import restored_configuration

_MODULE = "runs.child.rehearsed"
_CONFIGURATION = {"number": 2, "text": "some", "items": [1, "two"], "mapping": {"three": 3.0}}


def rehearse() -> None:
    """Do what every run does up to its first line. Never raises an Exception."""
    with suppress(Exception):
        for candidate in known_candidates():
            candidate.mentions(_MODULE)
        experiment = importlib.import_module(_MODULE).Rehearsed
        restored_configuration(experiment, _CONFIGURATION)
        source_digest(experiment)
        thread = threading.Thread(target=bool)
        thread.start()
        thread.join()
    if sys.modules.pop(_MODULE, None):
        del runs.child.rehearsed  # type: ignore[attr-defined]  # set by the import
