"""A group of shell commands or Python code, as a program for tests to signal: `group_program.py FOLDER ROLES.json`."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

from athanor.up import status
from athanor.up.group import Group, StartFailed
from athanor.up.process import Role
from athanor.up.signals import Signals


def execute(code: str) -> int:
    exec(code, {"__name__": "program"})
    return 0


def main(folder: Path, described: list[dict[str, object]]) -> int:
    files = status.Files(folder)
    roles = [
        Role(
            str(each["name"]),
            ("/bin/sh", "-c", str(each.get("script", "exit 9"))),
            partial(execute, str(each["python"])) if "python" in each else None,
            rank=int(str(each.get("rank", 0))),
            gate=bool(each.get("gate")),
            stop_timeout_s=float(str(each.get("stop_timeout_s", 5))),
            ready=(folder / str(each["ready"])).exists if "ready" in each else lambda: True,
        )
        for each in described
    ]
    with status.acquire(files), Signals() as signals:
        print("orphans", status.kill_orphans(files), flush=True)
        publisher = status.Publisher(files, "")
        group = Group(roles, folder, signals, echo=lambda text: print(text, flush=True), publish=publisher)
        try:
            if group.start():
                print("up", flush=True)
                group.run()
        except StartFailed as error:
            print(error, flush=True)
            return 1
        finally:
            group.stop()
            publisher.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())))
