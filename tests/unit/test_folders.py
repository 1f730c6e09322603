"""Folder of a run: removed once nothing is in it, and never with something in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.folders import remove_if_empty

FILES = ["a.txt", "work/a.txt", "artifacts/1/a.txt", "work/.hidden", "work/stacks-1.txt"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "7"
    for name in ("work", "artifacts/1", "artifacts/2"):
        (made / name).mkdir(parents=True)
    (made / "stacks-1.txt").touch()
    return made


def test_an_empty_folder_is_removed_with_its_empty_stacks(folder: Path) -> None:
    assert remove_if_empty(folder)
    assert not folder.exists()
    assert remove_if_empty(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_a_file_is_kept_with_the_file(folder: Path, name: str) -> None:
    (folder / name).touch()
    assert not remove_if_empty(folder)
    assert (folder / name).exists()


def test_stacks_that_were_written_are_kept(folder: Path) -> None:
    (folder / "stacks-1.txt").write_text("Thread 1")
    assert not remove_if_empty(folder)


def test_what_a_link_leads_to_is_left_alone(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    (folder / "work" / "link").symlink_to(target)
    assert not remove_if_empty(folder)
    assert target.exists()


def test_folders_nested_by_the_experiment_are_kept(folder: Path) -> None:
    (folder / "work/a/b/c/d").mkdir(parents=True)
    assert not remove_if_empty(folder)
