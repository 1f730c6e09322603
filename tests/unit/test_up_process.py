"""One process of `up` when the machine refuses resources."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from athanor.up.process import BACKOFF_S, LOG_MAX_BYTES, Process, Role, State, rotate_log


def refuse(number: int) -> Any:
    def raises(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return raises


@pytest.mark.parametrize(
    ("where", "name", "number"),
    [
        (subprocess, "Popen", errno.EAGAIN),
        (subprocess, "Popen", errno.ENOMEM),
        (Path, "open", errno.ENOSPC),
        (Path, "open", errno.EMFILE),
        (Path, "mkdir", errno.ENOSPC),
        (Path, "unlink", errno.EROFS),
    ],
)
def test_a_process_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: object, name: str, number: int
) -> None:
    process = Process(Role("a", ("true",), ready_file=tmp_path / "ready" / "a"), tmp_path / "a.log")
    monkeypatch.setattr(where, name, refuse(number))
    process.spawn()

    assert not process.is_alive
    assert os.strerror(number) in process.end()
    assert process.schedule_restart() == BACKOFF_S[0]
    assert process.state is State.RESTARTING


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_log_that_cannot_be_copied_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * (LOG_MAX_BYTES + 1))
    monkeypatch.setattr(shutil, "copyfile", refuse(number))
    rotate_log(log)

    assert log.stat().st_size == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.log"]


@pytest.mark.parametrize("where", ["stat", "truncate"])
def test_rotating_a_log_never_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * (LOG_MAX_BYTES + 1))
    monkeypatch.setattr(Path if where == "stat" else os, where, refuse(errno.EIO))
    rotate_log(log)
    monkeypatch.undo()

    assert log.stat().st_size == LOG_MAX_BYTES + 1


def test_a_large_log_is_moved_aside_in_place_of_the_one_before(tmp_path: Path) -> None:
    log, older = tmp_path / "a.log", tmp_path / "a.log.1"
    older.write_text("older")
    log.write_bytes(b"x" * (LOG_MAX_BYTES + 1))
    rotate_log(log)

    assert (log.stat().st_size, older.stat().st_size) == (0, LOG_MAX_BYTES + 1)
