"""Catalog process: an author's module may do anything at its import, and harms only itself."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from experiments import catalog
from experiments.conf import experiments_settings
from experiments.exceptions import BrokenExperiment, CatalogUnavailable, InvalidDefinition
from tests.waiting import wait_until

pytestmark = pytest.mark.any_database

GOOD = """
from pydantic import BaseModel
from experiments import Experiment
class {name}(Experiment):
    class Config(BaseModel):
        x: int = {x}
    def run(self, ctx): ...
"""
HARMS = {
    "chdir": ("import os; os.chdir('/')", ""),
    "warnings": ("import warnings; warnings.simplefilter('error')", ""),
    "prints": ("import os; print('a' * 100_000); [os.write(fd, b'b' * 100_000) for fd in (1, 2)]", ""),
    "streams": ("import sys; sys.stdout.close(); sys.stderr = None", ""),
    "environment": ("import os; os.environ.clear()", ""),
    "path": ("import sys; sys.path.clear()", ""),
    "modules": ("import sys; [sys.modules.pop(n) for n in list(sys.modules) if n.startswith('pydantic')]", ""),
    "recursion": ("import sys; sys.setrecursionlimit(80)", ""),
    "signals": ("import signal; signal.setitimer(signal.ITIMER_REAL, 0.5)", ""),
    "fork": ("import os; os.fork()", ""),
    "tracing": ("import sys; sys.settrace(lambda *a: 1 / 0)", None),
    "error": ("1 / 0", "ZeroDivisionError: division by zero"),
    "syntax": ("def (", "SyntaxError: invalid syntax"),
    "pydantic": ("Harm.Config(x='no')", "Input should be a valid integer"),
    "base exception": ("raise BaseException('never')", "BaseException: never"),
    "interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "exit": ("raise SystemExit(4)", "SystemExit: 4"),
    "hooks": ("class Harm(Harm):\n    retries = {'error': object()}", "TypeError"),
    "endless": ("while True: pass", "Its import did not end within 1.5 s at harm.py, line 8."),
    "asleep": ("import time; time.sleep(100)", "Its import did not end within 1.5 s at harm.py, line 8."),
    "os._exit": ("import os; os._exit(3)", "Its import ended the process (exit status 3)."),
    "segfault": ("import ctypes; ctypes.string_at(0)", "Its import ended the process (SIGSEGV) at harm.py, line 8."),
    "abort": ("import os; os.abort()", "Its import ended the process (SIGABRT) at harm.py, line 8."),
    "descriptors": ("import os; os.closerange(3, 1000)", "Its import ended the process"),
}
"""Kind of harm → its line, and what the problem says; empty: there is none, None: either."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with one good experiment; the catalog has a process, which looks for changes each time."""
    (tmp_path / "good.py").write_text(GOOD.format(name="Good", x=1))
    monkeypatch.setenv("ATHANOR_EXPERIMENT_PATHS", str(tmp_path))
    monkeypatch.setenv("ATHANOR_EXPERIMENTS_IMPORT_MAX_S", "1.5")
    monkeypatch.setenv("ATHANOR_EXPERIMENTS_VALIDATE_MAX_S", "1.5")
    monkeypatch.setenv("ATHANOR_EXPERIMENTS_CATALOG_WAIT_S", "60")
    monkeypatch.setenv("ATHANOR_EXPERIMENTS_REFRESH_S", "1e-9")
    experiments_settings.cache_clear()
    catalog.use_process()
    yield tmp_path
    catalog.use_this_process()
    experiments_settings.cache_clear()


def harm(folder: Path, line: str) -> Path:
    path = folder / "harm.py"
    path.write_text(GOOD.format(name="Harm", x=1).rstrip("\n") + f"\n{line}\n")
    return path


def problems() -> list[str]:
    return [problem.reason for problem in catalog.current().problems]


def own_modules() -> list[str]:
    return [name for name in sys.modules if "athanor_folder" in name]


@pytest.mark.parametrize("kind", HARMS)
def test_what_a_module_does_at_its_import_harms_no_other(folder: Path, kind: str) -> None:
    line, says = HARMS[kind]
    path, before = harm(folder, line), (Path.cwd(), list(warnings.filters), own_modules())

    known = catalog.current()

    assert "good" in known
    assert catalog.validate("good", {"x": "5"}).configuration == {"x": 5}
    assert (Path.cwd(), list(warnings.filters), own_modules()) == before
    if says:
        (problem,) = known.problems
        assert says in problem.reason
        assert str(path) in problem.where
        with pytest.raises(BrokenExperiment):
            known.get("harm")
    elif says == "":
        assert known.problems == []
        assert catalog.validate("harm", {}).configuration == {"x": 1}


def test_an_edit_of_any_imported_file_is_seen_at_the_next_question(folder: Path) -> None:
    (folder / "helpers_of_a_test.py").write_text("DEFAULT = 1\n")
    (folder / "user.py").write_text(
        "import helpers_of_a_test\n" + GOOD.format(name="User", x="helpers_of_a_test.DEFAULT")
    )
    assert catalog.validate("user").configuration == {"x": 1}

    (folder / "helpers_of_a_test.py").write_text("DEFAULT = 22\n")

    assert catalog.validate("user").configuration == {"x": 22}


