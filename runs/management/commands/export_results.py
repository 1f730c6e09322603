"""Write the results and metrics of runs as JSON, CSV or Parquet."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from experiments import umask
from runs import audit
from runs.management import exporting
from runs.management.base import Exit, RunsCommand, WrongUse, find_run
from runs.states import Act, ResultKind


class Command(RunsCommand):
    help = (
        "Write all results and metrics of runs, in order, as one JSON array, as CSV or as Parquet."
        ' In JSON, NaN and infinities are {"$float": "nan"}, "inf" and "-inf". In CSV they are nan, inf and -inf,'
        " and values other than numbers and texts are JSON. A text that a spreadsheet would take for a formula"
        " (it begins with =, +, -, @, a tab or a carriage return) gets an apostrophe in front, as does a text that"
        " begins with an apostrophe."
    )
    examples = """
export_results 42 > results.json
export_results 42 43 --format csv --output results.csv
export_results 42 --kind metric --key loss --format parquet > loss.parquet
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("runs", metavar="ID", type=int, nargs="+")
        parser.add_argument("--format", choices=("json", "csv", "parquet"), default="json", help="default: json")
        parser.add_argument("--output", metavar="FILE", type=Path, help="default: stdout")
        parser.add_argument("--kind", choices=ResultKind.values, default="", help="only results, or only metrics")
        parser.add_argument("--key", default="", help="only results and metrics with this key")

    def answer(self, options: dict[str, Any]) -> Exit:
        for run_id in options["runs"]:
            find_run(run_id)
        runs = {"runs": options["runs"][: audit.NAMED_MAX], "format": options["format"]}
        audit.record(Act.EXPORT, kind="run", count=len(options["runs"]), **runs)
        rows = exporting.rows(options["runs"], kind=options["kind"], key=options["key"])
        output: Path | None = options["output"]
        if options["format"] == "parquet":
            if output is None and self.stdout.isatty():
                raise WrongUse("Parquet is binary: name a file with --output, or redirect stdout.")
            self._written(output, lambda: exporting.write_parquet(rows, output or sys.stdout.buffer))
        elif output is None:
            exporting.WRITERS[options["format"]](rows, self.stdout)
        else:
            self._written(output, lambda: exporting.write_text(rows, output, options["format"]))
        return Exit.OK

    def _written(self, output: Path | None, write: Callable[[], None]) -> None:
        try:
            with umask.inherited():
                write()
        except exporting.NoParquet as error:
            raise CommandError(str(error)) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            raise WrongUse(f"Cannot write {output}: {error.strerror}") from error
