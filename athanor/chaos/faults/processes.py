"""Faults of the group's processes and of their children."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from athanor.chaos.faults.base import Undo, fault, freeze, kill, send
from athanor.chaos.plan import Planned
from athanor.chaos.stage import NoTarget, Stage, choose
from athanor.up import roles
from athanor.up.process import Role

HOUR_S = 3600.0
END_S = 15.0
"""Longest time that a process started outside of the group may take to exit."""

# Children and fork servers


@fault("SIGKILL to the process of a run", weight=4)
def kill_child(stage: Stage, planned: Planned) -> Undo:
    send(choose(stage.children(), planned.luck), signal.SIGKILL)
    return None


@fault("SIGSTOP to the process of a run for some seconds", weight=2, seconds=(0.5, 3.0))
def freeze_child(stage: Stage, planned: Planned) -> Undo:
    pid = choose(stage.children(), planned.luck)
    send(pid, signal.SIGSTOP)
    return partial(send, pid, signal.SIGCONT)


@fault("SIGKILL to a fork server", weight=2)
def kill_fork_server(stage: Stage, planned: Planned) -> Undo:
    send(choose(stage.fork_servers(), planned.luck)[1], signal.SIGKILL)
    return None


@fault("SIGKILL to the keeper of a fork server")
def kill_keeper(stage: Stage, planned: Planned) -> Undo:
    send(choose(stage.fork_servers(), planned.luck)[0], signal.SIGKILL)
    return None


@fault("SIGSTOP to a fork server for less than a second", seconds=(0.2, 0.8))
def freeze_fork_server(stage: Stage, planned: Planned) -> Undo:
    """Shorter than the margin of a lease: only the fork server ends children that their worker cannot end."""
    pid = choose(stage.fork_servers(), planned.luck)[1]
    send(pid, signal.SIGSTOP)
    return partial(send, pid, signal.SIGCONT)


# Workers, beat, web


@fault("SIGKILL to a worker of runs", weight=5)
def kill_worker(stage: Stage, planned: Planned) -> Undo:
    kill("runs", planned, stage)
    return None


@fault("SIGSTOP to a worker of runs for more than a lease", weight=3, leases=(1.2, 2.5))
def freeze_worker(stage: Stage, planned: Planned) -> Undo:
    return freeze("runs", planned, stage)


@fault("SIGSTOP to a worker of runs for less than a lease", seconds=(0.3, 2.0))
def pause_worker(stage: Stage, planned: Planned) -> Undo:
    return freeze("runs", planned, stage)


@fault("SIGTERM to a worker of runs: drain", weight=3)
def drain_worker(stage: Stage, planned: Planned) -> Undo:
    kill("runs", planned, stage, signal.SIGTERM)
    return None


@fault("SIGTERM to a worker of runs, and again a moment later", seconds=(0.2, 1.0))
def hurry_worker(stage: Stage, planned: Planned) -> Undo:
    return partial(kill("runs", planned, stage, signal.SIGTERM).send, signal.SIGTERM)


@fault("SIGQUIT to a worker of runs: quick shutdown")
def quit_worker(stage: Stage, planned: Planned) -> Undo:
    kill("runs", planned, stage, signal.SIGQUIT)
    return None


@fault("SIGKILL to the system worker", weight=2)
def kill_system(stage: Stage, planned: Planned) -> Undo:
    kill("system", planned, stage)
    return None


@fault("SIGSTOP to the system worker for some seconds", seconds=(1.0, 6.0))
def freeze_system(stage: Stage, planned: Planned) -> Undo:
    return freeze("system", planned, stage)


@fault("SIGKILL to beat")
def kill_beat(stage: Stage, planned: Planned) -> Undo:
    kill("beat", planned, stage)
    return None


@fault("SIGSTOP to beat for some seconds", seconds=(1.0, 6.0))
def freeze_beat(stage: Stage, planned: Planned) -> Undo:
    return freeze("beat", planned, stage)


@fault("a second beat runs beside the first for some seconds", weight=2, seconds=(2.0, 10.0), needs="place")
def double_beat(stage: Stage, planned: Planned) -> Undo:
    return beside(stage, planned, roles.beat)


@fault(
    "a second system worker stores lines and reconciles beside the first for some seconds",
    seconds=(3.0, 12.0),
    needs="place",
)
def double_system(stage: Stage, planned: Planned) -> Undo:
    return beside(stage, planned, roles.system_worker)


def beside(stage: Stage, planned: Planned, role: Callable[[Path], Role]) -> Undo:
    """Start an unsupervised process of that role; stop it by SIGTERM and SIGKILL in turn."""
    if stage.place is None:
        raise NoTarget("only a throwaway stack may have more processes")
    ready_files = stage.var / "ready" / f"beside{planned.number}"
    ready_files.mkdir(parents=True, exist_ok=True)
    process = stage.place.start_beside(role(ready_files))

    def undo() -> None:
        process.send_signal(signal.SIGKILL if planned.number % 2 else signal.SIGTERM)
        process.wait(END_S)

    return undo


@fault("SIGKILL to the web server")
def kill_web(stage: Stage, planned: Planned) -> Undo:
    kill("web", planned, stage)
    return None


@fault("SIGSTOP to the web server for some seconds", seconds=(1.0, 4.0))
def freeze_web(stage: Stage, planned: Planned) -> Undo:
    return freeze("web", planned, stage)


@fault(
    "the wall clock of a worker or of beat is an hour off for some seconds", weight=2, seconds=(2.0, 8.0), needs="place"
)
def move_clock(stage: Stage, planned: Planned) -> Undo:
    if stage.place is None:
        raise NoTarget("only a throwaway stack has clocks to shift")
    file = choose(sorted(stage.place.clocks.iterdir()), planned.luck)

    def move(seconds: float) -> None:
        with file.open("r+b") as clock:
            os.pwrite(clock.fileno(), struct.pack("d", seconds), 0)

    move(HOUR_S if planned.number % 2 else -HOUR_S)
    return partial(move, 0.0)
