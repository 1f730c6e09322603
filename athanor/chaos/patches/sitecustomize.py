"""Imported by the interpreter before anything else, in the processes of a throwaway stack."""

from __future__ import annotations

from athanor.chaos.patches import clocks, protections

clocks.install()
protections.install()
