"""What becomes of slots, by the policies of their schedule. Pure: facts in, decisions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runs.formatting import duration
from runs.states import CatchUp, Overlap, SlotKind, SlotState


@dataclass(frozen=True, slots=True)
class Policy:
    overlap: Overlap
    catch_up: CatchUp
    window: timedelta
    """Of the catch-up: what is older is missed."""
    late: timedelta
    """What is seen later than this after it was due is a matter of the catch-up."""
    waiting_max: int


@dataclass(frozen=True, slots=True)
class Due:
    """A slot that is to be settled now."""

    slot: datetime
    due_at: datetime
    kind: SlotKind = SlotKind.TIMETABLE


@dataclass(frozen=True, slots=True)
class Active:
    """A run of the schedule that has not ended."""

    run_id: int
    slot: datetime | None


@dataclass(frozen=True, slots=True)
class Facts:
    """A schedule at one moment."""

    policy: Policy
    now: datetime
    due: Sequence[Due] = ()
    """In order, none of them settled."""
    has_more: bool = False
    """More slots are due already, but left for another turn."""
    waiting: Sequence[Due] = ()
    """In order: in the ledger as waiting."""
    active: Sequence[Active] = ()
    paused: str = ""
    """Why it is paused; empty if it is not."""
    refusal: str = ""
    """Why nothing of it can be launched; empty if it can."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The row of a slot."""

    slot: datetime
    due_at: datetime
    kind: SlotKind
    state: SlotState
    reason: str = ""


@dataclass(slots=True)
class Plan:
    entered: list[Decision] = field(default_factory=list)
    """For each due slot, in its order."""
    resolved: list[Decision] = field(default_factory=list)
    """For slots that waited, and wait no more."""
    cancelled: list[int] = field(default_factory=list)
    """Runs to be cancelled."""


Verdict = tuple[SlotState, str]
"""A state and the reason for it."""


def decide(facts: Facts) -> Plan:
    """The plan of one turn. Every due slot gets exactly one decision, and each that is no launch says why.

    Slots that waited go first, then those that are due, then backfills, which never stand in the timetable's way.
    """
    turn = _Turn(facts)
    candidates = [(due, kind_of(facts, due), verdict) for due, verdict in _verdicts(facts)]
    if facts.paused:
        turn.give_up_waiting()
    elif wanted := [
        due for due, _, verdict in candidates if verdict is None and facts.policy.overlap == Overlap.CANCEL
    ]:
        turn.supersede_waiting(wanted[-1].slot)
    else:
        turn.launch_waiting(backfills=False)
    for due, kind, verdict in candidates:
        turn.enter(due, kind, *(verdict or turn.overlapped(due, kind)))
    if not facts.paused:
        turn.launch_waiting(backfills=True)
    return turn.plan


def kind_of(facts: Facts, due: Due) -> SlotKind:
    is_late = due.kind == SlotKind.TIMETABLE and facts.now - due.due_at > facts.policy.late
    return SlotKind.LATE if is_late else due.kind


def _verdicts(facts: Facts) -> list[tuple[Due, Verdict | None]]:
    """For each due slot what is known without looking at what runs; None: it wants to be launched."""
    found: list[tuple[Due, Verdict | None]] = []
    for index, due in enumerate(facts.due):
        is_last = index == len(facts.due) - 1 and not facts.has_more
        if facts.paused and due.kind != SlotKind.MANUAL:
            found.append((due, (SlotState.PAUSED, facts.paused)))
        elif kind_of(facts, due) == SlotKind.LATE and (why := _missed(facts, due, is_last=is_last)):
            found.append((due, (SlotState.MISSED, why)))
        else:
            found.append((due, None))
    return _all_but_the_last_superseded(found) if facts.policy.overlap == Overlap.CANCEL else found


def _missed(facts: Facts, due: Due, *, is_last: bool) -> str:
    """Why a slot that is seen late is not caught up; empty if it is."""
    seen = f"Nobody looked when it was due; seen {duration((facts.now - due.due_at).total_seconds())} late"
    policy = facts.policy
    if policy.catch_up == CatchUp.NONE:
        return f"{seen}, and this schedule catches nothing up."
    if facts.now - due.due_at > policy.window:
        return f"{seen}, which is beyond its catch-up window of {duration(policy.window.total_seconds())}."
    if policy.catch_up == CatchUp.LATEST and not is_last:
        return f"{seen}; only the latest slot is caught up."
    return ""


