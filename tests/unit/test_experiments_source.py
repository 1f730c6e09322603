"""Digest of an experiment's code: which changes affect it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.examples.monte_carlo_pi import MonteCarloPi
from experiments.registry import forget, load_one
from experiments.source import source_digest, source_file, source_files

EXPERIMENT = "from experiments import Experiment\nclass OfATest(Experiment):\n    def run(self, ctx): ...\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ATHANOR_EXPERIMENT_PATHS", str(tmp_path))
    before = list(sys.path)
    forget()
    yield tmp_path
    sys.path[:] = before
    forget()


def test_the_digest_of_one_file_is_that_of_the_file() -> None:
    file = source_file(MonteCarloPi)

    assert file is not None
    assert file.name == "monte_carlo_pi.py"
    assert source_files(MonteCarloPi) == [file]
    assert source_digest(MonteCarloPi) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_neighbours_that_are_imported_belong_to_it(folder: Path) -> None:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "deeper.py").write_text("VALUE = 1\n")
    (folder / "package" / "model.py").write_text("import json\nfrom . import deeper\ndef build(): ...\n")
    (folder / "package" / "unrelated.py").write_text("")
    (folder / "package" / "one.py").write_text("from .model import build\n" + EXPERIMENT)

    files = source_files(load_one("of_a_test"))
    assert [file.name for file in files] == ["deeper.py", "model.py", "one.py"]


def test_a_change_of_a_neighbour_changes_the_digest(folder: Path) -> None:
    (folder / "neighbour_of_a_test.py").write_text("def build(): ...\n")
    (folder / "one.py").write_text("from neighbour_of_a_test import build\n" + EXPERIMENT)
    experiment = load_one("of_a_test")
    before = source_digest(experiment)

    (folder / "neighbour_of_a_test.py").write_text("def build(): return 1\n")

    assert len(before) == 64
    assert source_digest(experiment) != before


def test_a_class_without_a_file_has_no_digest() -> None:
    typed_in = type("TypedIn", (MonteCarloPi,), {"__module__": "nowhere"})

    assert source_file(typed_in) is None
    assert source_digest(typed_in) == ""
