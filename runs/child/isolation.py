"""What a forked child does first: become a process of its own, with nothing of the fork server's but loaded code."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import random
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from runs.forkserver import environment, prctl
from runs.forkserver.spec import ChildSpec

_HIGH_FD = 1000
_KEPT_IGNORED = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
"""As in every Python program."""
_OURS = frozenset({signal.SIGUSR1, signal.SIGUSR2})
"""Ignored until their handlers are there."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What stays open besides 0, 1 and 2. They are far up, where an experiment that opens and closes files does not
    come by.
    """

    records: int
    control: int
    stacks: IO[Any] | None
    """Held open for faulthandler."""


def isolate(spec: ChildSpec, fds: Sequence[int], server: int) -> Descriptors:
    """Leave the fork server behind; returns where to speak and listen. Raises OSError."""
    os.setsid()
    prctl.signal_at_parent_death(signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)  # it ended before it could be watched
    prctl.adopt_orphans()
    prctl.prefer_as_oom_victim()
    _reset_signals()
    records, control = _rearrange(fds)
    os.environ.update(environment.marks(spec.key))
    random.seed()
    if "multiprocessing.process" in sys.modules:
        sys.modules["multiprocessing.process"].current_process().authkey = os.urandom(32)
    return Descriptors(records, control, _prepare_stacks(spec))


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


def _rearrange(fds: Sequence[int]) -> tuple[int, int]:
    """Standard output and error to their pipes, records and control far up, everything else closed."""
    records, stdout, stderr, control = fds
    high = [_far_up(records), _far_up(control)]
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    kept = sorted(high)
    for low, top in zip([3, *(fd + 1 for fd in kept)], [*kept, _fds_max()], strict=True):
        os.closerange(low, top)
    return high[0], high[1]


def _far_up(fd: int) -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    start = _HIGH_FD if soft == resource.RLIM_INFINITY or soft > _HIGH_FD + 10 else max(soft - 10, 3)
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, start)


def _fds_max() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(max(soft, _HIGH_FD + 10), 1 << 20) if hard != 0 else 1 << 20


def _prepare_stacks(spec: ChildSpec) -> IO[Any] | None:
    """Have Python's stacks written to the run's folder at SIGUSR2 and at fatal signals; a run goes on without, too."""
    try:
        spec.folder.mkdir(parents=True, exist_ok=True)
        low = spec.stacks_path.open("ab", buffering=0)
        fd = _far_up(low.fileno())
        low.close()
        file = os.fdopen(fd, "ab", buffering=0)
        faulthandler.register(signal.SIGUSR2, file=file, all_threads=True, chain=False)
        faulthandler.enable(file=file, all_threads=True)
    except OSError:
        return None
    return file
