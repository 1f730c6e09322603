"""Writing results out, a batch at a time: bounded memory, however many there are."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from django.db.models import Q

from runs.models import Result
from runs.serializers import iso

BATCH = 5_000
COLUMNS = ("run", "attempt", "seq", "time", "kind", "key", "step", "value")


class Writes(Protocol):
    def write(self, text: str, /) -> Any: ...


class NoParquet(Exception):
    """Parquet needs pyarrow."""

    def __init__(self) -> None:
        super().__init__(
            "Parquet needs the package pyarrow, which is not installed."
            " Install it (`pip install pyarrow`), or export as json or csv."
        )


def rows(run_ids: Sequence[int], *, kind: str = "", key: str = "") -> Iterator[dict[str, Any]]:
    """One mapping (COLUMNS) for each result of the runs, in order, found by the primary key page by page."""
    for run_id in run_ids:
        wanted = Result.objects.filter(run_id=run_id).order_by("attempt", "seq")
        wanted = wanted.filter(kind=kind) if kind else wanted
        wanted = wanted.filter(key=key) if key else wanted
        page = list(wanted[:BATCH])
        while page:
            yield from (row(result) for result in page)
            last = page[-1]
            page = list(wanted.filter(Q(attempt=last.attempt, seq__gt=last.seq) | Q(attempt__gt=last.attempt))[:BATCH])


def row(result: Result) -> dict[str, Any]:
    return {
        "run": result.run_id,
        "attempt": result.attempt,
        "seq": result.seq,
        "time": iso(result.time),
        "kind": result.kind,
        "key": result.key,
        "step": result.step,
        "value": result.value if result.number is None else result.number,
    }


def write_json(found: Iterable[dict[str, Any]], out: Writes) -> None:
    """One array, one result a line."""
    out.write("[\n")
    pending = ""
    for result in found:
        if pending:
            out.write(f"{pending},\n")
        pending = json.dumps(result, ensure_ascii=False)
    out.write(f"{pending}\n]\n" if pending else "]\n")


def write_csv(found: Iterable[dict[str, Any]], out: Writes) -> None:
    """Values that are neither numbers nor texts are written as JSON. A text that a spreadsheet would take for a formula
    is written as it is: this is data, to be read back as such."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in found:
        writer.writerow([plain(result[column]) for column in COLUMNS])


def plain(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value


WRITERS: dict[str, Callable[[Iterable[dict[str, Any]], Writes], None]] = {"json": write_json, "csv": write_csv}


def write_text(found: Iterable[dict[str, Any]], path: Path, form: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        WRITERS[form](found, out)


def write_parquet(found: Iterable[dict[str, Any]], sink: Path | BinaryIO) -> None:
    """Columns as in COLUMNS, but `number` for what is a number, and `value` with the JSON of anything else."""
    try:
        import pyarrow as pa  # optional, and slow to import
        import pyarrow.parquet as pq
    except ImportError as error:
        raise NoParquet from error

    whole, text = pa.int64(), pa.string()
    types = {"run": whole, "attempt": pa.int32(), "seq": whole, "time": text, "kind": text, "key": text, "step": whole}
    schema = pa.schema([*types.items(), ("number", pa.float64()), ("value", text)])
    iterator = iter(found)
    with pq.ParquetWriter(sink, schema) as writer:
        while batch := [_typed(result) for result in islice(iterator, BATCH)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def _typed(result: dict[str, Any]) -> dict[str, Any]:
    value = result["value"]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return result | {
        "number": float(value) if is_number else None,
        "value": None if is_number else json.dumps(value, ensure_ascii=False),
    }
