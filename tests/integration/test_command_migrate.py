"""`migrate` on a machine where nothing exists yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def migrate(var: Path) -> subprocess.CompletedProcess[str]:
    environ = {"ATHANOR_VAR": str(var), "ATHANOR_SECRET_KEY": "for this test", "PATH": os.environ["PATH"]}
    command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity=0", "contenttypes"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_it_creates_the_folder_of_the_database(tmp_path: Path) -> None:
    done = migrate(tmp_path / "deep" / "var")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "deep" / "var" / "db.sqlite3").stat().st_size


def test_a_folder_that_cannot_be_created_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = migrate(tmp_path / "file" / "var")
    assert done.returncode == 1
    assert done.stderr.startswith(f"CommandError: Cannot create the database {tmp_path}/file/var/")
    assert "Traceback" not in done.stderr
