"""Private /tmp and /proc of the processes of an account, in a mount namespace of their fork server.

/tmp and /var/tmp are file systems in memory, which end with the server. In /proc, a process sees only processes of
its own account. Needs CAP_SYS_ADMIN. Light to import: no Django.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_SLAVE = 2, 4, 8, 4096, 16384, 1 << 19
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108  # replaced, not used
_libc = ctypes.CDLL(None, use_errno=True)


def isolate(shown: Sequence[str], tmp_max_bytes: int) -> str:
    """Give this process and its children a private /tmp and /proc. Return the obstacle; empty if they have them.

    `shown`: folders that remain visible where they are. Raises OSError if that fails after /tmp was replaced; then the
    caller must exit. Changes the umask.
    """
    if _libc.unshare(_CLONE_NEWNS) != 0:
        return os.strerror(ctypes.get_errno())
    try:
        _mount("none", "/", "", _MS_REC | _MS_SLAVE)
        _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "hidepid=2")
    except OSError as error:
        return str(error.strerror)
    _replace_temporary(shown, tmp_max_bytes)
    return ""


def _replace_temporary(shown: Sequence[str], tmp_max_bytes: int) -> None:
    folders = sorted({folder for folder in map(os.path.realpath, _TEMPORARY) if Path(folder).is_dir()})
    inside = [path for path in map(os.path.realpath, shown) if path.startswith(tuple(f"{each}/" for each in folders))]
    held = {path: os.open(path, os.O_PATH) for path in dict.fromkeys(inside) if Path(path).exists()}
    for folder in folders:
        _mount("tmpfs", folder, "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode=1777,size={tmp_max_bytes}")
    os.umask(0o022)  # for parents of the folders that are shown
    for path, fd in sorted(held.items()):
        with suppress(FileExistsError):  # inside another folder that is shown
            Path(path).mkdir(0o755, parents=True)
        _mount(f"/proc/self/fd/{fd}", path, "", _MS_BIND | _MS_REC)
        os.close(fd)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    texts = [text.encode() or None for text in (source, target, kind)]
    if _libc.mount(*texts, ctypes.c_ulong(flags), options.encode() or None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount {target}: {os.strerror(code)}")


def empty_temporary() -> None:
    """Empty the private folders for temporary files. Only while there are no runs."""
    for folder in _TEMPORARY:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.stat(follow_symlinks=False).st_uid != os.getuid():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        Path(entry.path).unlink()
