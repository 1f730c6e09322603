"""Tell of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from runs import presenting
from runs.documents import AttemptDocument, RunDocument, run_document
from runs.management.base import Exit, RunsCommand, add_json, find_run
from runs.management.screens import status_text

SHOWN_RESULTS = 20


class Command(RunsCommand):
    help = "Tell of a run: its status and why, configuration, progress, results, artifacts and attempts."
    examples = """
show_run 42
show_run 42 --json | jq .status
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", metavar="ID", type=int)
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        run = find_run(options["run"])
        document = run_document(run)
        if options["json"]:
            self.print_json(document)
            return Exit.OK
        self.print(status_text(run))
        for line in details(document):
            self.print(presenting.printable(line))
        return Exit.OK


def details(run: RunDocument) -> Iterator[str]:
    """The document as lines for people."""
    yield f"  experiment     {run['experiment']}" + (f" (instance {run['instance']})" if run["instance"] else "")
    by = run["launched_by"] or "nobody by name"
    yield f"  launched       {run['created_at']} by {by}, from {run['launched_via']}"
    yield f"  configuration  {compact(run['configuration'])}"
    yield f"  seed           {run['seed']}"
    if run["progress"]:
        progress = run["progress"]
        done = presenting.percent(progress["fraction"])
        words = presenting.progress_words(progress["current"], progress["total"], progress["message"])
        yield f"  progress       {done} {words}"
    yield f"  lines          {presenting.completeness(run['lines']['stored'], run['lines']['emitted'])}"
    if run["summary"] is not None:
        yield f"  summary        {compact(run['summary'])}"
    for result in run["results"][:SHOWN_RESULTS]:
        step = "" if result["step"] is None else f" [{result['step']}]"
        yield f"  {result['kind']:<13}  {result['key']}{step} = {compact(result['value'])}"
    if len(run["results"]) > SHOWN_RESULTS:
        yield f"  …              `export_results {run['id']}` has all {run['results_count']['stored']:,} results"
    for artifact in run["artifacts"]:
        about = f"{artifact['content_type']}, {presenting.size(artifact['size_bytes'])}"
        yield f"  artifact       {artifact['name']} ({about})"
    for attempt in run["attempts"]:
        yield from attempt_details(attempt)


def attempt_details(attempt: AttemptDocument) -> Iterator[str]:
    ended = attempt["end"] or "under way"
    how = [presenting.signal_name(attempt["signal"])] if attempt["signal"] else []
    how += [f"exit status {attempt['exit_status']}"] if attempt["exit_status"] is not None else []
    how += [f"ended by {attempt['ended_by']}"] if attempt["ended_by"] else []
    where = f"worker {attempt['worker'] or '?'}, pid {attempt['pid']}"
    yield f"  attempt {attempt['number']}      {', '.join((ended, *how))}; {where}"
    usage = (
        f"{presenting.size(attempt['peak_memory_bytes'])} at most, {presenting.duration(attempt['cpu_seconds'])} of CPU"
    )
    yield f"                 {attempt['claimed_at']} to {attempt['finished_at'] or 'now'}; {usage}"
    yield from (f"    {line}" for line in attempt["traceback"].splitlines())


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
