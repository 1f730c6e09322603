"""Keep files with a run: each whole or not at all, under a name that stays within the run's folder."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from runs.conf import runs_settings
from runs.lines.records import ArtifactRecord

NAME_MAX_CHARS = 255
_PART_MAX_BYTES = 200
_CHUNK_BYTES = 1024 * 1024
_numbers = itertools.count(1)


class Kept(NamedTuple):
    """What was kept: a file, or a folder with its files."""

    path: Path
    records: list[ArtifactRecord]


def keep(folder: Path, attempt: int, source: Path | str | bytes, name: str | None, content_type: str | None) -> Kept:
    """Copy a file, or bytes, to `folder`/artifacts/`attempt`/`name`, replacing what is there. It appears in one step,
    on the disk. Of a folder each file is kept, below `name`, or an archive if the name ends as one.

    Raises ValueError for a name that is not a plain relative path or that is taken by what is kept already, bytes
    without a name, and a folder that cannot be kept whole; OSError as files do.
    """
    below = folder / "artifacts" / str(attempt)
    if isinstance(source, (bytes, bytearray, memoryview)):
        if name is None:
            raise ValueError("An artifact made of bytes needs a name: ctx.artifact(data, 'model.bin')")
        checked = checked_name(name)
        return Kept(below / checked, [_keep(folder, below, io.BytesIO(source), checked, content_type)])
    path = Path(source)
    checked = checked_name(path.absolute().name if name is None else name)
    if not path.is_dir():
        return Kept(below / checked, [_keep_file(folder, below, path, checked, content_type)])
    if name is not None and (archive := _archive_format(checked)):
        return Kept(below / checked, [_keep_archive(folder, below, path, checked, archive)])
    files = [(file, checked_name(f"{checked}/{file.relative_to(path).as_posix()}")) for file in files_in(path)]
    return Kept(below / checked, [_keep_file(folder, below, file, target, content_type) for file, target in files])


def files_in(folder: Path) -> list[Path]:
    """Every file below a folder, in order. Raises ValueError for a folder that cannot be kept file by file."""
    most = runs_settings().artifact_files_max
    files: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        if not path.is_file():
            raise ValueError(f"{path} is neither a file nor a folder, so {folder} cannot be kept as an artifact")
        files.append(path)
        if len(files) > most:
            raise ValueError(
                f"{folder} has more than {most} files (artifact_files_max). Keep it as one archive:"
                f" ctx.artifact({str(folder)!r}, {folder.name + '.zip'!r})"
            )
    if not files:
        raise ValueError(f"{folder} has no files, so there is nothing to keep")
    return files


def _archive_format(name: str) -> str | None:
    """The format of shutil.make_archive for a file of this name."""
    formats = {".zip": "zip", ".tar": "tar", ".tar.gz": "gztar", ".tgz": "gztar"}
    return next((format_ for ending, format_ in formats.items() if name.endswith(ending)), None)


def _keep_archive(folder: Path, below: Path, source: Path, name: str, archive: str) -> ArtifactRecord:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tmp-") as drafts:
        packed = Path(shutil.make_archive(str(Path(drafts) / "packed"), archive, root_dir=source))
        return _keep_file(folder, below, packed, name, None)


def _keep_file(folder: Path, below: Path, path: Path, name: str, content_type: str | None) -> ArtifactRecord:
    with path.open("rb") as file:
        return _keep(folder, below, file, name, content_type)


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


def _keep(folder: Path, below: Path, source: BinaryIO, name: str, content_type: str | None) -> ArtifactRecord:
    target = below / name
    _check_that_it_fits(below, name)
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


def _check_that_it_fits(below: Path, name: str) -> None:
    """Raises ValueError where a file and a folder would have one name."""
    for parent in PurePosixPath(name).parents:
        if (below / parent).is_file():
            raise ValueError(
                f"The artifact {name!r} cannot be kept: {str(parent)!r} is an artifact of this attempt already, and a"
                " file cannot hold others. Choose another name for one of them."
            )
    if (below / name).is_dir():
        raise ValueError(
            f"The artifact {name!r} cannot be kept as a file: this attempt has artifacts below {name!r} already. Choose"
            " another name."
        )


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
