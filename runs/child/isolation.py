"""Isolation of a forked child from the fork server: session, signals, descriptors, environment."""

from __future__ import annotations

import faulthandler
import os
import random
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import IO, Any

from experiments import umask
from runs.child.descriptors import HIGH_FD, to_high_fd
from runs.forkserver import account, environment, prctl
from runs.forkserver.spec import ChildSpec

_KEPT_IGNORED = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
"""Ignored in every Python program."""
_OURS = frozenset({signal.SIGUSR1, signal.SIGUSR2})
"""Ignored until their handlers are installed."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Descriptors that stay open besides 0, 1 and 2. Their numbers are high, since experiments may open and close files
    by low numbers.
    """

    records: int
    control: int
    stacks: IO[Any] | None
    """Held open for faulthandler."""


def detach(server: int, kept: Sequence[int]) -> None:
    """Detach from the fork server. Close all descriptors but `kept` and standard ones. Raises OSError."""
    os.setsid()
    prctl.signal_at_parent_death(signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)  # the server ended before the death signal was set
    prctl.adopt_orphans()
    account.allow_inspection()
    prctl.prefer_as_oom_victim()
    _reset_signals()
    _close_others(kept)
    random.seed()
    if "multiprocessing.process" in sys.modules:
        sys.modules["multiprocessing.process"].current_process().authkey = os.urandom(32)


def connect(spec: ChildSpec, fds: Sequence[int]) -> Descriptors:
    """Connect a detached process to the pipes of a run. Closes `fds`. Raises OSError."""
    records, stdout, stderr, control = fds
    with nullcontext() if account.is_changed() else umask.private():  # otherwise, readable by the worker's group
        own = Descriptors(to_high_fd(records), to_high_fd(control), _prepare_stacks(spec))
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    for fd in fds:
        os.close(fd)
    os.environ.update(environment.marks(spec.key))
    umask.use_inherited()
    return own


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if number in _OURS:
            signal.signal(number, signal.SIG_IGN)
        elif number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        elif number not in _KEPT_IGNORED and signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _close_others(kept: Sequence[int]) -> None:
    kept = sorted(kept)
    for low, top in zip([3, *(fd + 1 for fd in kept)], [*kept, _fds_max()], strict=True):
        os.closerange(low, top)


def _fds_max() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(max(soft, HIGH_FD + 20), 1 << 20) if hard != 0 else 1 << 20


def _prepare_stacks(spec: ChildSpec) -> IO[Any] | None:
    """Write Python's stacks to the run's folder at SIGUSR2 and at fatal signals. Return None if that fails."""
    try:
        spec.folder.mkdir(parents=True, exist_ok=True)
        low = spec.stacks_path.open("ab", buffering=0)
        fd = to_high_fd(low.fileno())
        low.close()
        file = os.fdopen(fd, "ab", buffering=0)
        faulthandler.register(signal.SIGUSR2, file=file, all_threads=True, chain=False)
        faulthandler.enable(file=file, all_threads=True)
    except OSError:
        return None
    return file
