"""Candidates that are remembered: used while no folder has changed, and never instead of a new module."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments import remembered

SOURCE = "from experiments import Experiment\nclass {name}(Experiment):\n    def run(self, ctx): ...\n"
LONG_AGO_S = 60


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of experiments with a module, a package in a package, and a folder that is none."""
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    for file in ("first.py", "outer/__init__.py", "outer/inner/__init__.py", "outer/inner/second.py"):
        (tmp_path / file).write_text(SOURCE.format(name="Some"))
    monkeypatch.setattr(remembered, "experiment_paths", lambda: [tmp_path])
    monkeypatch.setattr("experiments.discovery.experiment_paths", lambda: [tmp_path])
    age(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_before() -> Iterator[None]:
    before, remembered._found = remembered._found, None
    yield
    remembered._found = before


def age(folder: Path) -> None:
    """Make all below a folder older, so that a change of now is certain to be seen."""
    then = time.time() - LONG_AGO_S
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (then, then))


def files(folder: Path) -> set[str]:
    return {
        candidate.file.relative_to(folder).as_posix()
        for candidate in remembered.known_candidates()
        if candidate.file is not None and candidate.file.is_relative_to(folder)
    }


BEFORE = {"first.py", "outer/__init__.py", "outer/inner/__init__.py", "outer/inner/second.py"}

CHANGES: list[tuple[Callable[[Path], object], set[str]]] = [
    (lambda folder: (folder / "third.py").write_text(""), BEFORE | {"third.py"}),
    (lambda folder: (folder / "first.py").unlink(), BEFORE - {"first.py"}),
    (lambda folder: (folder / "first.py").rename(folder / "other.py"), BEFORE - {"first.py"} | {"other.py"}),
    (lambda folder: (folder / "outer/inner/third.py").write_text(""), BEFORE | {"outer/inner/third.py"}),
    (lambda folder: (folder / "data/__init__.py").write_text(""), BEFORE | {"data/__init__.py"}),
    (lambda folder: shutil.rmtree(folder / "outer"), {"first.py"}),
]


@pytest.mark.parametrize(("change", "after"), CHANGES)
def test_a_change_is_seen_before_and_after_a_refresh(
    folder: Path, change: Callable[[Path], object], after: set[str]
) -> None:
    remembered.refresh()
    assert files(folder) == BEFORE
    change(folder)

    assert files(folder) == after
    remembered.refresh()
    assert files(folder) == after


def test_nothing_is_searched_while_nothing_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered.refresh()
    monkeypatch.setattr(remembered, "candidates", lambda **_: pytest.fail("searched"))
    (folder / "first.py").write_text("# edited")

    remembered.refresh()
    assert files(folder) == BEFORE


def test_a_folder_that_has_just_changed_is_not_trusted(folder: Path) -> None:
    (folder / "third.py").write_text("")
    now = folder.stat().st_mtime_ns
    remembered.refresh()
    (folder / "fourth.py").write_text("")
    os.utime(folder, ns=(now, now))  # as if both were within one tick of the clock of files

    assert files(folder) == BEFORE | {"third.py", "fourth.py"}
