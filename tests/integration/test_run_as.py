"""Runs of another Unix user: what their processes are, what they cannot reach, and how they are ended. Needs root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from runs.conf import runs_settings
from runs.exceptions import SpawnFailed
from runs.forkserver import account
from runs.forkserver.account import Account
from runs.forkserver.client import ChildSpec, ForkServer
from runs.forkserver.servers import ForkServers
from runs.forkserver.spec import Fate
from runs.models import Run
from runs.recovery import failure_report
from runs.supervisor import accounts
from runs.supervisor.accounts import prepare_folder
from tests.integration.spawning import Heard, alive, run, spec
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.any_database,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux"),
]
ROOT = Path(__file__).parents[2]
ALICE, BOB = "nobody", "daemon"
"""Users of every Linux."""
SHOW = """mkdir -p {aside} && mount --bind {base} {aside} && mount -t tmpfs -o mode=755 tmpfs {closed} \\
  && (umask 022; mkdir -p {base}) && mount --bind {aside} {base} && umount {aside}"""
"""Shows the interpreter, which is in a folder that only root can enter, to other users too."""


class Ground(NamedTuple):
    """Var folder, with servers of two accounts."""

    var: Path
    servers: ForkServers
    alice: Account
    bob: Account

    def spec(self, number: str, owner: Account, experiment: str = "probe", **configuration: Any) -> ChildSpec:
        """Return the spec of a run whose folder is prepared."""
        folder = self.var / "runs" / number
        folder.parent.mkdir(exist_ok=True)
        made = spec(folder, experiment, **configuration)
        prepare_folder(folder, owner)
        object.__setattr__(made, "folder", folder)
        object.__setattr__(made, "stacks_path", folder / "stacks-1.txt")
        return made

    def server(self, owner: Account) -> ForkServer:
        return self.servers.of(owner)


def closed_above(folder: Path) -> list[Path]:
    """Return the folders on the way to this one that other users cannot enter."""
    return [each for each in (folder, *folder.parents) if not each.stat().st_mode & 0o001]


@cache
def may_mount() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def mounts() -> None:
    if not may_mount():
        pytest.skip("this container may not mount")


@pytest.fixture(scope="module")
def ground(child_environment: None) -> Iterator[Ground]:
    is_shut = closed_above(ROOT) or closed_above(Path(sys.prefix).resolve())
    if is_shut or (closed_above(Path(sys.base_prefix)) and not may_mount()):
        pytest.skip("other users cannot read Python or this folder")
    var = Path(tempfile.mkdtemp(prefix="ath-as-", dir="/tmp"))
    umask = os.umask(0o077)  # as in a worker
    account.make_passable(var)
    for secret in ("secret_key", "db.sqlite3"):
        (var / secret).touch(0o600)
        (var / secret).write_text("secret")
    shutil.copy(shutil.which("id") or "", var / "id")
    (var / "id").chmod(0o4755)
    alice, bob = (account.find(name, var / "accounts", processes_max=500, open_files_max=1500) for name in (ALICE, BOB))
    servers = ForkServers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", _interpreter(var))
        yield Ground(var, servers, alice, bob)
    servers.stop()
    os.umask(umask)
    shutil.rmtree(var)


def _interpreter(var: Path) -> str:
    """Return an interpreter that other users can execute."""
    base, script = Path(sys.base_prefix), var / "python"
    closed = closed_above(base)
    start = f'exec $USER_OF_TEST {sys.executable} "$@"'
    if closed:
        show = SHOW.format(aside=var / "aside", base=base, closed=closed[-1])
        start = f"exec unshare -m sh -c '{show} && {start}' sh \"$@\""
    script.write_text(f"#!/bin/sh\n{start}\n")
    script.chmod(0o755)
    return str(script)


def keeper_of(server: ForkServer) -> int:
    return psutil.Process(server.pid).ppid()


def test_a_run_is_of_its_account_and_has_its_limits(ground: Ground) -> None:
    heard = run(ground.server(ground.alice), ground.spec("1", ground.alice, "identity"))

    uid, gid = ground.alice.uid, ground.alice.gid
    summary = heard.summary
    stored, made = summary.pop("stored"), summary.pop("made")
    assert summary == {
        "uids": [uid] * 3,
        "gids": [gid] * 3,
        "groups": [gid],
        "names": [ground.alice.home, ALICE, ALICE],
        "capabilities": ["0" * 16] * 4,
        "no_new_privs": "1",
        "core": [0, 0],
        "processes": [500, 500],
        "files": [1500, 1500],
        "descriptors": True,
    }
    assert "spoken" in heard.lines()
    assert stored == [str(ground.var / "runs/1/artifacts/1/deep/er/table.csv"), "0o100660", os.getegid()]
    assert made == [str(ground.var / "runs/1/work/made.txt"), "0o100660", os.getegid()]


@pytest.fixture(scope="module")
def refusals(ground: Ground) -> dict[str, str]:
    """Have one run of Alice try everything, while a run of Bob is there and has a file."""
    server, other = ground.server(ground.alice), ground.server(ground.bob)
    victim = Heard(other, ground.spec("2", ground.bob, do="tree", path="hold"))
    victim.wait_for("spawned")
    theirs = ground.var / "runs/2/theirs"
    theirs.write_text("secret")
    attempts = attempted(ground, server, {"other": victim.child.pid, "server": server.pid or 0})
    heard = run(server, ground.spec("3", ground.alice, "intruder", attempts=list(attempts.values())))
    assert theirs.read_text() == "secret"
    victim.child.kill()
    victim.wait()
    return dict(zip(attempts, heard.summary, strict=True))


def attempted(ground: Ground, server: ForkServer, pids: dict[str, int]) -> dict[str, tuple[str, str]]:
    """Return the attempts by name: an action of the intruder, and its argument."""
    pids = {**pids, "worker": os.getpid(), "keeper": keeper_of(server)}
    not_own = {name: pid for name, pid in pids.items() if name != "server"}
    files = {
        **{f"{what} of the {name}": f"/proc/{pid}/{what}" for name, pid in pids.items() for what in ("environ", "mem")},
        "secret key": str(ground.var / "secret_key"),
        "database": str(ground.var / "db.sqlite3"),
        "file of another's run": str(ground.var / "runs/2/theirs"),
    }
    folders = {
        **{f"descriptors of the {name}": f"/proc/{pid}/fd" for name, pid in pids.items()},
        **{name: str(ground.var / name) for name in (".", "runs", "runs/2", "accounts", f"accounts/{BOB}")},
    }
    return {
        **{f"read the {name}": ("read", path) for name, path in files.items()},
        **{f"list {name}": ("enumerate_folder", path) for name, path in folders.items()},
        "write a file of another's run": ("write", files["file of another's run"]),
        "write into another's run": ("write", str(ground.var / "runs/2/new")),
        "make a folder's neighbour": ("write", str(ground.var / "runs/4")),
        "replace the database": ("write", files["database"]),
        "remove the database": ("remove", files["database"]),
        "poison another's byte code": ("write", str(ground.var / f"accounts/{BOB}/bytecode/x")),
        **{f"signal the {name}": ("signal_process", str(pid)) for name, pid in not_own.items()},
        **{f"trace the {name}": ("trace", str(pid)) for name, pid in pids.items()},
        "become root": ("become_user", "0"),
        "become the other user": ("become_user", str(ground.bob.uid)),
        "become the group of root": ("become_group", "0"),
        "join the group of root": ("join_groups", "0"),
        "change the root folder": ("change_root", "/"),
        "raise a limit": ("raise_limit", ""),
        "execute a program as root": ("execute_as_owner", str(ground.var / "id")),
    }


def test_a_run_is_refused_what_is_not_its_accounts(refusals: dict[str, str]) -> None:
    assert len(refusals) > 30
    assert {name: outcome for name, outcome in refusals.items() if outcome != "refused"} == {}


def test_kill_takes_the_tree_along(ground: Ground) -> None:
    heard = Heard(ground.server(ground.alice), ground.spec("5", ground.alice, do="tree", path="hold"))
    heard.wait_for("spawned")
    tree = heard.tree()
    assert tree
    heard.child.kill()

    assert heard.wait().signal == signal.SIGKILL
    assert alive(tree) == []


def test_a_run_that_kills_its_server_and_hides_leaves_nothing(ground: Ground) -> None:
    server = ground.server(ground.bob)
    heard = Heard(server, ground.spec("6", ground.bob, do="tree", path="hold"))
    heard.wait_for("spawned")
    tree = heard.tree()
    attempts = [("end_server", str(server.pid))]
    hidden = Heard(server, ground.spec("7", ground.bob, "intruder", attempts=attempts))
    hidden_pid = psutil.Process(hidden.child.pid)

    assert hidden.wait().fate == heard.wait().fate == Fate.SERVER
    assert alive([*tree, hidden_pid]) == []
    assert run(server, ground.spec("8", ground.bob, do="nothing")).summary is None


def test_the_stacks_of_a_run_are_written(ground: Ground) -> None:
    heard = Heard(ground.server(ground.alice), ground.spec("9", ground.alice, do="wait_uninterrupted"))
    heard.wait_for("waiting")
    heard.child.request_stacks()

    wait_until(lambda: "in wait_uninterrupted" in failure_report.stacks(heard.child.stacks_path), timeout_s=20)
    heard.child.kill()
    heard.wait()


def test_an_interrupt_reaches_the_run(ground: Ground) -> None:
    heard = Heard(ground.server(ground.alice), ground.spec("10", ground.alice, do="wait_uninterrupted"))
    heard.wait_for("waiting")
    heard.child.interrupt()
    heard.wait_for("swallowed")
    heard.child.interrupt()
    heard.wait()

    assert heard.end is not None
    assert heard.end["outcome"] == "cancelled"


def test_a_warm_run_is_of_the_account_too(ground: Ground) -> None:
    server = ground.server(ground.alice)
    first = run(server, ground.spec("11", ground.alice, "identity"))
    first.child.keep_warm(is_explicit=True)
    starts = (run(server, ground.spec("12", ground.alice, "identity")) for _ in range(200))
    warm = next(heard for heard in starts if heard.child.start)

    assert warm.child.start.startswith("warm"), warm.child.start
    assert warm.summary["uids"] == [ground.alice.uid] * 3
    assert warm.summary["no_new_privs"] == "1"


def test_a_file_of_another_owner_is_not_opened(ground: Ground) -> None:
    folder = ground.spec("13", ground.alice).folder
    os.link(ground.var / "secret_key", folder / "stacks-1.txt")

    assert failure_report.stacks(folder / "stacks-1.txt") == ""


def test_the_folder_of_another_account_is_refused(ground: Ground) -> None:
    ground.spec("14", ground.alice)
    ground.spec("14", ground.alice)
    with pytest.raises(SpawnFailed, match="belongs to another user than 'daemon'"):
        ground.spec("14", ground.bob)


def private(ground: Ground, owner: Account, wanted: account.Private) -> Account:
    shown = (*(str(ground.var / name) for name in ("runs", "accounts")), *sys.path, sys.prefix, str(ROOT))
    return replace(owner, private=wanted, tmp_max_bytes=1024 * 1024, shown=tuple(filter(None, shown)))


def test_tmp_and_proc_are_private(ground: Ground, mounts: None) -> None:
    server = ground.server(private(ground, ground.alice, "required"))
    first = ground.spec("15", ground.alice, "intruder", attempts=[("write", "/tmp/mine"), ("write", "/var/tmp/mine")])
    assert run(server, first).summary == ["succeeded: 8"] * 2
    attempts = [("owners_of_processes", ""), ("write", "/tmp/new"), ("read", "/tmp/mine"), ("write", "/tmp/no/such")]

    def seen() -> list[str]:
        heard = run(server, ground.spec("16", ground.alice, "intruder", attempts=attempts))
        assert heard.child.isolation == "private /tmp and /proc"
        summary: list[str] = heard.summary
        return summary

    wait_until(lambda: "No such file" in seen()[2], what="the removal of temporary files")
    assert seen()[0] == f"succeeded: {{{ground.alice.uid}}}"
    assert not Path("/tmp/new").exists()


def test_the_settings_lead_to_a_server_whose_runs_see_what_they_need(
    ground: Ground, mounts: None, configure: Callable[..., None]
) -> None:
    """As at the start of a worker and of a run."""
    configure(run_as=[{"account": BOB, "queue": "gpu"}], run_as_private="required", var=ground.var)
    accounts._found.cache_clear()
    conf = runs_settings()
    (found,) = accounts.accounts_of(conf)
    assert accounts.account_of(Run(queue="gpu", experiment="probe"), conf) == found
    ground.servers.start([found])

    heard = run(ground.server(found), ground.spec("17", found, "identity"))
    assert heard.child.isolation == "private /tmp and /proc"
    assert heard.summary["uids"] == [ground.bob.uid] * 3
    accounts._found.cache_clear()


UNPRIVILEGED = """
import sys
from pathlib import Path
import django
django.setup()
from experiments.catalog import privileges
from runs.forkserver import account, prctl
from runs.forkserver.servers import ForkServers
from tests.integration import test_run_as as tests
account.check_permission()
var = Path(sys.argv[1])
servers = ForkServers()
ground = tests.Ground(var, servers, *(account.find(name, var / "accounts") for name in (tests.ALICE, tests.BOB)))
heard = tests.run(ground.server(ground.alice), ground.spec("1", ground.alice, "identity"))
assert heard.summary["uids"] == [ground.alice.uid] * 3, heard.summary
assert heard.summary["capabilities"] == ["0" * 16] * 4, heard.summary
tests.test_kill_takes_the_tree_along(ground)
open_account = tests.private(ground, ground.bob, "if_possible")
ground.spec("20", open_account)
heard = tests.run(ground.server(open_account), ground.spec("20", open_account, do="nothing"))
assert heard.child.isolation == "no private /tmp and /proc: Operation not permitted", heard.child.isolation
try:
    ground.server(tests.private(ground, ground.bob, "required"))
