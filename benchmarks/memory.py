"""Memory of a worker, idle and for each sleeping run more, and connections to PostgreSQL.

    python -m benchmarks.memory [--rounds 3] [--runs 20] [--peers]

Memory is PSS, in which a page that processes share counts once, of the worker with all below it: fork server, renewer,
children. Beside it, with `--peers`, as many RQ workers as there are runs: each has one slot. Linux only.
"""

from __future__ import annotations

import time

from benchmarks.contestants import RQ, Athanor, Kind, Peer, athanor, beside
from benchmarks.figures import Beside, Report, at_most
from benchmarks.ground import arguments, ground

SETTLE_S = 3.0
"""Time after which runs and workers have done the work of their start."""
SLEEP_S = 30.0
FEW = 5
IDLE_MAX_MIB, EACH_MAX_MIB = 110, 5
CONNECTIONS_MORE_MAX = 2
"""A worker opens and closes connections for its other work: it may have a few more at one time than at another."""


def main() -> None:
    options = arguments(__doc__, peers=True, rounds=3, runs=20)
    report = Report("memory", **vars(options), database="postgresql")
    idle, each, connections_more, connections = [], [], [], []
    theirs: dict[str, list[float]] = {"idle": [], "each": []}
    for_peers: tuple[Kind, ...] = (RQ,)
    with ground("postgresql") as place:
        for _ in range(options.rounds):
            with athanor(place, slots=options.runs) as ours:
                before, more = of(ours, options.runs)
                idle.append(before)
                each.append(more)
            with athanor(place, slots=options.runs) as ours:
                few, many = connections_at(ours, FEW), connections_at(ours, options.runs - FEW)
                connections.append(float(many))
                connections_more.append(float(many - few))
            with beside(place, peers=options.peers, kinds=for_peers, workers=options.runs) as others:
                for peer in others.values():
                    before, more = of(peer, options.runs)
                    theirs["idle"].append(before)
                    theirs["each"].append(more)
    report.add("a worker, idle", "MiB", idle, target=at_most(IDLE_MAX_MIB),
               beside=Beside(f"{options.runs} RQ workers, idle", theirs["idle"]))  # fmt: skip
    report.add("each sleeping run more", "MiB", each, target=at_most(EACH_MAX_MIB),
               beside=Beside("each sleeping RQ job more", theirs["each"]))  # fmt: skip
    report.add(f"connections to PostgreSQL with {options.runs} sleeping runs", "", connections)
    report.add(f"of these, more than with {FEW} runs", "", connections_more, target=at_most(CONNECTIONS_MORE_MAX))
    report.finish()


def of(contestant: Athanor | Peer, runs: int) -> tuple[float, float]:
    """Return the MiB of the idle workers, and of each sleeping run more."""
    time.sleep(SETTLE_S)
    idle = contestant.memory()
    contestant.asleep(runs, SLEEP_S)
    time.sleep(SETTLE_S)
    return idle, (contestant.memory() - idle) / runs


def connections_at(ours: Athanor, more: int) -> int:
    """Start `more` sleeping runs; return the number of connections to the database besides this process's own."""
    from django.db import connection

    ours.asleep(more, SLEEP_S)
    time.sleep(SETTLE_S)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


if __name__ == "__main__":
    main()
