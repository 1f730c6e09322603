"""Order of requests for SQLite's write lock."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from runs import write_gate
from runs.write_gate import WriteGate
from tests.waiting import wait_until


def test_writers_wait_while_a_renewal_does(tmp_path: Path) -> None:
    renewals, writers = WriteGate(f"{tmp_path}/db"), WriteGate(f"{tmp_path}/db")
    passed = threading.Event()
    writer = threading.Thread(target=lambda: (writers.wait(), passed.set()))  # type: ignore[func-returns-value]
    with renewals.first():
        writer.start()
        assert not passed.wait(0.1)
    wait_until(passed.is_set, timeout_s=5, what="the writer")
    writer.join()


def test_two_renewals_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with WriteGate(f"{tmp_path}/db").first(), WriteGate(f"{tmp_path}/db").first():
        pass
    WriteGate(f"{tmp_path}/db").wait()


def test_writers_wait_for_a_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_gate, "YIELD_MAX_S", 0.05)
    with WriteGate(f"{tmp_path}/db").first():
        began = time.monotonic()
        WriteGate(f"{tmp_path}/db").wait()
    assert 0.04 < time.monotonic() - began < 2


def test_without_its_file_there_is_no_order(tmp_path: Path) -> None:
    gate = WriteGate(f"{tmp_path}/no/such/folder/db")
    with gate.first():
        gate.wait()
