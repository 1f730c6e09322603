"""Values at their edges in a real child: an error at the call, or kept; no hang, no crash."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from experiments.jsonvalues import pack
from runs.forkserver.client import ForkServer
from tests.integration.spawning import probe, run, spec


@pytest.mark.parametrize("levels", [51, 250, 500, 5_000, 100_000])
@pytest.mark.parametrize("do", ["return_nested", "checkpoint_nested"])
def test_what_is_nested_too_deep_is_an_error_with_its_path(
    fork_server: ForkServer, tmp_path: Path, do: str, levels: int
) -> None:
    heard = probe(fork_server, tmp_path, do, size=levels)

    assert heard.exit.status == 0
    assert heard.end is not None
    assert heard.end["outcome"] == "raised"
    assert "UnstorableValue" in heard.end["error"]
    assert "a[0].a[0]" in heard.end["error"]
    assert "nested more than 100 levels deep" in heard.end["error"]


def test_calls_for_information_never_end_the_run(fork_server: ForkServer, tmp_path: Path) -> None:
    heard = probe(fork_server, tmp_path, "inform_of_odd_things")

    assert heard.summary == "went on"
    ((*_, message, metadata),) = heard.payloads("L")
    assert message == "odd"
    assert metadata["circular"] == {"me": "<dict: it contains itself>"}
    assert metadata["keys"] == {"(1, 2)": 3}
    assert heard.payloads("P") == [[0.0, None, heard.payloads("P")[0][2]]]


def test_the_next_attempt_gets_the_checkpoint_as_it_was(fork_server: ForkServer, tmp_path: Path) -> None:
    state: dict[str, Any] = {"best": math.inf, "pair": (1, 2), "seen": {3}, "raw": b"\xff", "by": {1: math.nan}}
    packed = pack(state, max_bytes=10_000, keep_types=True)

    heard = run(fork_server, spec(tmp_path, "probe", restored=packed, do="give_back"))

    assert heard.summary == {name: repr(value) for name, value in state.items()}
    (again,) = heard.payloads("C")
    assert again["state"] == packed
