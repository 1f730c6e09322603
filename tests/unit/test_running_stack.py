"""Variables that a second shell adopts from the running stack."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from athanor import running_stack
from athanor.running_stack import SeveralStacks, adopt, publish, withdraw

URL = "http://127.0.0.1:8000"


def up(base: Path, var: Path, **environ: str) -> Path:
    """A stack that is up: this very process."""
    file = publish(base, var, environ, URL)
    assert file is not None
    return file


@pytest.mark.parametrize(
    ("started_with", "shell", "adopted"),
    [
        ({"ATHANOR_EXPERIMENT_PATHS": "/mine"}, {}, {"ATHANOR_EXPERIMENT_PATHS": "/mine"}),
        ({"ATHANOR_RUNS_DRAIN_S": "5"}, {"ATHANOR_RUNS_DRAIN_S": "9"}, {}),
        ({"ATHANOR_DATABASE_URL": "postgresql://a/b"}, {}, {"ATHANOR_DATABASE_URL": "postgresql://a/b"}),
        ({"ATHANOR_URL": "https://lab.example"}, {}, {"ATHANOR_URL": "https://lab.example"}),
        ({"ATHANOR_ROLE": "child", "HOME": "/root", "ATHANOR_UNKNOWN": "1"}, {}, {}),
    ],
)
def test_a_shell_takes_over_what_it_does_not_set_itself(
    tmp_path: Path, started_with: dict[str, str], shell: dict[str, str], adopted: dict[str, str]
) -> None:
    var = tmp_path / "elsewhere"
    up(tmp_path, var, **started_with)
    assert adopt(tmp_path, shell) == {"ATHANOR_VAR": str(var), "ATHANOR_URL": URL} | adopted


@pytest.mark.parametrize(
    "shell",
    [
        {"ATHANOR_VAR": "/another"},
        {"ATHANOR_DATABASE_URL": "postgresql://another/one"},
        {"ATHANOR_REDIS_URL": "redis://another"},
    ],
)
def test_a_shell_that_means_another_stack_takes_over_nothing(tmp_path: Path, shell: dict[str, str]) -> None:
    up(tmp_path, tmp_path / "var", ATHANOR_EXPERIMENT_PATHS="/mine")
    assert adopt(tmp_path, shell) == {}


def test_of_several_stacks_the_folders_own_is_meant_and_else_the_shell_must_choose(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    up(tmp_path, first)
    up(tmp_path, second)
    with pytest.raises(SeveralStacks, match="2 stacks are up"):
        adopt(tmp_path, {})
    assert adopt(tmp_path, {"ATHANOR_VAR": str(second)}) == {"ATHANOR_URL": URL}
    up(tmp_path, tmp_path / "var")
    assert adopt(tmp_path, {})["ATHANOR_VAR"] == str(tmp_path / "var")


def test_folders_of_experiments_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    up(tmp_path, tmp_path / "var", ATHANOR_EXPERIMENT_PATHS=f"mine{os.pathsep}/theirs")
    assert adopt(tmp_path, {})["ATHANOR_EXPERIMENT_PATHS"] == f"{tmp_path}/mine{os.pathsep}/theirs"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"pid": 1}', '{"pid": "x", "started": 0, "environment": {"ATHANOR_VAR": "/v"}}']
)
def test_files_that_cannot_be_read_and_stacks_that_are_gone_are_ignored(tmp_path: Path, content: str) -> None:
    file = up(tmp_path, tmp_path / "var")
    file.with_name("torn.json").write_text(content)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"started": 1.0}))
    assert adopt(tmp_path, {}) == {}


def test_the_file_is_private_and_goes_with_its_stack(tmp_path: Path) -> None:
    file = up(tmp_path, tmp_path / "var", ATHANOR_DATABASE_URL="postgresql://ada:secret@db/lab")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    withdraw(file)
    assert list(running_stack.running(tmp_path)) == []


def test_a_folder_that_cannot_be_written_to_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / ".athanor").write_text("a file where the folder should be")
    assert publish(tmp_path, tmp_path / "var", {}, URL) is None
    assert adopt(tmp_path, {}) == {}
