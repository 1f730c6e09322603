"""Environment of experiments: the worker's, without Athanor's own credentials. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runs.forkserver.marks import ATTEMPT_MARK, SERVER_MARK

if TYPE_CHECKING:
    from runs.states import AttemptKey  # loads Django, which the keeper must not

SETTINGS_MODULE = "ATHANOR_SETTINGS_MODULE"
"""Keeps DJANGO_SETTINGS_MODULE for processes that multiprocessing spawns."""

_SECRET_WORDS = frozenset({"URL", "URI", "DSN", "SECRET", "PASSWORD", "TOKEN", "KEY", "CREDENTIALS"})
_SECRETS = frozenset(
    {
        "CELERY_BROKER_URL",
        "CELERY_BROKER_READ_URL",
        "CELERY_BROKER_WRITE_URL",
        "CELERY_RESULT_BACKEND",
        "DJANGO_SUPERUSER_PASSWORD",
    }
)


def is_secret(name: str) -> bool:
    """Return True for a credential of Athanor. Those of an experiment (OPENAI_API_KEY, ...) are not secret to it."""
    return name in _SECRETS or (name.startswith("ATHANOR_") and not _SECRET_WORDS.isdisjoint(name.split("_")))


def for_children(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the worker's environment that an experiment receives."""
    kept = {name: value for name, value in environ.items() if not is_secret(name)}
    kept.pop(SERVER_MARK, None)
    kept.pop(ATTEMPT_MARK, None)
    return {**kept, "ATHANOR_ROLE": "child"}


def for_server(environ: Mapping[str, str], *, project: str, mark: str, var: str | None) -> dict[str, str]:
    """Return the environment of a fork server. `var`: folder of the account of its runs, in place of Athanor's."""
    kept = for_children(environ)
    python_path = kept.get("PYTHONPATH")
    kept["PYTHONPATH"] = os.pathsep.join([project, *([python_path] if python_path else [])])
    kept[SERVER_MARK] = mark
    if var is not None:
        kept.pop("ATHANOR_RUNS_VAR", None)
        kept["ATHANOR_VAR"] = var
    return kept


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
