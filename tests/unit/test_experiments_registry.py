"""Finding experiments: where, what counts, and what a broken module does (nothing to the others)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from django.core.checks import Warning as CheckWarning

from experiments import discovery
from experiments import registry as registry_module
from experiments.checks import experiments_are_usable
from experiments.exceptions import BrokenExperiment, UnknownExperiment
from experiments.registry import Registry, forget, load_one, registry

GOOD = """
from experiments import Experiment
class {name}(Experiment):
    def run(self, ctx): return {{"answer": {answer}}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of experiments, the only one."""
    monkeypatch.setenv("ATHANOR_EXPERIMENT_PATHS", str(tmp_path))
    before = list(sys.path)
    forget()
    yield tmp_path
    sys.path[:] = before
    forget()


@pytest.fixture
def write(folder: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


Write = Callable[[str, str], Path]


def good(name: str, answer: int = 42) -> str:
    return GOOD.format(name=name, answer=answer)


def own(experiments: Registry) -> list[str]:
    """Return the names that are not Athanor's own examples."""
    return [
        name
        for name in experiments.names
        if not registry_module.registry().get(name).__module__.startswith("experiments.")
    ]


def test_the_examples_are_found_in_the_installed_app() -> None:
    assert {"digits", "disk_usage", "llm_compare", "monte_carlo_pi", "word_count"} <= set(registry().names)


def test_modules_and_packages_of_a_folder_are_found(write: Write) -> None:
    write("one.py", good("First"))
    write("package/__init__.py", good("Second"))
    write("package/deep/__init__.py", "")
    write("package/deep/inner.py", good("Third"))
    for ignored in ("_helper.py", "test_one.py", "tests/__init__.py", "conftest.py", "notes.txt"):
        write(ignored, "raise RuntimeError('this must not be imported')")

    assert own(registry()) == ["first", "second", "third"]
    assert registry().problems == ()


def test_a_folders_modules_may_import_their_neighbours(write: Write) -> None:
    write("helper_of_a_test.py", "VALUE = 1")
    write("one.py", "from . import helper_of_a_test as a\nimport helper_of_a_test as b\n" + good("First"))

    assert own(registry()) == ["first"]


def test_a_folders_module_has_the_same_name_in_every_process(write: Write, folder: Path) -> None:
    write("one.py", good("First"))
    script = (
        "import django; django.setup(); from experiments.registry import load_one; print(load_one('first').__module__)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == load_one("first").__module__


def test_only_concrete_classes_of_the_module_itself_count(write: Write) -> None:
    write("one.py", good("First"))
    write("two.py", "from .one import First\nfrom experiments import Experiment\nclass Base(Experiment): pass\n")

    assert own(registry()) == ["first"]
    assert registry().problems == ()


@pytest.mark.parametrize("text", ["1 / 0", "import no_such_module", "def (", "import sys; sys.exit(3)"])
def test_a_broken_module_is_a_problem_and_the_others_go_on(write: Write, text: str) -> None:
    file = write("broken.py", good("Broken") + text)
    write("fine.py", good("Fine"))

    experiments = registry()

    assert own(experiments) == ["fine"]
    (problem,) = experiments.problems
    assert problem.where == str(file)
    assert "broken.py" in problem.traceback
    assert "importlib" not in problem.traceback
    with pytest.raises(BrokenExperiment, match=r"Experiment 'broken' cannot be used \(.*broken.py\): "):
        experiments.get("broken")


def test_a_duplicate_name_is_refused_and_names_both_places(write: Write) -> None:
    first, second = write("one.py", good("Same", 1)), write("two.py", good("Same", 2))

    experiments = registry()

    assert own(experiments) == []
    (problem,) = experiments.problems
    assert str(first) in problem.traceback
    assert str(second) in problem.traceback
    for look in (experiments.get, load_one):
        with pytest.raises(BrokenExperiment, match="until one is renamed"):
            look("same")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("name = 'Not A Name'", "must be lower-case"),
        ("class Config: x = 1", "must be a subclass of pydantic"),
        ("from pydantic import RootModel\n    class Config(RootModel[int]): pass", "must have named fields"),
        ("limits = {'timeout_s': 3}", "must be an instance of experiments.Limits"),
        ("warm = 'yes'", "must be True, False or None, not 'yes'"),
    ],
)
def test_an_unusable_class_is_a_problem(write: Write, body: str, reason: str) -> None:
    write(
        "one.py", f"from experiments import Experiment\nclass Odd(Experiment):\n    {body}\n    def run(self, ctx): ..."
    )

    (problem,) = registry().problems

    assert reason in problem.reason
    assert problem.where.endswith("one.py, class Odd")


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownExperiment, match="did you mean 'monte_carlo_pi'"):
        registry().get("monte_carlo_py")


def test_a_missing_folder_is_a_problem(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("ATHANOR_EXPERIMENT_PATHS", os.pathsep.join([str(folder), str(folder / "gone")]))

    (problem,) = registry().problems

    assert "gone: No such file" in problem.reason


def test_an_entry_point_names_a_module_or_a_class(write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATHANOR_EXPERIMENT_PATHS", "")
    monkeypatch.syspath_prepend(str(folder))
    write("plugin_of_a_test.py", good("First") + good("Second"))
    write("other_of_a_test/__init__.py", "")
    write("other_of_a_test/inner.py", good("Third"))
    values = {"a": "plugin_of_a_test:Second", "b": "other_of_a_test", "c": "none_of_a_test", "d": "plugin_of_a_test:os"}
    points = [EntryPoint(name, value, "athanor.experiments") for name, value in values.items()]
    monkeypatch.setattr(discovery, "entry_points", lambda group: points)

    assert own(registry()) == ["second", "third"]
    assert [problem.where.split()[2] for problem in registry().problems] == ["c", "d"]


def test_the_check_warns_and_does_not_stop(write: Write) -> None:
    write("broken.py", "1 / 0")

    (message,) = experiments_are_usable()

    assert isinstance(message, CheckWarning)
    assert (message.id, message.is_serious()) == ("experiments.W001", False)
    assert "ZeroDivisionError" in message.msg
    assert "Traceback" in str(message.hint)


def test_the_check_says_once_what_one_sentence_says(write: Write) -> None:
    write("a.py", good("First"))
    write("b.py", good("First"))

    (message,) = experiments_are_usable()

    assert "first" in message.msg
    assert "first" not in str(message.hint)


def test_one_experiment_is_loaded_without_importing_the_others(write: Write) -> None:
    write("one.py", good("First"))
    write("slow.py", "raise RuntimeError('imported')\n" + good("Slow"))

    module = load_one("first").__module__

    assert load_one("first").name == "first"
    assert module.replace(".one", ".slow") not in sys.modules


def test_a_name_that_its_text_does_not_show_is_loaded_all_the_same(write: Write) -> None:
    write("one.py", good("First") + "First.name = 'fir' + 'st_made'\n")

    assert load_one("first_made").__name__ == "First"


def test_starting_django_imports_no_experiment(write: Write) -> None:
    write("one.py", "print('imported')\n" + good("First"))
    script = "import django, sys; django.setup(); print([m for m in sys.modules if 'examples' in m or 'folder_' in m])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_changed_file_is_imported_anew(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("one.py", good("First"))
    assert own(registry()) == ["first"]

    write("one.py", good("Renamed", answer=4242))
    write("two.py", "1 / 0")
    monkeypatch.setattr(registry_module._current, "checked_at", 0.0)

    assert own(registry()) == ["renamed"]
    assert len(registry().problems) == 1
