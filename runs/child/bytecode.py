"""Byte code of the modules that experiments are made of, kept in `var/bytecode` where Python keeps none.

Python keeps it beside the source, unless PYTHONDONTWRITEBYTECODE is set, as in containers, or the folder is read-only.
Then every run would compile the experiment again. Modules of Python and of installed packages are not concerned.

There is one file for each source file and version of Python. It begins with the digest of the source, so that an edit
is seen at the next run, whatever the time of the file says.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import sys
import sysconfig
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import machinery
from pathlib import Path
from types import CodeType
from typing import Any

from experiments.umask import PRIVATE_FILE, PRIVATE_FOLDER

FILES_MAX = 10_000
"""Number of files that the folder holds. Further ones are not kept."""
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def install(folder: Path) -> None:
    """Keep byte code in `folder` from now on, in this process and those that are forked from it."""
    sys.path_hooks.insert(0, _path_hook(folder))
    for path in [path for path in sys.path_importer_cache if not _is_library(path)]:
        del sys.path_importer_cache[path]


def _is_library(path: str) -> bool:
    return path.startswith(_LIBRARIES)


def _path_hook(folder: Path) -> Callable[[str], Any]:
    finder_of = machinery.FileFinder.path_hook(
        (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
        (partial(KeepingLoader, folder=folder), machinery.SOURCE_SUFFIXES),  # type: ignore[arg-type]  # called only
        (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
    )

    def hook(path: str) -> Any:
        if _is_library(path):
            raise ImportError(f"{path} has installed packages", path=path)
        return finder_of(path)

    return hook


class KeepingLoader(machinery.SourceFileLoader):
    """Loader of source files that keeps their byte code in `folder` if Python does not keep it."""

    def __init__(self, fullname: str, path: str, *, folder: Path) -> None:
        super().__init__(fullname, path)
        self._folder = folder

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        if not sys.dont_write_bytecode and os.access(os.path.dirname(path), os.W_OK):  # noqa: PTH120  # as importlib does
            return super().get_code(fullname)
        source = self.get_data(path)
        file, digest = self._file_of(path), hashlib.sha256(importlib.util.MAGIC_NUMBER + source).digest()
        code = _read(file, digest)
        if code is None:
            code = self.source_to_code(source, path)
            _write(file, digest, code)
        return code

    def _file_of(self, path: str) -> Path:
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
        return self._folder / f"{name}.{sys.implementation.cache_tag}.{sys.flags.optimize}"


def _read(file: Path, digest: bytes) -> CodeType | None:
    """Return the code that was kept for a source with this digest; None if there is none."""
    with suppress(OSError, EOFError, ValueError, TypeError):
        data = file.read_bytes()
        if data.startswith(digest):
            code = marshal.loads(data[len(digest) :])  # noqa: S302  # nosec B302  # written by _write
            return code if isinstance(code, CodeType) else None
    return None


def _write(file: Path, digest: bytes, code: CodeType) -> None:
    """Keep code. A process that reads meanwhile gets the old file or the new one. Does nothing where that fails."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(OSError, ValueError):
        file.parent.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        if file.exists() or len(os.listdir(file.parent)) < FILES_MAX:  # noqa: PTH208  # counted only
            draft.touch(PRIVATE_FILE)
            draft.write_bytes(digest + marshal.dumps(code))
            draft.replace(file)
