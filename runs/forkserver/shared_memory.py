"""Memory of the fork server, which its children share until one of them writes to it.

Light to import: no Django.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from runs.forkserver.prctl import IS_LINUX

_POOL_BYTES = 16 * 1024
_POOL_HEADER_BYTES = 48
_BYTES_HEADER = 33
_BLOCK_BYTES = range(48, 513, 16)
_HOLES_MAX = 5_000
"""Number of free blocks of one size that are filled, at most."""

_MADV_COLLAPSE = 25
_HUGE_PAGE_BYTES = 2 * 1024 * 1024

_fillers: list[object] = []


def settle() -> None:
    """Arrange the memory of a process that has loaded everything, and forks from now on. Takes a tenth of a second.

    Objects that are made later lie together, in pages of their own, and a fork copies fewer entries of the page table.
    """
    gc.collect()
    _fill_holes()
    gc.freeze()  # loaded objects stay shared with the children: their first collection does not copy them
    _merge_into_huge_pages()


def _fill_holes() -> None:
    """Fill the free blocks between loaded objects. A new object in one of them would copy the page in each child.

    Objects of one size are in pools. A new pool, which is filled in order, shows that no other has a free block.
    """
    kinds: list[tuple[int, Callable[[int], object]]] = [(16, lambda _: object()), (32, lambda number: number + 10**6)]
    kinds += [(size, lambda _, size=size: bytes(size - _BYTES_HEADER)) for size in _BLOCK_BYTES]  # type: ignore[misc]  # a default argument
    for size, made in kinds:
        before = 0
        for number in range(_HOLES_MAX):
            filler = made(number)
            _fillers.append(filler)
            if before % _POOL_BYTES == _POOL_HEADER_BYTES and id(filler) == before + size:
                break
            before = id(filler)


def _merge_into_huge_pages() -> None:
    """Ask the kernel to merge this process's memory into huge pages (Linux 6.1), where it can.

    A fork then copies one entry instead of 512, and the exit of the child removes one. A child that writes to such a
    page copies 4 KiB, as before.
    """
    if not IS_LINUX:
        return
    madvise = ctypes.CDLL(None).madvise
    with suppress(OSError):
        for start, end in _own_memory():
            first = -(-start // _HUGE_PAGE_BYTES) * _HUGE_PAGE_BYTES
            for address in range(first, end - _HUGE_PAGE_BYTES + 1, _HUGE_PAGE_BYTES):
                madvise(ctypes.c_void_p(address), ctypes.c_size_t(_HUGE_PAGE_BYTES), _MADV_COLLAPSE)


def _own_memory() -> Iterator[tuple[int, int]]:
    """Yield start and end of the ranges of this process's writable memory that are not of a file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, access, _, _, _, *name = line.split(maxsplit=5)
        if access == "rw-p" and name in ([], ["[heap]"]):
            start, _, end = addresses.partition("-")
            yield int(start, 16), int(end, 16)
