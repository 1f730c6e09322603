"""Export results batch by batch, in bounded memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from django.db.models import Q

from experiments.jsonvalues import unpack
from runs import formatting
from runs.models import Result
from runs.serializers import iso, result_value

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
    """Yield one mapping (COLUMNS) for each result of the runs, in order, read page by page by primary key."""
    for run_id in run_ids:
        results = Result.objects.filter(run_id=run_id).order_by("attempt", "seq")
        results = results.filter(kind=kind) if kind else results
        results = results.filter(key=key) if key else results
        page = list(results[:BATCH])
        while page:
            yield from (row(result) for result in page)
            last = page[-1]
            page = list(results.filter(Q(attempt=last.attempt, seq__gt=last.seq) | Q(attempt__gt=last.attempt))[:BATCH])


def row(result: Result) -> dict[str, Any]:
    return {
        "run": result.run_id,
        "attempt": result.attempt,
        "seq": result.seq,
        "time": iso(result.time),
        "kind": result.kind,
        "key": result.key,
        "step": result.step,
        "value": result_value(result),
    }


def write_json(results: Iterable[dict[str, Any]], out: Writes) -> None:
    """Write one array, with one result per line."""
    out.write("[\n")
    pending = ""
    for result in results:
        if pending:
            out.write(f"{pending},\n")
        pending = formatting.json_text(result)
    out.write(f"{pending}\n]\n" if pending else "]\n")


def write_csv(results: Iterable[dict[str, Any]], out: Writes) -> None:
    """Write CSV as in RFC 4180. Numbers (also nan and inf) and texts are written as such, anything else as JSON;
    texts go through `formatting.csv_cell`.
    """
    writer = csv.writer(out, lineterminator="\r\n")  # the writer quotes only characters that end a line
    writer.writerow(COLUMNS)
    for result in results:
        cells = [plain(result[column]) for column in COLUMNS[:-1]]
        writer.writerow([*cells, value_cell(result["value"])])


def plain(value: Any) -> Any:
    return formatting.csv_cell(value) if isinstance(value, str) else value


def value_cell(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"$float"}:
        return value["$float"]
    if isinstance(value, dict | list | bool) or value is None:
        return json.dumps(value, ensure_ascii=False)
    return plain(value)


WRITERS: dict[str, Callable[[Iterable[dict[str, Any]], Writes], None]] = {"json": write_json, "csv": write_csv}


def write_text(results: Iterable[dict[str, Any]], path: Path, form: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        WRITERS[form](results, out)


def write_parquet(results: Iterable[dict[str, Any]], sink: Path | BinaryIO) -> None:
    """Write COLUMNS, but `number` has values that a float holds exactly, and `value` the JSON of all others."""
    try:
        import pyarrow as pa  # optional, and slow to import
        import pyarrow.parquet as pq
    except ImportError as error:
        raise NoParquet from error

    whole, text = pa.int64(), pa.string()
    types = {"run": whole, "attempt": pa.int32(), "seq": whole, "time": text, "kind": text, "key": text, "step": whole}
    schema = pa.schema([*types.items(), ("number", pa.float64()), ("value", text)])
    iterator = iter(results)
    with pq.ParquetWriter(sink, schema) as writer:
        while batch := [_typed(result) for result in islice(iterator, BATCH)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def _typed(result: dict[str, Any]) -> dict[str, Any]:
    number = _exact_float(result["value"])
    return result | {
        "number": number,
        "value": json.dumps(result["value"], ensure_ascii=False) if number is None else None,
    }


def _exact_float(value: Any) -> float | None:
    """Return a number as a float; None for other values, and for integers that no float holds exactly."""
    value = unpack(value)
    if isinstance(value, float):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    try:
        return float(value) if int(float(value)) == value else None
    except OverflowError:
        return None
