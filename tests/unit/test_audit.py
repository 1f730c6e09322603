"""`make audit`: a known vulnerability fails it, an unreachable database does not, and is not taken for an audit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.any_database

AUDIT = Path(__file__).parents[2] / ".ci" / "audit"
FLAW = {"id": "PYSEC-1", "fix_versions": ["2.0"], "description": "Bad."}
SKIPPED = {"name": "other", "skip_reason": "Dependency not found on PyPI and could not be audited: other (1.0)"}


def found(*flaws: Any) -> dict[str, Any]:
    return {"name": "kombu", "version": "1.0", "vulns": list(flaws)}


NO_DATABASE = "NOT AUDITED"
REFUSED = "requests.exceptions.ConnectionError: Max retries exceeded with url: /pypi/amqp/json"
FEED = "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed"


@pytest.mark.parametrize(
    ("packages", "error", "status", "expected"),
    [
        ([found()], "", 0, "Audited 1 packages: 0 known"),
        ([found(FLAW)], "Found 1 known vulnerability", 1, "kombu 1.0: PYSEC-1, fixed in 2.0. Bad."),
        ([found(FLAW), SKIPPED], "", 1, "Not audited: Dependency not found on PyPI"),
        ([found(), SKIPPED], "", 0, "Not audited: Dependency not found on PyPI"),
        ([SKIPPED], "No known vulnerabilities found", 0, NO_DATABASE),
        (None, f"{FEED}\nERROR: Tip: your network may be blocking this service", 0, NO_DATABASE),
        (None, f"Traceback\n{REFUSED}", 0, NO_DATABASE),
        (None, "ERROR: invalid requirements input: requirements.txt", 2, "pip-audit failed"),
        (None, "", 2, "pip-audit failed"),
    ],
)
def test_a_finding_fails_and_an_unreachable_database_is_reported(
    packages: list[Any] | None, error: str, status: int, expected: str, tmp_path: Path
) -> None:
    answer = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    stub, pins = tmp_path / "pip-audit", tmp_path / "requirements.txt"
    stub.write_text(f"#!/bin/sh\nprintf '%s' '{answer}'\ncat >&2 <<'END'\n{error}\nEND\nexit {status}\n")
    stub.chmod(0o755)
    pins.write_text("kombu==1.0 \\\n    --hash=sha256:00\nOther==2.0 ; python_version < '3.12'\n")
    audit = subprocess.run([sys.executable, AUDIT, stub, pins], capture_output=True, text=True, check=False)
    assert (audit.returncode, expected in audit.stdout + audit.stderr) == (status, True), audit
    if expected == NO_DATABASE:
        assert audit.stdout.endswith(": 2 packages\n  kombu==1.0\n  Other==2.0\n")


def test_each_exception_of_bandit_has_its_reason() -> None:
    folders = [AUDIT.parents[1] / name for name in ("athanor", "experiments", "runs")]
    lines = [line for folder in folders for file in folder.rglob("*.py") for line in file.read_text().splitlines()]
    excepted = [line for line in lines if "# nosec" in line]
    assert excepted
    assert [line for line in excepted if not line.partition("# nosec B")[2][3:].startswith("  # ")] == []
