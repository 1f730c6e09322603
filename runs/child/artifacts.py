"""Keeping a file with a run: whole or not at all, under a name that stays within the run's folder."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from runs.lines.records import ArtifactRecord

NAME_MAX_CHARS = 255
_PART_MAX_BYTES = 200
_CHUNK_BYTES = 1024 * 1024
_numbers = itertools.count(1)


def keep(
    folder: Path, attempt: int, source: Path | str | bytes, name: str | None, content_type: str | None
) -> ArtifactRecord:
    """Copy a file, or bytes, to `folder`/artifacts/`attempt`/`name`, replacing what is there. It appears in one step,
    on the disk.

    Raises ValueError for a name that is not a plain relative path, or bytes without a name; OSError as files do.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        if name is None:
            raise ValueError("An artifact made of bytes needs a name: ctx.artifact(data, 'model.bin')")
        checked = checked_name(name)
        return _keep(folder, attempt, io.BytesIO(source), checked, content_type)
    path = Path(source)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; an artifact is one file (pack it with shutil.make_archive)")
    checked = checked_name(path.name if name is None else name)
    with path.open("rb") as file:
        return _keep(folder, attempt, file, checked, content_type)


def checked_name(name: str) -> str:
    """`name` in its plain form (`a//b` is `a/b`). Raises ValueError."""
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
            f"{name!r} is no name for an artifact: it must be a plain relative path of at most {NAME_MAX_CHARS}"
            " characters"
        )
    return str(path)


def _keep(folder: Path, attempt: int, source: BinaryIO, name: str, content_type: str | None) -> ArtifactRecord:
    below = folder / "artifacts" / str(attempt)
    target = below / name
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


def _copy(source: BinaryIO, target: Path) -> tuple[int, str]:
    """Copy; returns size and SHA-256. It is on the disk at return."""
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _guessed_type(name: str) -> str:
    import mimetypes  # reads the system's tables, which most runs do without

    return mimetypes.guess_type(name)[0] or "application/octet-stream"
