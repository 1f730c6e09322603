"""Run the benchmarks one after another, then print their figures as a Markdown table.

    python -m benchmarks [--peers] [--long] [--only first_line,lines]

Without options: each figure of the README, in a few minutes. `--peers` measures RQ and Celery beside Athanor
(`make bench-peers` installs them first); `--long` adds what takes many minutes: growth, big lists, recovery, many open
pages. A script that fails does not stop the others; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from benchmarks import report
from benchmarks.scripts import SCRIPTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", default="", help="names of scripts, separated by commas")
    options = parser.parse_args()
    only = [name for name in options.only.split(",") if name]
    if unknown := set(only) - {script.name for script in SCRIPTS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}. Scripts: {', '.join(s.name for s in SCRIPTS)}.")
    failed = []
    for script in SCRIPTS:
        if script.name in only or (not only and (options.long or not script.is_long)):
            for command in script.commands(peers=options.peers):
                print(f"== {' '.join(command[1:])}", flush=True)
                failed += [script.name] if subprocess.run(command, check=False).returncode else []
    report.main()
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