def _all_but_the_last_superseded(found: list[tuple[Due, Verdict | None]]) -> list[tuple[Due, Verdict | None]]:
    """Of several that come at once, each but the last would be cancelled at once."""
    wanted = [due for due, verdict in found if verdict is None]
    return [
        (due, (SlotState.SKIPPED, _by_a_later(wanted[-1].slot)) if verdict is None and due != wanted[-1] else verdict)
        for due, verdict in found
    ]


class _Turn:
    """Goes through the slots in order, and knows what has been decided before."""

    def __init__(self, facts: Facts) -> None:
        self.facts, self.plan = facts, Plan()
        self.waiting = list(facts.waiting)
        self.busy = _still_going(facts.active)
        """Why no slot can be launched now; empty if one can."""

    def enter(self, due: Due, kind: SlotKind, state: SlotState, reason: str = "") -> None:
        self.plan.entered.append(Decision(due.slot, due.due_at, kind, state, reason))
        if state == SlotState.WAITING:
            self.waiting.append(due)

    def resolve(self, due: Due, state: SlotState, reason: str = "") -> None:
        self.waiting.remove(due)
        self.plan.resolved.append(Decision(due.slot, due.due_at, due.kind, state, reason))

    def give_up_waiting(self) -> None:
        for due in [waiting for waiting in self.waiting if waiting.kind != SlotKind.MANUAL]:
            self.resolve(due, SlotState.PAUSED, f"It waited for a running one. {self.facts.paused}")

    def supersede_waiting(self, slot: datetime) -> None:
        for due in [waiting for waiting in self.waiting if waiting.kind != SlotKind.BACKFILL]:
            self.resolve(due, SlotState.SKIPPED, _by_a_later(slot))

    def launch_waiting(self, *, backfills: bool) -> None:
        """As far as they can be, in their order."""
        for due in [waiting for waiting in self.facts.waiting if (waiting.kind == SlotKind.BACKFILL) == backfills]:
            if self.is_free:
                self.resolve(due, *self.launched(due, due.kind))

    @property
    def is_free(self) -> bool:
        return not self.busy or self.facts.policy.overlap == Overlap.ALLOW

    def launched(self, due: Due, kind: SlotKind) -> Verdict:
        if self.facts.refusal:
            return SlotState.REFUSED, self.facts.refusal
        self.busy = f"The slot of {moment(due.slot)} had just been launched."
        late = duration((self.facts.now - due.due_at).total_seconds())
        if kind == SlotKind.LATE:
            return SlotState.CAUGHT_UP, f"Nobody looked after schedules when it was due; launched {late} late."
        has_waited = kind != SlotKind.BACKFILL and due in self.facts.waiting
        return SlotState.LAUNCHED, f"It waited {late} for a running one." if has_waited else ""

    def overlapped(self, due: Due, kind: SlotKind) -> Verdict:
        """Launch, or what the overlap policy says."""
        if self.is_free:
            return self.launched(due, kind)
        match self.facts.policy.overlap:
            case Overlap.QUEUE_ONE:
                return self._queued(1)
            case Overlap.QUEUE_ALL:
                return self._queued(self.facts.policy.waiting_max)
            case Overlap.CANCEL:
                self.plan.cancelled = [active.run_id for active in self.facts.active]
                return SlotState.WAITING, f"{self.busy} It is being cancelled."
            case _:
                return SlotState.SKIPPED, self.busy

    def _queued(self, most: int) -> Verdict:
        ahead = [due for due in self.waiting if due.kind != SlotKind.BACKFILL]
        if len(ahead) < most:
            return SlotState.WAITING, self.busy
        who = f"The slot of {moment(ahead[0].slot)} waits" if most == 1 else f"{most:,} slots wait"
        return SlotState.SKIPPED, f"{self.busy} {who} already."


def _still_going(active: Sequence[Active]) -> str:
    if not active:
        return ""
    first = active[0]
    which = f" of the slot of {moment(first.slot)}" if first.slot else ""
    rest = f" and {len(active) - 1} more were" if len(active) > 1 else " was"
    return f"Run {first.run_id}{which}{rest} still going."


def _by_a_later(slot: datetime) -> str:
    return f"Superseded by the slot of {moment(slot)}."


def moment(slot: datetime) -> str:
    """As the ledger's reasons write it."""
    return f"{slot:%Y-%m-%d %H:%M:%S} UTC".replace(":00 UTC", " UTC")
