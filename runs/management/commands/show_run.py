"""Show a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from runs import formatting, services
from runs.management.base import Exit, RunsCommand, add_json, find_run
from runs.management.results import result_lines
from runs.management.screens import status_text
from runs.recovery import failure_report
from runs.serializers import AttemptDocument, RunDocument, run_document

SHOWN_LINES = 10
"""Last log lines shown of a failed attempt; --json has them all."""


class Command(RunsCommand):
    help = "Show a run: status, configuration, progress, results, artifacts and attempts."
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
            help="show the Python stack traces and processes of a running run; the run continues",
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
    """Format the document as lines of text."""
    yield f"  experiment     {run['experiment']}" + (f" (instance {run['instance']})" if run["instance"] else "")
    by = f" by {run['launched_by']}" if run["launched_by"] else ""
    yield f"  launched       {run['created_at']}{by} from {formatting.via(run['launched_via'])}"
    if run["slot"]:
        yield f"  scheduled for  {run['slot']}" + (f" by schedule {run['schedule']}" if run["schedule"] else "")
    yield f"  configuration  {compact(run['configuration'])}"
    yield f"  seed           {run['seed']}"
    if run["progress"]:
        progress = run["progress"]
        done = formatting.percent(progress["fraction"])
        words = formatting.progress_words(progress["current"], progress["total"], progress["message"])
        yield f"  progress       {done} {words}"
    yield f"  log            {formatting.completeness(run['lines']['stored'], run['lines']['emitted'])}"
    if run["summary"] is not None:
        yield f"  summary        {compact(run['summary'])}"
    yield from result_lines(run["id"], run["results_count"]["stored"])
    for artifact in run["artifacts"]:
        about = f"{artifact['content_type']}, {formatting.size(artifact['size_bytes'])}"
        yield f"  artifact       {artifact['name']} ({about})"
    for attempt in run["attempts"]:
        yield from attempt_details(attempt)


def attempt_details(attempt: AttemptDocument) -> Iterator[str]:
    ended = attempt["end"] or "running"
    how = [formatting.signal_name(attempt["signal"])] if attempt["signal"] else []
    how += [f"exit status {attempt['exit_status']}"] if attempt["exit_status"] is not None else []
    how += [f"ended by {attempt['ended_by']}"] if attempt["ended_by"] else []
    where = f"worker {attempt['worker'] or '?'}, pid {attempt['pid']}"
    yield f"  attempt {attempt['number']}      {', '.join((ended, *how))}; {where}"
    peak, cpu = formatting.size(attempt["peak_memory_bytes"]), formatting.duration(attempt["cpu_seconds"])
    usage = f"peak memory {peak}, CPU {cpu}"
    yield f"                 {attempt['claimed_at']} to {attempt['finished_at'] or 'now'}; {usage}"
    yield f"                 {formatting.start(attempt['restored'])}"
    if start := attempt["provenance"].get("start"):
        yield f"                 process start: {start}"
    if gaps := formatting.missing(attempt["missing_lines"]):
        yield f"                 {gaps}"
    yield from (f"    {line}" for line in attempt["traceback"].splitlines())
    if certificate := attempt["certificate"]:
        yield from certificate_details(certificate)


def certificate_details(certificate: dict[str, Any]) -> Iterator[str]:
    """Format a failure report: sentences, the last log lines, processes and stack traces."""
    yield from (f"    {sentence}" for sentence in failure_report.sentences(certificate))
    if lines := certificate.get("last_lines"):
        yield "    last log lines:"
        yield from (f"      {line['seq']:>6}  {line['message']}" for line in lines[-SHOWN_LINES:])
    if processes := certificate.get("processes"):
        yield "    processes:"
        yield from (f"      {line}" for line in failure_report.processes(processes))
    if stacks := certificate.get("stacks"):
        yield "    stack traces:"
        yield from (f"      {line}" for line in stacks.splitlines())


def whereabouts(run: RunDocument, answered: bool) -> Iterator[str]:
    """Format the newest stack traces, and say if they are not current."""
    inspections = [attempt["inspection"] for attempt in run["attempts"] if attempt["inspection"]]
    if not answered:
        yield f"No stack trace of run {run['id']}: it is not running, or its worker did not respond in time."
    if inspections:
        newest = inspections[-1]
        yield f"Stack trace captured at {newest['at']} ({newest['why']}):"
        yield from (f"  {line}" for line in failure_report.processes(newest["processes"]))
        yield from (
            f"  {line}"
            for line in (newest["stacks"] or "The process did not write its stack traces in time.").splitlines()
        )


def compact(value: Any) -> str:
    return formatting.pretty(value, indent=None)