@pytest.mark.parametrize("line", ["while True: pass", "import os; os._exit(3)", "1 / 0", "import helper_of_nobody"])
def test_a_repaired_module_is_there_at_the_next_question(folder: Path, line: str) -> None:
    harm(folder, line)
    assert len(problems()) == 1

    harm(folder, "DONE = True")

    assert problems() == []
    assert "harm" in catalog.current()


def test_new_and_deleted_files_are_seen(folder: Path) -> None:
    assert catalog.current().get("good").title == "Good"

    (folder / "good.py").unlink()
    (folder / "other.py").write_text(GOOD.format(name="Other", x=1))

    assert "other" in catalog.current()
    assert "good" not in catalog.current()


VALIDATORS = {
    "endless": ("while True: pass", "did not end within 1.5 s"),
    "exit": ("import os; os._exit(3)", "ended the process (exit status 3)"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "ended the process (SIGSEGV)"),
    "error": ("raise OSError('no disk')", "validation failed: OSError: no disk"),
    "base exception": ("raise BaseException('never')", "validation failed: BaseException: never"),
}


@pytest.mark.parametrize("kind", VALIDATORS)
def test_what_a_validator_does_is_the_answer_to_its_question_only(folder: Path, kind: str) -> None:
    line, says = VALIDATORS[kind]
    harm(
        folder,
        "from pydantic import model_validator\nclass Harm(Harm):\n    class Config(BaseModel):\n        x: int = 1\n"
        "        @model_validator(mode='after')\n        def check(self):\n"
        f"            {line}\n            return self",
    )
    for _ in range(2):
        with pytest.raises(InvalidDefinition, match="x") as refused:
            catalog.validate("harm", {"x": 2})
        assert says in refused.value.problems["configuration"]

    assert catalog.validate("good", {"x": 3}).configuration == {"x": 3}


def test_the_catalog_answers_again_after_its_process_was_killed(folder: Path) -> None:
    assert catalog.validate("good").configuration == {"x": 1}
    for child in psutil.Process().children():
        if "experiments.catalog.process" in " ".join(child.cmdline()):
            child.kill()

    assert catalog.validate("good").configuration == {"x": 1}


def test_a_question_that_cannot_wait_is_told_that_the_catalog_is_loading(folder: Path) -> None:
    harm(folder, "while True: pass")

    with catalog.without_waiting(), pytest.raises(CatalogUnavailable, match="still being loaded"):
        catalog.validate("good")
    assert catalog.validate("good").configuration == {"x": 1}


def test_the_catalog_process_ends_with_its_client_even_if_it_hangs(folder: Path, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    harm(folder, f"import os; open({str(told)!r}, 'w').write(str(os.getpid()))\nwhile True: pass")
    code = "import django; django.setup(); from experiments import catalog; catalog.use_process(); catalog.current()"
    environ = {**os.environ, "ATHANOR_EXPERIMENTS_IMPORT_MAX_S": "600"}
    with subprocess.Popen([sys.executable, "-c", code], env=environ) as client:
        wait_until(lambda: told.exists() and told.read_text() != "", timeout_s=30, what="the import to hang")
        client.kill()

    wait_until(lambda: not psutil.pid_exists(int(told.read_text())), timeout_s=10, what="the catalog process to end")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_catalog_process_has_the_umask_of_the_operator_and_no_secret(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATHANOR_UMASK", "026")
    monkeypatch.setenv("POSTGRES_PASSWORD", "hidden")
    told = tmp_path / "told"
    harm(folder, f"import os; open({str(told)!r}, 'w').write(open('/proc/self/environ').read() + oct(os.umask(0o26)))")

    assert catalog.validate("good").configuration == {"x": 1}

    assert "PATH=" in told.read_text()
    assert "hidden" not in told.read_text()
    assert told.read_text().endswith("0o26")


@pytest.mark.parametrize("kind", ["chdir", "warnings", "base exception", "endless", "os._exit", "prints", "segfault"])
@pytest.mark.parametrize("command", ["check", "list_experiments"])
def test_commands_answer_whatever_a_module_does(folder: Path, django_db_setup: None, kind: str, command: str) -> None:
    line, says = HARMS[kind]
    harm(folder, line)

    done = subprocess.run(
        [sys.executable, "manage.py", command], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert (says or "") in done.stderr
    assert "aaaa" not in done.stdout
    if command == "list_experiments":
        assert "good" in done.stdout


def test_secrets_are_masked_though_the_validator_hangs(folder: Path) -> None:
    harm(
        folder,
        "from pydantic import SecretStr, model_validator\nclass Harm(Harm):\n    class Config(BaseModel):\n"
        "        plain: str = ''\n        hush: SecretStr = SecretStr('')\n        @model_validator(mode='after')\n"
        "        def check(self):\n            while self.plain: pass\n            return self",
    )
    shown: Callable[[], dict[str, Any]] = lambda: catalog.masked("harm", {"plain": "a", "hush": "b"})  # noqa: E731

    assert shown() == {"plain": "a", "hush": "**********"}
