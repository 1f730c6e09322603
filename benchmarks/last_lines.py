"""Time to read the last 1,000 lines of a run of a million, as the run's page reads them.

    python -m benchmarks.last_lines [--rounds 7] [--lines 1000000] [--database postgresql]

Beside it the end of a plain file with as many lines. `benchmarks.growth` measures longer runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import rows, work
from benchmarks.figures import Beside, Report, at_most
from benchmarks.ground import arguments, ground

PAGE = 1000
FROM_END_BYTES = 200 * PAGE


def main() -> None:
    options = arguments(__doc__, database="postgresql", rounds=7, lines=1_000_000)
    report = Report(f"last_lines-{options.database}", **vars(options))
    with ground(options.database) as place:
        from django.db import connection

        run_id, path = rows.new_run(), place.folder / "lines.log"
        (rows.copy if options.database == "postgresql" else rows.executemany)(run_id, options.lines)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        path.write_text("".join(f"{work.line(number)}\n" for number in range(1, options.lines + 1)))
        ours, file = [], []
        for _ in range(options.rounds):
            ours.append(ms(lambda: stored(run_id, options.lines)))
            file.append(ms(lambda: in_file(path, options.lines)))
    beside = Beside("the end of a file", file)
    report.add(f"last {PAGE:,} of {options.lines:,} lines", "ms", ours, beside=beside, target=at_most(5))
    report.finish()


def stored(run_id: int, last: int) -> None:
    from runs.lines import reading

    lines = reading.before(run_id, limit=PAGE)
    assert lines[-1].seq == last
    assert len(lines) == PAGE


def in_file(path: Path, last: int) -> None:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - FROM_END_BYTES))
        lines = file.read().decode().splitlines()[-PAGE:]
    assert lines[-1] == work.line(last)
    assert len(lines) == PAGE


def ms(read: Callable[[], None]) -> float:
    began = time.perf_counter()
    read()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
