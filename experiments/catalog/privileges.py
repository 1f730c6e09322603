"""Capabilities of the worker, which code of experiments in the catalog process must not have."""

from __future__ import annotations

import ctypes
import os
import sys

_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522


def drop() -> None:
    """Drop the capabilities that a service manager grants to a user other than root (AmbientCapabilities).

    Raises OSError.
    """
    if sys.platform != "linux" or os.geteuid() == 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if libc.capset((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "Cannot drop the capabilities of this process")
