"""Storage of artifacts: each file is stored as a whole or not at all, within the run's folder."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from experiments.umask import PRIVATE_FOLDER
from runs.conf import runs_settings
from runs.forkserver.account import file_mode
from runs.lines.records import ArtifactRecord

NAME_MAX_CHARS = 255
_PART_MAX_BYTES = 200
_CHUNK_BYTES = 1024 * 1024
_numbers = itertools.count(1)


class Stored(NamedTuple):
    """Stored artifact: a file, or a folder with its files."""

    path: Path
    records: list[ArtifactRecord]


def store(folder: Path, attempt: int, source: Path | str | bytes, name: str | None, content_type: str | None) -> Stored:
    """Copy a file, or bytes, to `folder`/artifacts/`attempt`/`name`. It replaces an earlier one atomically, and is on
    disk at return. Each file of a folder is stored below `name`, or an archive if the name ends as one.

    Raises ValueError for a name that is not a plain relative path or conflicts with an earlier artifact, for bytes
    without a name, and for a folder that cannot be stored as a whole; OSError as files do.
    """
    below = folder / "artifacts" / str(attempt)
    if isinstance(source, (bytes, bytearray, memoryview)):
        if name is None:
            raise ValueError("An artifact made of bytes needs a name: ctx.artifact(data, 'model.bin')")
        checked = checked_name(name)
        return Stored(below / checked, [_store(folder, below, io.BytesIO(source), checked, content_type)])
    path = Path(source)
    checked = checked_name(path.absolute().name if name is None else name)
    if not path.is_dir():
        return Stored(below / checked, [_store_file(folder, below, path, checked, content_type)])
    if name is not None and (archive := _archive_format(checked)):
        return Stored(below / checked, [_store_archive(folder, below, path, checked, archive)])
    files = [(file, checked_name(f"{checked}/{file.relative_to(path).as_posix()}")) for file in files_in(path)]
    return Stored(below / checked, [_store_file(folder, below, file, target, content_type) for file, target in files])


def files_in(folder: Path) -> list[Path]:
    """List every file below a folder, in order. Raises ValueError if the folder cannot be stored file by file."""
    limit = runs_settings().artifact_files_max
    files: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        if not path.is_file():
            raise ValueError(f"{path} is neither a file nor a folder, so {folder} cannot be stored as an artifact")
        files.append(path)
        if len(files) > limit:
            raise ValueError(
                f"{folder} has more than {limit} files (artifact_files_max). Store it as one archive:"
                f" ctx.artifact({str(folder)!r}, {folder.name + '.zip'!r})"
            )
    if not files:
        raise ValueError(f"{folder} has no files to store")
    return files


def _archive_format(name: str) -> str | None:
    """Return the format of shutil.make_archive for a file name; None if it is not that of an archive."""
    formats = {".zip": "zip", ".tar": "tar", ".tar.gz": "gztar", ".tgz": "gztar"}
    return next((format_ for ending, format_ in formats.items() if name.endswith(ending)), None)


def _store_archive(folder: Path, below: Path, source: Path, name: str, archive: str) -> ArtifactRecord:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tmp-") as drafts:
        packed = Path(shutil.make_archive(str(Path(drafts) / "packed"), archive, root_dir=source))
        return _store_file(folder, below, packed, name, None)


def _store_file(folder: Path, below: Path, path: Path, name: str, content_type: str | None) -> ArtifactRecord:
    with path.open("rb") as file:
        return _store(folder, below, file, name, content_type)


def checked_name(name: str) -> str:
    """Validate a name and return its normal form (`a/b` for `a//b`). Raises ValueError."""
    path = PurePosixPath(name)
    is_plain = (
        path.parts
        and not path.is_absolute()
        and ".." not in path.parts
        and "\\" not in name
        and name.isprintable()
        and not path.parts[0].startswith(".tmp-")
    )
    if (
        not is_plain
        or len(name) > NAME_MAX_CHARS
        or any(len(os.fsencode(part)) > _PART_MAX_BYTES for part in path.parts)
    ):
        raise ValueError(
            f"Invalid name of an artifact {name!r}. Use a plain relative path of at most {NAME_MAX_CHARS} characters."
        )
    return str(path)


def _store(folder: Path, below: Path, source: BinaryIO, name: str, content_type: str | None) -> ArtifactRecord:
    target = below / name
    _check_conflicts(below, name)
    folder.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = below / f".tmp-{os.getpid()}-{next(_numbers)}"
    try:
        size, digest = _copy(source, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return {
        "name": name,
        "path": target.relative_to(folder).as_posix(),
        "size_bytes": size,
        "sha256": digest,
        "content_type": content_type or _guessed_type(name),
    }


def _check_conflicts(below: Path, name: str) -> None:
    """Raise ValueError if a file and a folder would have the same name."""
    for parent in PurePosixPath(name).parents:
        if (below / parent).is_file():
            raise ValueError(
                f"The artifact {name!r} cannot be stored: {str(parent)!r} is already a file of this attempt. Choose"
                " another name for one of them."
            )
    if (below / name).is_dir():
        raise ValueError(
            f"The artifact {name!r} cannot be stored as a file: this attempt already has artifacts below {name!r}."
            " Choose another name."
        )


def _copy(source: BinaryIO, target: Path) -> tuple[int, str]:
    """Copy a file, and sync it to disk. Return its size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    target.touch(file_mode(), exist_ok=False)
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _guessed_type(name: str) -> str:
    import mimetypes  # reads the system's tables, which few runs need

    return mimetypes.guess_type(name)[0] or "application/octet-stream"
