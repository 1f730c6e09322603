"""Refusals of chaos, and its answers to wrong usage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import chaos

pytestmark = pytest.mark.acceptance


def test_it_is_not_begun_where_production_is_declared(short_folder: Path) -> None:
    answer = chaos("--yes", ATHANOR_PRODUCTION="1", ATHANOR_VAR=str(short_folder))
    assert answer.code == 2
    assert "production" in answer.stderr


def test_it_is_not_begun_where_nothing_is_up(short_folder: Path) -> None:
    answer = chaos("--yes", ATHANOR_VAR=str(short_folder))
    assert answer.code == 2
    assert "Nothing is up" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--only=kill_wroker"], "kill_worker"), (["--duration=1"], "--duration"), (["--workers=0"], "--workers")],
)
def test_wrong_use_is_told(short_folder: Path, arguments: list[str], said: str) -> None:
    answer = chaos("--throwaway", *arguments, ATHANOR_VAR=str(short_folder))
    assert answer.code == 2
    assert said in answer.stderr
