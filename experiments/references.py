"""References in secret fields: `env:NAME` and `file:PATH` name a secret that the worker reads when a run starts.

A reference is not a secret: it is stored, shown and copied unchanged. `literal:TEXT` is the secret TEXT, even if TEXT
itself begins with `env:`, `file:` or `literal:`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from experiments import variables
from experiments.conf import experiments_settings

ENV, FILE, LITERAL = "env:", "file:", "literal:"
HELP = "A secret, or where the worker reads it: env:NAME or file:PATH. literal:… for a secret that begins like these."


class Unresolved(Exception):
    """A reference cannot be read, or must not be. The message says what to do."""


def is_reference(text: str) -> bool:
    return text.startswith((ENV, FILE))


def literal(secret: str) -> str:
    """Return the text of a field that holds this secret."""
    return LITERAL + secret if secret.startswith((ENV, FILE, LITERAL)) else secret


def resolved(text: str) -> str:
    """Return the secret that a secret field names or holds. Blocks on reading a file. Raises Unresolved."""
    if text.startswith(ENV):
        return _variable(text.removeprefix(ENV))
    if text.startswith(FILE):
        return _file(text.removeprefix(FILE))
    return text.removeprefix(LITERAL)


def _variable(name: str) -> str:
    try:
        value = variables.value_of(name)
    except ValueError as error:
        raise Unresolved(f"{error}.") from error
    if not value:
        raise Unresolved(f"The worker has no environment variable {name!r}. Set it for all workers, and restart them.")
    return value


def _file(name: str) -> str:
    conf = experiments_settings()
    folders = [Path(folder) for folder in conf.secret_folders.split(os.pathsep) if folder]
    path = Path(os.path.realpath(name))  # refuses links that leave the folders
    if not (Path(name).is_absolute() and _is_below(path, folders)):
        listed = ", ".join(map(str, folders)) or "none"
        raise Unresolved(f"The file {name} is in no folder of secrets ({listed}; ATHANOR_EXPERIMENTS_SECRET_FOLDERS).")
    try:
        content = _read(path, conf.secret_file_max_bytes)
    except OSError as error:
        raise Unresolved(f"The worker cannot read the file {name}: {error.strerror or error}.") from error
    if len(content) > conf.secret_file_max_bytes:
        raise Unresolved(f"The file {name} is larger than {conf.secret_file_max_bytes:,} bytes.")
    try:
        return content.decode().removesuffix("\n")
    except ValueError as error:
        raise Unresolved(f"The file {name} is not UTF-8 text.") from error


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(os.path.realpath(folder)) for folder in folders)


def _read(path: Path, max_bytes: int) -> bytes:
    """Read a regular file without following a link that has just replaced it."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError("It is not a regular file")
        return opened.read(max_bytes + 1)
