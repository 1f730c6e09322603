"""Cancel flags, and notices to workers. Any of it may be lost: the database holds the same state.

Each has an authentication code. One without a valid code is ignored: workers also read the state from the database.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from runs.exceptions import BufferUnavailable
from runs.lines import codes
from runs.lines.buffer import keys
from runs.lines.buffer.client import TIMEOUT_S, available
from runs.lines.codes import Purpose
from runs.states import AttemptKey

FLAG_LIFE_S = 24 * 3600
SILENCE_S = 10.0
"""Longest silence, without even an answer to a ping, after which a listener considers its connection lost."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """A cancel of this run was requested."""

    run_id: int
    by: str = ""
    """Who requested it; empty if unknown. A notice does not carry it."""


@dataclass(frozen=True, slots=True)
class StoredUpTo:
    """All lines and results of this attempt up to these seqs are in the database."""

    key: AttemptKey
    lines: int
    results: int


@dataclass(frozen=True, slots=True)
class InspectionRequested:
    """A stack trace of this run was requested."""

    run_id: int


Notice = CancelRequested | StoredUpTo | InspectionRequested


def encode(notice: Notice) -> bytes:
    """Encode as `cancel:<run>`, `inspect:<run>` or `stored:<run>:<attempt>:<lines>:<results>`, and `:<code>`."""
    text = _text(notice).encode()
    return text + b":" + codes.make(Purpose.NOTICES, text)


def _text(notice: Notice) -> str:
    if isinstance(notice, CancelRequested):
        return f"cancel:{notice.run_id}"
    if isinstance(notice, InspectionRequested):
        return f"inspect:{notice.run_id}"
    return f"stored:{notice.key.run_id}:{notice.key.number}:{notice.lines}:{notice.results}"


def decode(data: bytes) -> Notice | None:
    """Decode a notice. None if its code is missing or wrong, or its kind unknown: another version may have sent it."""
    text, _, code = data.rpartition(b":")
    if not codes.is_valid(code, Purpose.NOTICES, text):
        return None
    try:
        kind, *numbers = text.decode("ascii").split(":")
        run_id, *rest = map(int, numbers)
        if kind == "cancel" and not rest:
            return CancelRequested(run_id)
        if kind == "inspect" and not rest:
            return InspectionRequested(run_id)
        if kind == "stored":
            attempt, lines, results = rest
            return StoredUpTo(AttemptKey(run_id, attempt), lines, results)
    except ValueError:
        pass
    return None


class Notices:
    """Sending and receiving of notices. Thread-safe; each listener has its own connection."""

    def __init__(self, client: redis.Redis) -> None:
        self._notices_client = client

    def flag_cancel(self, run_id: int) -> None:
        """Set the cancel flag of a run for a day, and notify the workers that listen."""
        with available(f"flag the cancel of run {run_id}"):
            pipeline: Any = self._notices_client.pipeline(transaction=False)
            notice = encode(CancelRequested(run_id))
            pipeline.set(keys.cancel(run_id), notice, ex=FLAG_LIFE_S)
            pipeline.publish(keys.NOTICES, notice).execute()

    def request_inspection(self, run_id: int) -> None:
        """Notify the supervisor of a run that a stack trace was requested."""
        with available(f"request a stack trace of run {run_id}"):
            self._notices_client.publish(keys.NOTICES, encode(InspectionRequested(run_id)))

    def flagged(self, run_ids: Sequence[int]) -> set[int]:
        """Return the runs with a cancel flag."""
        if not run_ids:
            return set()
        with available("read cancel flags"):
            flags = cast("list[bytes | None]", self._notices_client.mget([keys.cancel(run_id) for run_id in run_ids]))
        return {run_id for run_id, flag in zip(run_ids, flags, strict=True) if _is_flag(run_id, flag)}

    def announce_stored(self, key: AttemptKey, lines: int, results: int) -> None:
        """Notify the supervisor of an attempt up to which seqs it may drop lines and results."""
        with available(f"announce the stored lines of run {key.run_id}"):
            self._notices_client.publish(keys.NOTICES, encode(StoredUpTo(key, lines, results)))

    def rest_schedules(self, life_s: float) -> None:
        """Note for some seconds that there are no schedules."""
        with available("note that there are no schedules"):
            self._notices_client.set(keys.NO_SCHEDULES, 1, px=round(life_s * 1000))

    def wake_schedules(self) -> None:
        """Withdraw that note."""
        with available("note that there are schedules"):
            self._notices_client.delete(keys.NO_SCHEDULES)

    def has_no_schedules(self) -> bool:
        """Return whether that note stands."""
        with available("ask whether there are schedules"):
            return bool(self._notices_client.exists(keys.NO_SCHEDULES))

    def notices(self, timeout_s: float) -> Iterator[Notice | None]:
        """Yield each notice as it arrives, and None after each `timeout_s` without one, so that the caller can stop.

        Endless; close the iterator. Raises BufferUnavailable when the connection is lost or silent for SILENCE_S.
        Notices sent before the caller listens again are lost.
        """
        with available("receive notices"):
            pubsub: Any = self._notices_client.pubsub()  # type: ignore[no-untyped-call]
            try:
                pubsub.subscribe(keys.NOTICES)
                yield from _listen(pubsub, timeout_s)
            finally:
                pubsub.close()


def _is_flag(run_id: int, flag: bytes | None) -> bool:
    return flag is not None and decode(flag) == CancelRequested(run_id)


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
            raise BufferUnavailable(f"Redis has been silent for {now - received:.0f} s; reconnecting.")
        if now - max(received, pinged) > TIMEOUT_S:
            pinged = now
            pubsub.ping()
        yield None
