"""Report of a campaign, as text and as JSON."""

from __future__ import annotations

from typing import IO, TypedDict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from athanor.chaos.campaign import Outcome
from athanor.chaos.faults import FAULTS
from athanor.chaos.invariants import Invariant

SHOWN = 5
"""Number of failures shown per invariant."""


class InvariantDocument(TypedDict):
    text: str
    holds: bool
    checked: int
    broken: list[str]


class Document(TypedDict):
    """Output of `chaos --json`."""

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
        invariants={invariant.name: _invariant(invariant) for invariant in outcome.invariants},
    )


def _invariant(invariant: Invariant) -> InvariantDocument:
    return InvariantDocument(
        text=invariant.text, holds=invariant.holds, checked=invariant.checked, broken=invariant.broken
    )


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
    console.print("All invariants hold." if outcome.holds else "[bold red]An invariant is broken.[/]")


def _faults(outcome: Outcome) -> Table:
    table = Table("fault", "description", "done", "skipped", title="Faults")
    for name in sorted({*outcome.done, *outcome.skipped}):
        skipped = outcome.skipped.get(name)
        table.add_row(name, FAULTS[name].text, str(outcome.done[name]), str(skipped.total()) if skipped else "")
    return table


def _invariants(outcome: Outcome) -> Table:
    table = Table("invariant", "checked", "result", title="Invariants")
    for invariant in outcome.invariants:
        texts = [escape(text) for text in invariant.broken[:SHOWN]]
        if len(invariant.broken) > SHOWN:
            texts.append(f"… and {len(invariant.broken) - SHOWN} more")
        result = (
            "[green]holds[/]"
            if invariant.holds
            else "\n".join([f"[red]broken {len(invariant.broken)} times[/]", *texts])
        )
        table.add_row(invariant.text, f"{invariant.checked:,}", result)
    return table
