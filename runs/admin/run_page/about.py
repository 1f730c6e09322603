"""Properties of a run on its page: how it was launched, its configuration and limits, and how to reproduce it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from experiments.catalog import masked
from runs import formatting
from runs.models import Attempt, Run


def facts(run: Run) -> list[tuple[str, str]]:
    """List properties of a run, without empty ones."""
    by = run.launched_by.get_username() if run.launched_by else ""
    properties = [
        ("Launched", formatting.date_time(run.created_at)),
        ("By", by),
        ("Via", formatting.via(run.launched_via)),
        ("Waited", formatting.duration(formatting.between(run.created_at, run.started_at)) if run.started_at else ""),
        ("Ran", formatting.duration(formatting.between(run.started_at, run.finished_at)) if run.finished_at else ""),
        ("Attempts", str(run.attempt)),
        ("Queue", f"{run.queue}, priority {run.priority}"),
        ("Seed", str(run.seed)),
        ("Scheduled for", formatting.date_time(run.slot)),
        ("Tags", ", ".join(run.tags)),
    ]
    return [(name, formatting.printable(value)) for name, value in properties if value]


def configuration(run: Run) -> str:
    return formatting.pretty(masked(run.experiment, run.configuration))


def limits(run: Run) -> list[tuple[str, str]]:
    """List the limits in force."""
    shown = run.effective_limits()
    steps = (
        f"interrupt after {shown.interrupt_after_s:g} s, SIGTERM {shown.cancel_grace_s:g} s later,"
        f" SIGKILL {shown.kill_grace_s:g} s after that"
    )
    return [
        ("Time", formatting.duration(shown.timeout_s) if shown.timeout_s else "no limit"),
        ("Silence", formatting.duration(shown.stall_timeout_s) if shown.stall_timeout_s else "no limit"),
        ("Memory", _memory_limit(run, shown.memory_limit_bytes)),
        ("Cancel", steps),
    ]


def _memory_limit(run: Run, own: int | None) -> str:
    """Format the run's own limit, or the default that its newest attempt was given."""
    if own:
        return formatting.size(own)
    default = run.attempts.order_by("-number").values_list("memory_limit_bytes", flat=True).first()
    return f"{formatting.size(default)}, the default of its worker" if default else "no limit of its own"


def command(run: Run, attempts: Sequence[Attempt]) -> str:
    """Return the shell command that reproduces the run."""
    provenance = attempts[-1].provenance if attempts else {}
    words = ["./manage.py launch_run", shlex.quote(run.experiment)]
    for key, value in masked(run.experiment, run.configuration).items():
        words.append(f"-c {shlex.quote(f'{key}={formatting.exact_json(value)}')}")
    lines = [" ".join([*words, f"--seed {run.seed}"])]
    if commit := provenance.get("git_commit"):
        lines.insert(
            0,
            f"git checkout {commit}" + ("  # plus uncommitted changes" * bool(provenance.get("git_dirty"))),
        )
    return formatting.printable("\n".join(lines))
