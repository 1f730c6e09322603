"""Provenance: git is asked once for runs that start in quick succession, and again when its answer may have changed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runs.lines.records import Hello
from runs.supervisor import provenance

HELLO: Hello = {"source_digest": "abc"}


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An experiment's file in a repository of two commits."""
    folder = tmp_path / "lab"
    folder.mkdir()
    git(folder, "init", "-q")
    for name in ("experiments.py", "helpers.py"):
        (folder / name).write_text("first\n")
        git(folder, "add", name)
        git(folder, "commit", "-qm", name)
    return folder / "experiments.py"


def nothing(source: Path) -> None:
    """Leave everything as it is."""


def commit(source: Path) -> None:
    git(source.parent, "commit", "-q", "--allow-empty", "-m", "another")


def stage(source: Path) -> None:
    (source.parent / "helpers.py").write_text("second version\n")
    git(source.parent, "add", "helpers.py")


def check_out(source: Path) -> None:
    git(source.parent, "checkout", "-q", "HEAD~1")


@pytest.mark.parametrize(
    ("change", "hello", "is_recent"),
    [
        (nothing, HELLO, True),
        (commit, HELLO, False),
        (stage, HELLO, False),
        (check_out, HELLO, False),
        (nothing, {"source_digest": "def"}, False),
    ],
)
def test_an_answer_is_used_again_while_nothing_has_changed(
    source: Path, change: Callable[[Path], None], hello: Hello, is_recent: bool
) -> None:
    complete = provenance.complete(HELLO, source)
    assert complete["git_dirty"] is False
    change(source)
    assert provenance.recent(hello, source) == (complete if is_recent else None)


def test_an_old_answer_is_not_used(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provenance.complete(HELLO, source)
    monkeypatch.setattr(provenance, "GIT_RECENT_S", -1.0)
    assert provenance.recent(HELLO, source) is None


def test_a_linked_working_tree_has_a_state_of_its_own(source: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    git(source.parent, "worktree", "add", "-q", str(linked))
    provenance.complete(HELLO, linked / source.name)
    git(linked, "commit", "-q", "--allow-empty", "-m", "another")
    assert provenance.recent(HELLO, linked / source.name) is None


def test_without_a_repository_there_is_no_commit(tmp_path: Path) -> None:
    source = tmp_path / "experiments.py"
    assert "git_commit" not in provenance.complete(HELLO, source)
    assert provenance.recent(HELLO, source) == provenance.complete(HELLO, source)
