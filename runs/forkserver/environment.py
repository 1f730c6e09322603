"""Environment of experiments: the allowed part of the worker's environment."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from experiments.conf import experiments_settings
from runs.conf import runs_settings
from runs.forkserver.marks import ATTEMPT_MARK, SERVER_MARK
from runs.forkserver.variables import is_passed_on

if TYPE_CHECKING:
    from runs.states import AttemptKey  # loads Django, which the keeper must not

SETTINGS_MODULE = "ATHANOR_SETTINGS_MODULE"
"""Keeps DJANGO_SETTINGS_MODULE for processes that multiprocessing spawns."""


def for_children(environ: Mapping[str, str], added: Collection[str] = ()) -> dict[str, str]:
    """Return the part of the worker's environment that an experiment receives, see runs.forkserver.variables."""
    kept = {name: value for name, value in environ.items() if is_passed_on(name, added)}
    return {**kept, "ATHANOR_ROLE": "child"}


def of_experiments() -> dict[str, str]:
    """Return the part of this process's environment that processes of experiments receive."""
    return for_children(os.environ, (*runs_settings().variables, *experiments_settings().variables))


def of_server(*, project: str, mark: str, var: str | None) -> tuple[dict[str, str], str | None]:
    """Return the environment of a fork server, and the PYTHONPATH of its runs.

    `var`: folder of the account of its runs, in place of ATHANOR_VAR.
    """
    kept = of_experiments()
    python_path = kept.get("PYTHONPATH")
    kept["PYTHONPATH"] = os.pathsep.join([project, *([python_path] if python_path else [])])
    kept[SERVER_MARK] = mark
    if var is not None:
        kept.pop("ATHANOR_RUNS_VAR", None)
        kept["ATHANOR_VAR"] = var
    return kept, python_path


def leave_to_programs(environ: MutableMapping[str, str], *, project: str, imports: str | None) -> None:
    """Remove variables of Athanor, so that programs that the experiment starts do not inherit them.

    Removes `project`, Athanor's own folder, from PYTHONPATH, where it would hide another project's `runs` or
    `experiments`. Adds `imports` (see runs.child.importable) at its end.
    """
    if module := environ.pop("DJANGO_SETTINGS_MODULE", None):
        environ[SETTINGS_MODULE] = module
    entries = [
        entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry not in ("", project, imports)
    ]
    if imports is not None:
        entries.append(imports)
    environ.pop("PYTHONPATH", None)
    if entries:
        environ["PYTHONPATH"] = os.pathsep.join(entries)


@contextmanager
def settings_module(environ: MutableMapping[str, str]) -> Iterator[None]:
    """Set Django's settings module to Athanor's during the block."""
    before = environ.get("DJANGO_SETTINGS_MODULE")
    environ["DJANGO_SETTINGS_MODULE"] = environ.get(SETTINGS_MODULE, "athanor.settings")
    try:
        yield
    finally:
        del environ["DJANGO_SETTINGS_MODULE"]
        if before is not None:
            environ["DJANGO_SETTINGS_MODULE"] = before


def marks(key: AttemptKey) -> dict[str, str]:
    """Return the variables to add for one attempt."""
    return {ATTEMPT_MARK: str(key)}
