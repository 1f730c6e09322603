"""Documents, templates, styles and scripts: short lines, paths and commands that exist, the words of the glossary."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from django.core.management import get_commands

ROOT = Path(__file__).parents[2]
TRACKED = [
    ROOT / name for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md", "*.html", "*.css", "*.js"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()
]  # fmt: skip
DOCUMENTS = [path for path in TRACKED if path.suffix == ".md"]
SCRIPTS = [path for path in TRACKED if path.suffix == ".js"]
FOLDERS = ("athanor", "benchmarks", "docs", "experiments", "runs", "tests")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./{{}},*-]*)`")
OLD_WORDS = (
    "death certificate", "without a word", "tells of", "is launched", "heard of", "put itself off", "goes on from",
    "started clean", "starts clean", "mend it", "what all", "nobody by name", "said so", "lives on", "kept out by",
    "where its time went", "ledger", "as declared", "type it again",
)  # fmt: skip
"""Turns of phrase that were replaced; see docs/glossary.md for the words that are used."""


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", TRACKED, ids=ids(TRACKED))
def test_lines_have_at_most_120_characters(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > 120] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=ids(SCRIPTS))
def test_a_script_has_fewer_than_250_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 250


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids(DOCUMENTS))
def test_paths_that_documents_name_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = {name.rstrip("/") for name in PATH.findall(text) if not set(name) & set("{}*")}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids(DOCUMENTS))
def test_commands_that_documents_name_exist(path: Path) -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", path.read_text(encoding="utf-8")))
    assert named - get_commands().keys() == set()


@pytest.mark.parametrize("path", TRACKED, ids=ids(TRACKED))
def test_files_use_the_words_of_the_glossary(path: Path) -> None:
    text = " ".join(path.read_text(encoding="utf-8").lower().split())
    assert [words for words in OLD_WORDS if words in text] == []
