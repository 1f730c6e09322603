"""What a campaign did and what held, for people and as JSON."""

from __future__ import annotations

from typing import IO, TypedDict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from athanor.chaos.campaign import Outcome
from athanor.chaos.faults import FAULTS
from athanor.chaos.invariants import Invariant

SHOWN = 5
"""Broken places of one invariant that are shown."""


class InvariantDocument(TypedDict):
    text: str
    holds: bool
    checked: int
    broken: list[str]


class Document(TypedDict):
    """What `chaos --json` prints."""

    holds: bool
    seed: int
    database: str
    duration_s: float
    calm_s: float
    faults: int
    done: dict[str, int]
    skipped: dict[str, dict[str, int]]
    runs: dict[str, int]
    attempts: int
    lines: int
    invariants: dict[str, InvariantDocument]


def document(outcome: Outcome) -> Document:
    return Document(
        holds=outcome.holds,
        seed=outcome.seed,
        database=outcome.database,
        duration_s=outcome.duration_s,
        calm_s=round(outcome.calm_s, 1),
        faults=outcome.done.total(),
        done=dict(sorted(outcome.done.items())),
        skipped={name: dict(reasons) for name, reasons in sorted(outcome.skipped.items())},
        runs=dict(outcome.runs),
        attempts=outcome.attempts,
        lines=outcome.lines,
        invariants={found.name: _invariant(found) for found in outcome.invariants},
    )


def _invariant(found: Invariant) -> InvariantDocument:
    return InvariantDocument(text=found.text, holds=found.holds, checked=found.checked, broken=found.broken)


def show(outcome: Outcome, stream: IO[str]) -> None:
    console = Console(file=stream, highlight=False)
    console.print(_faults(outcome))
    console.print(_invariants(outcome))
    runs = ", ".join(f"{count} {name}" for name, count in sorted(outcome.runs.items()))
    console.print(
        f"{outcome.done.total()} faults in {outcome.duration_s:g} s on {outcome.database} (seed {outcome.seed}); runs:"
        f" {runs or 'none'}; {outcome.attempts} attempts, {outcome.lines:,} lines; all ended {outcome.calm_s:.1f} s"
        " after the last fault."
    )
    console.print("Everything held." if outcome.holds else "[bold red]Something is broken.[/]")


def _faults(outcome: Outcome) -> Table:
    table = Table("fault", "what was done", "done", "not possible", title="Faults")
    for name in sorted({*outcome.done, *outcome.skipped}):
        skipped = outcome.skipped.get(name)
        table.add_row(name, FAULTS[name].text, str(outcome.done[name]), str(skipped.total()) if skipped else "")
    return table


def _invariants(outcome: Outcome) -> Table:
    table = Table("what must hold", "looked at", "", title="Invariants")
    for found in outcome.invariants:
        shown = [escape(text) for text in found.broken[:SHOWN]]
        if len(found.broken) > SHOWN:
            shown.append(f"… and {len(found.broken) - SHOWN} more")
        held = "[green]held[/]" if found.holds else "\n".join([f"[red]broken {len(found.broken)} times[/]", *shown])
        table.add_row(found.text, f"{found.checked:,}", held)
    return table
