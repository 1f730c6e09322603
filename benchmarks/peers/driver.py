"""Process of one contestant: starts its workers, and measures on request.

It runs in the contestant's own environment. Requests and answers are lines of JSON on standard input and output:
`["first_line", 20]` calls `Contest.first_line(20)`. Started and stopped by `benchmarks.contestants`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, pss_mib, tree

STOP_S = 10.0


def main() -> None:
    queue, workers = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    module = importlib.import_module(f"benchmarks.peers.{queue}_")
    contest = Contest(module.Queue())
    try:
        with running(module.workers(workers) if workers else []) as pids:
            if workers:
                contest.warm_up()
            print(json.dumps({"ready": True}), file=answers, flush=True)
            for request in sys.stdin:
                print(json.dumps(answer(contest, pids, *json.loads(request))), file=answers, flush=True)
    finally:
        contest.box.close()


def answer(contest: Contest, pids: list[int], what: str, *values: Any) -> Any:
    """Measure; `memory` is that of the workers."""
    if what == "memory":
        return pss_mib(tree(pids))
    return getattr(contest, what)(*values)


@contextlib.contextmanager
def running(commands: list[list[str]]) -> Iterator[list[int]]:
    """Run the workers, with their output in a file."""
    path = Path(os.environ["BENCH_PEER_LOG"])
    with path.open("ab") as log:
        processes = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            for command in commands
        ]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
