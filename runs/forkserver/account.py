"""Unix account of the runs of a fork server, and the irreversible change of a process to it.

The server changes after its fork from the keeper and before it imports anything, so that nothing of Django, of a
library or of an experiment is executed with the worker's rights. The keeper does not change: no run can signal it, and
it ends what is left of a killed server. Light to import: no Django.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import resource
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from runs.forkserver import mounts, prctl

UMASK = 0o007
"""Files of a run belong to its account and, in its folder, to the worker's group, for pages and deletion."""
FOLDER_MODE = 0o2770
PRIVATE_TMP_AND_PROC = "private /tmp and /proc"
PASS, OTHERS_LIST_OR_WRITE = 0o011, 0o006
"""Permissions to pass through a folder, and to list or change its entries, for other users."""


Private = Literal["no", "if_possible", "required"]


class AccountUnusable(Exception):
    """Runs cannot use this account. `str()` is the reason."""


@dataclass(frozen=True, slots=True)
class Account:
    """Unix account with the limits of its processes."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    folder: str
    """Its own folder, in place of Athanor's: byte code, and packages for processes that runs start."""
    processes_max: int = 0
    """Number of processes and threads of this account on the machine. 0: as the worker's."""
    open_files_max: int = 0
    """Number of open files of each process. 0: as the worker's."""
    private: Private = "no"
    """Private /tmp and /proc, see mounts.py."""
    tmp_max_bytes: int = 0
    shown: tuple[str, ...] = ()
    """Folders that remain visible, although they may be below /tmp."""

    def encoded(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decoded(cls, text: str) -> Account:
        values = json.loads(text)
        return cls(**{**values, "groups": tuple(values["groups"]), "shown": tuple(values["shown"])})


def find(name: str, folders: Path, **options: Any) -> Account:
    """Look up an account. Its folder is in `folders`; `options` are further fields.

    Raises AccountUnusable if there is no such user, or if its runs would not be separate from Athanor.
    """
    try:
        row = pwd.getpwnam(name)
    except KeyError:
        raise AccountUnusable(f"there is no Unix user {name!r} on this machine") from None
    groups = tuple(sorted({row.pw_gid, *os.getgrouplist(name, row.pw_gid)}))
    if row.pw_uid == 0:
        raise AccountUnusable(f"{name!r} is the superuser")
    if row.pw_uid in (os.getuid(), os.geteuid()):
        raise AccountUnusable(f"{name!r} is the user of Athanor itself")
    if shared := {0, os.getegid()}.intersection(groups):
        names = ", ".join(map(_group_name, sorted(shared)))
        raise AccountUnusable(f"{name!r} is a member of the group {names}, which owns files of Athanor")
    return Account(name, row.pw_uid, row.pw_gid, groups, row.pw_dir, str(folders / name), **options)


def _group_name(gid: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


def check_permission() -> None:
    """Raise AccountUnusable unless this process may start processes of other accounts."""
    if not prctl.IS_LINUX:
        raise AccountUnusable("only Linux can start runs as other users")
    if missing := [name for name, number in _NEEDED.items() if not prctl.has_capability(number)]:
        raise AccountUnusable(f"this process is neither root nor has {', '.join(missing)}")


_NEEDED = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7}

_current: Account | None = None
_obstacle = ""
"""Why this process has no private /tmp and /proc; empty if it has them or does not need them."""


def enter(account: Account) -> None:
    """Isolate this process from other accounts, and change it to its account. Raises OSError like `become`."""
    global _obstacle  # noqa: PLW0603  # as in `become`
    if account.private != "no":
        _obstacle = mounts.isolate(account.shown, account.tmp_max_bytes)
    become(account)


def isolation() -> str:
    """Return the isolation of this process besides its user. Raises AccountUnusable if it is less than required."""
    if _current is None or _current.private == "no":
        return ""
    if not _obstacle:
        return PRIVATE_TMP_AND_PROC
    if _current.private == "required":
        raise AccountUnusable(f"Runs of {_current.name!r} must have a private /tmp and /proc: {_obstacle}.")
    return f"no private /tmp and /proc: {_obstacle}"


def has_private_tmp() -> bool:
    return _current is not None and _current.private != "no" and not _obstacle


def become(account: Account) -> None:
    """Change this process to an account permanently, without capabilities. Raises OSError; then the caller must exit.

    Other processes of the account can signal this one from then on, but cannot trace it or read its memory or files.
    """
    global _current  # noqa: PLW0603  # of this process, and inherited by its children
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NPROC, account.processes_max or None)
    _limit(resource.RLIMIT_NOFILE, account.open_files_max or None)
    os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    prctl.drop_capabilities()
    prctl.forbid_new_privileges()
    prctl.set_dumpable(False)
    if not _has_become(account):
        raise PermissionError(f"this process did not become the user {account.name}")
    os.umask(UMASK)
    os.environ.update(HOME=account.home, USER=account.name, LOGNAME=account.name, ATHANOR_UMASK=f"{UMASK:03o}")
    _current = account


def _limit(kind: int, value: int | None) -> None:
    if value is not None:
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _has_become(account: Account) -> bool:
    is_user = os.getresuid() == (account.uid,) * 3 and os.getresgid() == (account.gid,) * 3
    return is_user and sorted(os.getgroups()) == sorted(account.groups) and not prctl.capabilities()


def is_changed() -> bool:
    """Return whether this process, or the server that forked it, has changed to an account."""
    return _current is not None


def file_mode() -> int:
    """Return the permissions of new files in a run's folder: for its account and the worker's group."""
    return 0o600 if _current is None else 0o660


def allow_inspection() -> None:
    """Let processes of the account inspect this child of its server. Its memory holds no secret of Athanor."""
    if _current is not None:
        prctl.set_dumpable(True)


def prepare_folder(folder: Path, account: Account) -> None:
    """Create a run's folder for its account and for the group of this process, or check an existing one.

    The parents must belong to this process. Raises OSError, AccountUnusable.
    """
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        status = folder.lstat()
        if (status.st_uid, status.st_mode & 0o170000) != (account.uid, 0o040000):
            raise AccountUnusable(f"{folder} belongs to another user than {account.name!r}") from None
        return
    folder.chmod(FOLDER_MODE)  # before it changes its owner
    os.chown(folder, account.uid, os.getegid())


def make_passable(folder: Path) -> None:
    """Create a folder if it is missing, and let other users pass through it without listing its entries."""
    folder.mkdir(0o700, parents=True, exist_ok=True)
    mode = folder.stat().st_mode & 0o7777
    if (new := mode & ~OTHERS_LIST_OR_WRITE | PASS) != mode:
        folder.chmod(new)
