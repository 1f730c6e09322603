"""Folders of experiments: each gets its own helpers, in one process too; and one's own wins over a shipped example."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import folders
from experiments.registry import forget, load_one, registry
from experiments.source import source_files

EXPERIMENT = """
from experiments import Experiment
{line}
class {name}(Experiment):
    answer = {value}
    def run(self, ctx): return {{"answer": {value}}}
"""
HELPERS = {"module": "helpers_of_a_test.py", "package": "helpers_of_a_test/__init__.py"}


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """Two folders of experiments; nothing of them is left in the process afterwards."""
    pair = tmp_path / "a", tmp_path / "b"
    for folder in pair:
        folder.mkdir()
    monkeypatch.setenv("ATHANOR_EXPERIMENT_PATHS", os.pathsep.join(map(str, pair)))
    path, modules = list(sys.path), set(sys.modules)
    forget()
    yield pair
    sys.path[:] = path
    for name in sys.modules.keys() - modules:
        del sys.modules[name]
    folders.forget_neighbours()
    forget()


def write(folder: Path, name: str, line: str, value: str, *, helper: str = "module") -> None:
    path = folder / HELPERS[helper]
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"VALUE = {name!r}\n")
    (folder / f"{name.lower()}.py").write_text(EXPERIMENT.format(line=line, name=name, value=value))


@pytest.mark.parametrize("helper", HELPERS)
@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("import helpers_of_a_test", "helpers_of_a_test.VALUE"),
        ("from helpers_of_a_test import VALUE", "VALUE"),
        ("from . import helpers_of_a_test as near", "near.VALUE"),
        ("import importlib; near = importlib.import_module('helpers_of_a_test')", "near.VALUE"),
    ],
)
def test_each_folder_gets_its_own_helpers(two: tuple[Path, Path], helper: str, line: str, value: str) -> None:
    for folder, name in zip(two, ("First", "Second"), strict=True):
        write(folder, name, line, value, helper=helper)

    experiments = registry()

    assert experiments.problems == ()
    assert [vars(experiments.get(name))["answer"] for name in ("first", "second")] == ["First", "Second"]
    assert "helpers_of_a_test" not in sys.modules


@pytest.mark.parametrize("name", ["First", "Second"])
def test_a_run_gets_the_helpers_of_its_folder_while_it_runs(two: tuple[Path, Path], name: str) -> None:
    late = "helpers()"
    line = "def helpers():\n    import helpers_of_a_test\n    return helpers_of_a_test.VALUE"
    for folder, each in zip(two, ("First", "Second"), strict=True):
        write(folder, each, line, late)

    experiment: Any = load_one(name.lower())

    assert experiment().run(None) == {"answer": name}


def test_helpers_that_are_imported_by_plain_name_belong_to_the_digest(two: tuple[Path, Path]) -> None:
    for folder, name in zip(two, ("First", "Second"), strict=True):
        write(folder, name, "import helpers_of_a_test", "helpers_of_a_test.VALUE")

    files = source_files(load_one("second"))

    assert files == [two[1] / "helpers_of_a_test.py", two[1] / "second.py"]


def test_modules_that_were_there_before_are_left_alone(two: tuple[Path, Path]) -> None:
    before = sys.modules["experiments"]
    (two[0] / "experiments.py").write_text(EXPERIMENT.format(line="", name="First", value=1))

    assert registry().get("first").name == "first"
    assert sys.modules["experiments"] is before


def test_an_experiment_of_a_folder_replaces_a_shipped_example_with_a_notice(two: tuple[Path, Path]) -> None:
    file = two[0] / "mine.py"
    file.write_text(EXPERIMENT.format(line="", name="MonteCarloPi", value=1))

    experiments = registry()

    assert vars(experiments.get("monte_carlo_pi"))["answer"] == 1
    assert vars(load_one("monte_carlo_pi"))["answer"] == 1
    (notice,) = experiments.problems
    assert (notice.is_notice, notice.where) == (True, str(file))
    assert "replaces the shipped example 'monte_carlo_pi'" in notice.reason


def test_the_readmes_example_can_be_launched_when_pasted_as_told(two: tuple[Path, Path]) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "(Experiment)" in block]
    (name,) = set(re.findall(r"launch_run (\w+)", readme))

    (two[0] / "pasted.py").write_text(code)

    assert registry().get(name).__module__.endswith(".pasted")
    assert registry().problems == ()
