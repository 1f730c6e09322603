"""`chaos`: inject faults on purpose and check that every promise is kept."""

from __future__ import annotations

import argparse
import os
import random
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from athanor.chaos import place
from athanor.chaos.campaign import Campaign, Options, Outcome
from athanor.chaos.faults import FAULTS
from athanor.chaos.invariants import Invariant
from athanor.chaos.place import Place, PlaceFailed
from athanor.chaos.report import document, show
from athanor.chaos.stage import Stage
from athanor.embedded.postgres import postgres_folder, unprivileged
from athanor.embedded.server import ServerFailed, ServerMissing
from athanor.up import status
from experiments import catalog
from experiments.exceptions import did_you_mean
from runs.management.base import Exit, RunsCommand, WrongUse, add_json

SLOTS = 4
EVERY_S, EVERY_ON_OWN_S = 1.8, 4.0
"""Average seconds between two faults. On a user's own stack leases are longer."""
AT_ONCE = 10
SHORTEST_S = 5.0


class Command(RunsCommand):
    help = (
        "Launch runs that check themselves; kill, freeze, disconnect and wipe parts of the stack; then check that no"
        " run, line or result was lost or duplicated. Exit code 1 if a check fails."
    )
    examples = """
        chaos --throwaway --workers 2 --duration 60 --seed 1
        chaos --throwaway --database postgresql --schedules 50
        chaos --only kill_worker,wipe_redis
        chaos --list
    """

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--duration", type=float, default=60.0, metavar="S", help="seconds of faults (%(default)g)")
        parser.add_argument("--seed", type=int, help="seed of the plan; the same seed gives the same plan")
        parser.add_argument("--only", metavar="FAULT,...", help="only these faults, see --list")
        parser.add_argument("--every", type=float, metavar="S", help="average seconds between two faults")
        parser.add_argument("--at-once", type=int, default=AT_ONCE, help="concurrent runs (%(default)s)")
        parser.add_argument(
            "--schedules", type=int, default=0, metavar="N", help="also create N schedules, of all policies in turn"
        )
        parser.add_argument(
            "--patience",
            type=float,
            default=120.0,
            metavar="S",
            help="seconds that runs may take to end (%(default)g)",
        )
        parser.add_argument("--throwaway", action="store_true", help="use a new stack that is removed afterwards")
        parser.add_argument("--workers", type=int, default=2, help="workers of the throwaway stack (%(default)s)")
        parser.add_argument(
            "--database",
            choices=("sqlite", "postgresql"),
            default="sqlite",
            help="database of the throwaway stack (%(default)s)",
        )
        parser.add_argument("--keep", action="store_true", help="keep the folder of the throwaway stack")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation on your own stack")
        parser.add_argument("--list", action="store_true", help="list all faults")
        parser.add_argument("--in", dest="folder", help=argparse.SUPPRESS)
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        if options["list"]:
            self.print("\n".join(f"{name:20} {fault.text}" for name, fault in sorted(FAULTS.items())))
            return Exit.OK
        _check(options)
        signal.signal(signal.SIGTERM, _interrupt)  # so that frozen processes are thawed and the stack stops
        if options["folder"]:
            outcome = self._in_place(Path(options["folder"]), options)
        elif options["throwaway"]:
            _become_throwaway(options["database"])
        else:
            outcome = self._on_own_stack(options)
        if options["json"]:
            self.print_json(document(outcome))
        else:
            show(outcome, sys.stdout)
        return Exit.OK if outcome.holds else Exit.FAILED

    def _on_own_stack(self, options: dict[str, Any]) -> Outcome:
        var = Path(settings.VAR)
        if not status.current(status.Files(var))["up"]:
            raise WrongUse(f"Nothing is up in {var}. Start it with `manage.py up`, or use --throwaway.")
        if not options["yes"] and not _agrees(var):
            raise WrongUse("Not started. Use --yes to start without asking, or --throwaway for a separate stack.")
        return self._campaign(Stage(var, secrets.token_hex(4)), options)

    def _in_place(self, folder: Path, options: dict[str, Any]) -> Outcome:
        stack = Place(folder, workers=options["workers"], slots=SLOTS)
        outcome = None
        try:
            stack.start()
            echo(f"Started a throwaway stack in {folder}")
            outcome = self._campaign(Stage(folder / "var", secrets.token_hex(4), stack), options)
        except (PlaceFailed, ServerFailed, ServerMissing) as error:
            raise CommandError(str(error)) from error
        finally:
            stack.stop()
            catalog.rest()  # the catalog process of this command belongs to the stack, too
            survivors = stack.survivors()
            for process in survivors:
                process.kill()
            if options["keep"] or outcome is None or not outcome.holds:
                echo(f"Logs, journals and database are kept in {folder}")
            else:
                stack.remove()
        broken = [f"process {process.pid} outlived the stack" for process in survivors]
        outcome.invariants.append(Invariant("stopped", "no process outlives the stack", 1, broken))
        return outcome

    def _campaign(self, stage: Stage, options: dict[str, Any]) -> Outcome:
        faults = [name for name in (_names(options["only"]) or FAULTS) if FAULTS[name].fits(stage)]
        if not faults:
            raise WrongUse("None of these faults is possible on this stack.")
        seed = random.randrange(10**6) if options["seed"] is None else options["seed"]  # noqa: S311  # printed, so that it can be repeated
        requested = Options(
            duration_s=options["duration"],
            seed=seed,
            faults=tuple(faults),
            every_s=options["every"] or (EVERY_S if stage.place else EVERY_ON_OWN_S),
            at_once=options["at_once"],
            patience_s=options["patience"],
            schedules=options["schedules"],
        )
        echo(f"Seed {seed}, {requested.duration_s:g} s on {stage.database}")
        return Campaign(stage, requested, echo).run()


def _check(options: dict[str, Any]) -> None:
    """Validate the options. Raises WrongUse."""
    if settings.PRODUCTION:
        raise WrongUse("ATHANOR_PRODUCTION=1 is set. Chaos does not run in production.")
    if options["duration"] < SHORTEST_S or min(options["workers"], options["at_once"]) < 1 or options["schedules"] < 0:
        raise WrongUse(f"--duration must be at least {SHORTEST_S:g}, --workers and --at-once at least 1.")
    for name in _names(options["only"]):
        if name not in FAULTS:
            raise WrongUse(f"There is no fault {name!r}{did_you_mean(name, FAULTS)}. `chaos --list` shows them.")
    if options["throwaway"] and options["database"] == "postgresql":
        try:
            postgres_folder()
            if os.geteuid() == 0:
                unprivileged()
        except ServerMissing as error:
            raise WrongUse(str(error)) from error


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _names(only: str | None) -> Sequence[str]:
    return [name.strip() for name in (only or "").split(",") if name.strip()]


def _agrees(var: Path) -> bool:
    """Return whether the user at the terminal confirms."""
    if not sys.stdin.isatty():
        return False
    echo(f"This kills and freezes the processes of the stack in {var}, wipes its Redis and locks its database.")
    echo("Its runs survive that, unless Athanor has a fault. Pages will stall meanwhile.")
    return input("Continue? [y/N] ").strip().lower() in ("y", "yes")


def _become_throwaway(database: str) -> None:
    """Restart this command as a process with the settings of a new throwaway stack."""
    folder = place.new_folder()
    environ = place.environment(folder, database, os.environ)
    command = [sys.executable, "-m", "django", *sys.argv[1:], "--in", str(folder)]
    os.execve(command[0], command, environ)  # noqa: S606  # nosec B606  # no shell


def echo(text: str) -> None:
    """Write to stderr: stdout contains only the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