except tests.SpawnFailed as error:
    assert "must have a private /tmp and /proc: Operation not permitted" in str(error), error
else:
    raise AssertionError("less isolation than required")
tests.test_the_stacks_of_a_run_are_written(ground)
assert (var / "runs/1/work/made.txt").read_text() == "mine"
servers.stop()
privileges.drop()
assert not prctl.capabilities()
print("passed")
"""


def test_capabilities_of_an_unprivileged_worker_suffice(ground: Ground) -> None:
    """As with AmbientCapabilities of systemd: the user of Athanor is not root, and reads and deletes by its group."""
    var = ground.var / "unprivileged"
    var.mkdir(0o700)
    owner = pwd.getpwnam("games")
    os.chown(var, owner.pw_uid, owner.pw_gid)
    kept = ",".join(f"+{name}" for name in ("chown", "kill", "setgid", "setuid"))
    user = f"setpriv --reuid={owner.pw_uid} --regid={owner.pw_gid} --clear-groups"
    environ = {
        **os.environ,
        "ATHANOR_VAR": str(var),
        "PYTHONPATH": str(ROOT),
        "USER_OF_TEST": f"{user} --inh-caps={kept} --ambient-caps={kept}",
    }
    command = [sys.executable, "-c", UNPRIVILEGED, str(var)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.endswith("passed\n"), done.stderr
    shutil.rmtree(var)
