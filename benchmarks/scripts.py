"""Scripts of the benchmarks, in the order in which they run and are reported."""

from __future__ import annotations

import sys
from dataclasses import dataclass

PEERS, BOTH = "peers", "both databases"


@dataclass(frozen=True, slots=True)
class Script:
    """One script, and what it takes: peers, databases."""

    name: str
    takes: tuple[str, ...] = ()
    is_long: bool = False

    def commands(self, *, peers: bool) -> list[list[str]]:
        """Return its command lines, one for each database if it takes both."""
        words = [sys.executable, "-m", f"benchmarks.{self.name}"]
        words += ["--peers"] if peers and PEERS in self.takes else []
        return [[*words, "--database", name] for name in ("postgresql", "sqlite")] if BOTH in self.takes else [words]


SCRIPTS = (
    Script("first_line", (PEERS,)),
    Script("short_runs", (PEERS,)),
    Script("launches", (PEERS,)),
    Script("lines", (BOTH,)),
    Script("user_code"),
    Script("last_lines", (BOTH,)),
    Script("memory", (PEERS,)),
    Script("idle"),
    Script("live"),
    Script("warm_starts"),
    Script("many_runs", is_long=True),
    Script("spread", is_long=True),
    Script("growth", is_long=True),
    Script("streams", is_long=True),
    Script("big_lists", is_long=True),
    Script("recovery", is_long=True),
    Script("schedules", is_long=True),
)


def place_of(benchmark: str) -> int:
    """Return the place of a result in a report, by its name: that of its script, and perhaps its database."""
    names = [script.name for script in SCRIPTS]
    name = benchmark.partition("-")[0]
    return names.index(name) if name in names else len(names)
