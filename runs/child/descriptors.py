"""Numbers of the descriptors that a child keeps open for itself."""

from __future__ import annotations

import fcntl
import resource

HIGH_FD = 1000


def to_high_fd(fd: int) -> int:
    """Duplicate `fd` to a high number, closed on exec: experiments may open and close files by low numbers."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    start = HIGH_FD if soft == resource.RLIM_INFINITY or soft > HIGH_FD + 20 else max(soft - 20, 3)
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, start)
