"""Print the log of a run."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from runs import formatting, parsing
from runs.lines import reading
from runs.lines.reading import Follower, Place, Wanted
from runs.lines.records import Line
from runs.management.base import Exit, RunsCommand, add_json, find_run
from runs.management.screens import Plain, line_text
from runs.management.watching import Left, Watcher
from runs.serializers import line_document
from runs.states import Source


class Command(RunsCommand):
    help = "Print the log of a run, in order. --follow ends when the run has ended and every line was printed."
    examples = """
tail_run 42 --follow
tail_run 42 --since 1500 --level warning
tail_run 42 --last 100
tail_run 42 --json | jq -r .message
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", metavar="ID", type=int)
        parser.add_argument("-f", "--follow", action="store_true", help="print new lines until the run has ended")
        parser.add_argument(
            "--since",
            metavar="SEQ",
            type=parsing.place,
            help="only lines after this one: 500, or 2.500 for line 500 of attempt 2",
        )
        parser.add_argument("--last", metavar="N", type=int, help="begin with the last N lines")
        parser.add_argument(
            "--level", type=parsing.level, default=0, help="this level and above: debug, info, warning, error"
        )
        parser.add_argument("--source", choices=Source.values, default="", help="only lines from this source")
        add_json(parser)

    def answer(self, options: dict[str, Any]) -> Exit:
        run = find_run(options["run"])
        wanted = Wanted(level=options["level"], source=options["source"])
        render = line_json if options["json"] else line_text
        start: Place = options["since"] or reading.START
        if options["last"] is not None:
            last = reading.before(run.pk, None, wanted, limit=max(options["last"], 1))
            start = max(start, Place(last[0].attempt, last[0].seq - 1)) if last else start
        if not options["follow"]:
            for line in reading.every(run.pk, start, wanted):
                self.print(render(line))
            return Exit.OK
        screen = Plain(self.stdout, render=render, lines_only=True)
        try:
            Watcher(run.pk, screen, follower=Follower(run.pk, seen=seen(start), wanted=wanted)).watch(lambda: False)
        except Left:
            return Exit.INTERRUPTED
        return Exit.OK


def line_json(line: Line) -> str:
    return formatting.json_text(line_document(line))


def seen(start: Place) -> dict[int, int]:
    """Build the state of a follower that has read every line up to `start`."""
    return dict.fromkeys(range(1, start.attempt), 2**63 - 1) | {start.attempt: start.seq}
