"""Byte code that is kept for experiments where Python keeps none. Each import is in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMPORTED = """
import builtins, sys
from pathlib import Path
from runs.child import bytecode
bytecode.install(Path(sys.argv[1]))
sys.path.append(sys.argv[2])
import subject
import package_of_subject.inner as inner
print(subject.VALUE, inner.VALUE, subject.__file__, subject.__loader__.get_source("subject").strip())
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    (folder / "package_of_subject").mkdir(parents=True)
    (folder / "package_of_subject" / "__init__.py").write_text("")
    (folder / "package_of_subject" / "inner.py").write_text("VALUE = 'inner'")
    (folder / "subject.py").write_text("VALUE = 1")
    return folder


def imported(sources: Path, kept: Path, *, writes: bool = False) -> list[str]:
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "" if writes else "1"}
    command = [sys.executable, "-c", IMPORTED, str(kept), str(sources)]
    process = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    return process.stdout.split()


def test_the_second_import_uses_what_the_first_one_kept(sources: Path, tmp_path: Path) -> None:
    first = imported(sources, tmp_path / "kept")
    kept = {file: file.read_bytes() for file in (tmp_path / "kept").iterdir()}

    assert len(kept) == 3
    assert first == ["1", "inner", str(sources / "subject.py"), "VALUE", "=", "1"]
    assert imported(sources, tmp_path / "kept") == first
    assert {file: file.read_bytes() for file in (tmp_path / "kept").iterdir()} == kept


def test_an_edit_is_seen_although_time_and_size_are_the_same(sources: Path, tmp_path: Path) -> None:
    imported(sources, tmp_path / "kept")
    file = sources / "subject.py"
    stat = file.stat()
    file.write_text("VALUE = 2")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert imported(sources, tmp_path / "kept")[0] == "2"
    assert len(list((tmp_path / "kept").iterdir())) == 3


@pytest.mark.parametrize("damage", [b"", b"x" * 100, None])
def test_a_damaged_file_is_written_again(sources: Path, tmp_path: Path, damage: bytes | None) -> None:
    imported(sources, tmp_path / "kept")
    whole = {file: file.read_bytes() for file in (tmp_path / "kept").iterdir()}
    for file, data in whole.items():
        file.write_bytes(data[:40] if damage is None else damage)

    assert imported(sources, tmp_path / "kept")[0] == "1"
    assert {file: file.read_bytes() for file in (tmp_path / "kept").iterdir()} == whole


def test_python_keeps_it_where_it_may(sources: Path, tmp_path: Path) -> None:
    imported(sources, tmp_path / "kept", writes=True)

    assert not (tmp_path / "kept").exists()
    assert list((sources / "__pycache__").glob("subject.*.pyc"))


def test_a_folder_that_cannot_be_written_costs_no_run(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")

    assert imported(sources, tmp_path / "kept")[0] == "1"
