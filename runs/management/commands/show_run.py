"""Tell of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from runs import formatting, services
from runs.management.base import Exit, RunsCommand, add_json, find_run
from runs.management.screens import status_text
from runs.recovery import failure_report
from runs.serializers import AttemptDocument, RunDocument, run_document

SHOWN_RESULTS = 20
SHOWN_LINES = 10
"""Of those that an attempt which ended badly keeps; --json has them all."""


class Command(RunsCommand):
    help = "Tell of a run: its status and why, configuration, progress, results, artifacts and attempts."
    examples = """
show_run 42
show_run 42 --json | jq .status
show_run 42 --stack
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", metavar="ID", type=int)
        parser.add_argument(
            "--stack",
            action="store_true",
            help="where it is right now: Python stacks and processes; it goes on meanwhile",
        )
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        run = find_run(options["run"])
        answered = services.inspect(run.pk) is not None if options["stack"] else False
        document = run_document(run)
        if options["json"]:
            self.print_json(document)
            return Exit.OK
        self.print(status_text(run))
        for line in details(document):
            self.print(formatting.printable(line))
        if options["stack"]:
            self.print("\n".join(formatting.printable(line) for line in whereabouts(document, answered)))
        return Exit.OK if answered or not options["stack"] else Exit.FAILED


def details(run: RunDocument) -> Iterator[str]:
    """The document as lines for people."""
    yield f"  experiment     {run['experiment']}" + (f" (instance {run['instance']})" if run["instance"] else "")
    by = run["launched_by"] or "nobody by name"
    yield f"  launched       {run['created_at']} by {by}, from {run['launched_via']}"
    if run["slot"]:
        yield f"  for the slot   {run['slot']}" + (f" of schedule {run['schedule']}" if run["schedule"] else "")
    yield f"  configuration  {compact(run['configuration'])}"
    yield f"  seed           {run['seed']}"
    if run["progress"]:
        progress = run["progress"]
        done = formatting.percent(progress["fraction"])
        words = formatting.progress_words(progress["current"], progress["total"], progress["message"])
        yield f"  progress       {done} {words}"
    yield f"  lines          {formatting.completeness(run['lines']['stored'], run['lines']['emitted'])}"
    if run["summary"] is not None:
        yield f"  summary        {compact(run['summary'])}"
    for result in run["results"][:SHOWN_RESULTS]:
        step = "" if result["step"] is None else f" [{result['step']}]"
        yield f"  {result['kind']:<13}  {result['key']}{step} = {compact(result['value'])}"
    if len(run["results"]) > SHOWN_RESULTS:
        yield f"  …              `export_results {run['id']}` has all {run['results_count']['stored']:,} results"
    for artifact in run["artifacts"]:
        about = f"{artifact['content_type']}, {formatting.size(artifact['size_bytes'])}"
        yield f"  artifact       {artifact['name']} ({about})"
    for attempt in run["attempts"]:
        yield from attempt_details(attempt)


def attempt_details(attempt: AttemptDocument) -> Iterator[str]:
    ended = attempt["end"] or "under way"
    how = [formatting.signal_name(attempt["signal"])] if attempt["signal"] else []
    how += [f"exit status {attempt['exit_status']}"] if attempt["exit_status"] is not None else []
    how += [f"ended by {attempt['ended_by']}"] if attempt["ended_by"] else []
    where = f"worker {attempt['worker'] or '?'}, pid {attempt['pid']}"
    yield f"  attempt {attempt['number']}      {', '.join((ended, *how))}; {where}"
    usage = (
        f"{formatting.size(attempt['peak_memory_bytes'])} at most, {formatting.duration(attempt['cpu_seconds'])} of CPU"
    )
    yield f"                 {attempt['claimed_at']} to {attempt['finished_at'] or 'now'}; {usage}"
    yield f"                 {formatting.start(attempt['restored'])}"
    if gaps := formatting.missing(attempt["missing_lines"]):
        yield f"                 {gaps}"
    yield from (f"    {line}" for line in attempt["traceback"].splitlines())
    if certificate := attempt["certificate"]:
        yield from certificate_details(certificate)


def certificate_details(certificate: dict[str, Any]) -> Iterator[str]:
    """What was known at a bad end: in words, then the last lines and the stacks."""
    yield from (f"    {word}" for word in failure_report.words(certificate))
    if lines := certificate.get("last_lines"):
        yield "    its last lines:"
        yield from (f"      {line['seq']:>6}  {line['message']}" for line in lines[-SHOWN_LINES:])
    if processes := certificate.get("processes"):
        yield "    its processes:"
        yield from (f"      {line}" for line in failure_report.processes(processes))
    if stacks := certificate.get("stacks"):
        yield "    its stacks:"
        yield from (f"      {line}" for line in stacks.splitlines())


def whereabouts(run: RunDocument, answered: bool) -> Iterator[str]:
    """The last look at it, and whether that is of now."""
    seen = [attempt["inspection"] for attempt in run["attempts"] if attempt["inspection"]]
    if not answered:
        yield f"Run {run['id']} did not say where it is now: it is not being executed, or its worker does not answer."
    if seen:
        yield f"Looked at {seen[-1]['at']} ({seen[-1]['why']}):"
        yield from (f"  {line}" for line in failure_report.processes(seen[-1]["processes"]))
        yield from (f"  {line}" for line in (seen[-1]["stacks"] or "It wrote no stacks in time.").splitlines())


def compact(value: Any) -> str:
    return formatting.pretty(value, indent=None)
