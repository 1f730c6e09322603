"""Cancel flags, and notices to workers. All of it may be lost: the database has it too."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from runs.exceptions import BufferUnavailable
from runs.lines.buffer import keys
from runs.lines.buffer.client import TIMEOUT_S, available
from runs.states import AttemptKey

FLAG_LIFE_S = 24 * 3600
SILENCE_S = 10.0
"""A listener that received nothing for so long, not even an answer to its pings, has lost its connection."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """The cancel of this run was requested."""

    run_id: int


@dataclass(frozen=True, slots=True)
class StoredUpTo:
    """Lines and results of this attempt are in the database, all up to these seqs."""

    key: AttemptKey
    lines: int
    results: int


@dataclass(frozen=True, slots=True)
class InspectionAsked:
    """A stack trace of this run was requested."""

    run_id: int


Notice = CancelAsked | StoredUpTo | InspectionAsked


def encode(notice: Notice) -> str:
    """`cancel:<run>`, `inspect:<run>` or `stored:<run>:<attempt>:<lines>:<results>`."""
    if isinstance(notice, CancelAsked):
        return f"cancel:{notice.run_id}"
    if isinstance(notice, InspectionAsked):
        return f"inspect:{notice.run_id}"
    return f"stored:{notice.key.run_id}:{notice.key.number}:{notice.lines}:{notice.results}"


def decode(data: bytes) -> Notice | None:
    """Decode a notice; None for an unknown one, as another version may send."""
    try:
        kind, *numbers = data.decode("ascii").split(":")
        run_id, *rest = map(int, numbers)
        if kind == "cancel" and not rest:
            return CancelAsked(run_id)
        if kind == "inspect" and not rest:
            return InspectionAsked(run_id)
        if kind == "stored":
            attempt, lines, results = rest
            return StoredUpTo(AttemptKey(run_id, attempt), lines, results)
    except ValueError:
        pass
    return None


class Notices:
    """Thread-safe; each listener has a connection of its own."""

    def __init__(self, client: redis.Redis) -> None:
        self._notices_client = client

    def flag_cancel(self, run_id: int) -> None:
        """Set the cancel flag of a run for a day, and notify the workers that listen."""
        with available(f"flag the cancel of run {run_id}"):
            pipeline: Any = self._notices_client.pipeline(transaction=False)
            pipeline.set(keys.cancel(run_id), 1, ex=FLAG_LIFE_S)
            pipeline.publish(keys.NOTICES, encode(CancelAsked(run_id))).execute()

    def ask_inspection(self, run_id: int) -> None:
        """Notify the supervisor of a run that a stack trace was requested."""
        with available(f"ask where run {run_id} is"):
            self._notices_client.publish(keys.NOTICES, encode(InspectionAsked(run_id)))

    def flagged(self, run_ids: Sequence[int]) -> set[int]:
        """The runs with a cancel flag."""
        if not run_ids:
            return set()
        with available("tell which runs are to be cancelled"):
            flags = cast("list[bytes | None]", self._notices_client.mget([keys.cancel(run_id) for run_id in run_ids]))
        return {run_id for run_id, flag in zip(run_ids, flags, strict=True) if flag is not None}

    def announce_stored(self, key: AttemptKey, lines: int, results: int) -> None:
        """Notify the supervisor of an attempt that it may forget what is stored."""
        with available(f"announce what is stored of run {key.run_id}"):
            self._notices_client.publish(keys.NOTICES, encode(StoredUpTo(key, lines, results)))

    def notices(self, timeout_s: float) -> Iterator[Notice | None]:
        """Listen: each notice as it comes, and None whenever none came for `timeout_s`, so that the caller may end.

        Never ends by itself; close the iterator. Raises BufferUnavailable when the connection is lost or was silent for
        SILENCE_S; notices in between are lost, and the caller starts again.
        """
        with available("be listened to"):
            pubsub: Any = self._notices_client.pubsub()  # type: ignore[no-untyped-call]
            try:
                pubsub.subscribe(keys.NOTICES)
                yield from _listen(pubsub, timeout_s)
            finally:
                pubsub.close()


def _listen(pubsub: Any, timeout_s: float) -> Iterator[Notice | None]:
    received = pinged = time.monotonic()
    while True:
        message = pubsub.get_message(timeout=min(timeout_s, SILENCE_S / 2))
        now = time.monotonic()
        if message is not None:
            received = now
            if message["type"] == "message" and (notice := decode(message["data"])) is not None:
                yield notice
            continue
        if now - received > SILENCE_S:
            raise BufferUnavailable(f"Redis has been silent for {now - received:.0f} s; listening starts again.")
        if now - max(received, pinged) > TIMEOUT_S:
            pinged = now
            pubsub.ping()
        yield None
