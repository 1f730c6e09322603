"""Catalog process: imports every source of experiments, describes them, then answers requests about them.

Started by `experiments.catalog.client` as a new interpreter, with a socket for requests and answers and a pipe that
closes when the client exits. It announces each module before it runs the module's code, so that the client knows which
one hangs or ends the process. Imported modules print to /dev/null.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal
import socket
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from experiments import umask
from experiments.catalog import privileges
from experiments.catalog.wire import Closed, Message, Wire

F_SETSIG = 10
"""Linux's fcntl command that sets the signal for a change of a descriptor."""
ENTRY_POINTS = "entry points"
"""Name of this step in messages and blame. It may import an author's packages."""


def main(questions: int, life: int, crashes: int) -> NoReturn:
    """Load everything, then answer until the client exits. The arguments are inherited descriptors."""
    status = 1
    try:
        _end_with_the_client(life)
        faulthandler.enable(crashes, all_threads=True)
        faulthandler.register(signal.SIGUSR2, crashes, all_threads=True, chain=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _silence()
        _Process(Wire(socket.socket(fileno=questions))).live()
    except Closed:
        status = 0
    finally:
        os._exit(status)


class _Process:
    def __init__(self, wire: Wire) -> None:
        self._wire, self._pid = wire, os.getpid()

    def live(self) -> None:
        privileges.drop()
        umask.use_inherited()
        start = self._wire.receive()
        sys.path[:] = start["sys_path"]
        os.environ.pop("PYTHONPATH")
        if start["python_path"] is not None:
            os.environ["PYTHONPATH"] = start["python_path"]
        try:
            answer = self._load(start["skipped"])
        except Exception:
            answer = {"failed": traceback.format_exc()}
        self._wire.send(answer)
        while True:
            answer = self._answer(self._wire.receive())
            self._end_forks()
            self._wire.send(answer)

    def _load(self, skipped: dict[str, Message]) -> Message:
        import django

        django.setup()
        from experiments import registry
        from experiments.catalog import answers, entries
        from experiments.catalog.watched import Watched
        from experiments.conf import experiment_paths
        from experiments.discovery import Problem, candidates

        before = set(sys.modules)
        folders = _folders(experiment_paths())  # their state before the imports, so that later changes are noticed
        with self._blaming(ENTRY_POINTS, []):
            sources, problems = candidates(with_entry_points=ENTRY_POINTS not in skipped)
        if ENTRY_POINTS in skipped:
            problems.append(Problem(ENTRY_POINTS, skipped[ENTRY_POINTS]["traceback"]))
        for candidate in [each for each in sources if each.module in skipped]:
            blamed = skipped[candidate.module]
            names = candidate.hinted_names()
            problems.append(Problem(candidate.where, blamed["traceback"], names, error=blamed["error"]))
        usable = [candidate for candidate in sources if candidate.module not in skipped]
        registered = registry.build(
            usable, problems, lambda candidate: self._blaming(candidate.module, [str(candidate.file or "")])
        )
        registry.install(registered)
        catalog = answers.catalog_of(
            registered, lambda experiment: self._blaming(experiment.__module__, [_file_of(experiment.__module__)])
        )
        watched = Watched(_stamped(before, [str(each.file) for each in sources if each.file]), folders)
        return {"catalog": entries.dumped(catalog), "watched": entries.dumped(watched)}

    @contextmanager
    def _blaming(self, module: str, files: list[str]) -> Iterator[None]:
        """Announce the module that runs within the block, and restore the state of the process afterwards."""
        from experiments.catalog.guard import undisturbed

        self._wire.send({"running": module, "files": files})
        try:
            with undisturbed():
                yield
        except KeyboardInterrupt as error:  # nobody interrupts this process: the author's code raises it
            raise RuntimeError("KeyboardInterrupt was raised") from error
        finally:
            self._end_forks()

    def _end_forks(self) -> None:
        """Exit if this is a forked copy of the catalog process that returned from an author's module."""
        if os.getpid() != self._pid:
            os._exit(0)

    def _answer(self, question: Message) -> Message:
        from experiments.catalog.guard import undisturbed
        from experiments.exceptions import ExperimentsError, InvalidDefinition

        try:
            with undisturbed():
                return {"answer": _QUESTIONS[question["ask"]](question)}
        except InvalidDefinition as error:
            return {"invalid": error.problems, "experiment": error.experiment}
        except ExperimentsError as error:
            return {"invalid": {"experiment": str(error)}, "experiment": question["experiment"]}
        except RecursionError:
            return {"invalid": {"configuration": "it is nested too deeply"}, "experiment": question["experiment"]}
        except BaseException as error:  # an author's validator may raise anything
            from experiments.discovery import one_line

            text = one_line(traceback.TracebackException.from_exception(error))
            return {
                "invalid": {"configuration": f"the experiment's own validation failed: {text}"},
                "experiment": question["experiment"],
            }


def _validate(question: Message) -> Any:
    from experiments.catalog import answers
    from experiments.catalog.entries import dumped

    names = ("experiment", "configuration", "limits", "tags")
    return dumped(answers.validate(*(question[name] for name in names)))


def _configure(question: Message) -> Any:
    from experiments.catalog import answers

    return answers.configure(question["experiment"], question["configuration"])


def _show(question: Message) -> Any:
    from experiments.catalog import answers

    return answers.show(question["experiment"], question["configuration"])


_QUESTIONS: dict[str, Callable[[Message], Any]] = {"validate": _validate, "configure": _configure, "show": _show}


def _folders(paths: list[Path]) -> dict[str, Any]:
    """Return the state of all searched folders: those of the setting, and the packages of apps."""
    from django.apps import apps

    from experiments.catalog.watched import stamps_below

    packages = [Path(app.path) / "experiments" for app in apps.get_app_configs() if app.name != "experiments"]
    return {str(path): stamps_below(path) for path in [*paths, *packages]}


def _stamped(before: set[str], sources: list[str]) -> dict[str, Any]:
    """Return the state of all files imported for experiments, except Python's own, and of each app's experiments.py."""
    from django.apps import apps

    from experiments import folders
    from experiments.catalog.watched import stamps

    library = sysconfig.get_path("stdlib")
    modules = [module for name, module in list(sys.modules.items()) if name not in before]
    files = {str(getattr(module, "__file__", None) or "") for module in [*modules, *folders.neighbours()]} - {""}
    own = [file for file in files if not file.startswith(library) or "site-packages" in file]
    of_apps = [str(Path(app.path) / "experiments.py") for app in apps.get_app_configs()]
    return stamps(sorted({*own, *sources, *of_apps}))


def _file_of(module: str) -> str:
    return str(getattr(sys.modules.get(module), "__file__", None) or "")


def _silence() -> None:
    """Redirect the standard streams to /dev/null: authors' modules print nothing and read nothing."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _end_with_the_client(life: int) -> None:
    """Have the kernel kill this process when the other end of the pipe closes, whatever it is doing then."""
    with suppress(OSError, ValueError, AttributeError):
        fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(life, F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
