"""Decide about the slots of a schedule by its policies. Pure."""

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
    """Catch-up window: older slots are missed."""
    late: timedelta
    """Delay after which a slot counts as missed, so that the catch-up policy applies to it."""
    waiting_max: int


@dataclass(frozen=True, slots=True)
class Due:
    """A slot to settle now."""

    slot: datetime
    due_at: datetime
    kind: SlotKind = SlotKind.TIMETABLE


@dataclass(frozen=True, slots=True)
class Active:
    """A run of the schedule that has not ended."""

    run_id: int
    slot: datetime | None


@dataclass(frozen=True, slots=True)
class ScheduleSnapshot:
    """A schedule at one moment."""

    policy: Policy
    now: datetime
    due: Sequence[Due] = ()
    """Due slots in order, none of them settled."""
    has_more: bool = False
    """True if more slots are due, which are left for another turn."""
    waiting: Sequence[Due] = ()
    """Slots in the history as waiting, in order."""
    active: Sequence[Active] = ()
    paused: str = ""
    """Reason of the pause; empty if it is not paused."""
    refusal: str = ""
    """Reason why it cannot launch; empty if it can."""


@dataclass(frozen=True, slots=True)
class Decision:
    """State of a slot, for its row in the history."""

    slot: datetime
    due_at: datetime
    kind: SlotKind
    state: SlotState
    reason: str = ""


@dataclass(slots=True)
class Plan:
    entered: list[Decision] = field(default_factory=list)
    """Decisions about the due slots, in their order."""
    resolved: list[Decision] = field(default_factory=list)
    """Decisions about slots that stop waiting."""
    cancelled: list[int] = field(default_factory=list)
    """Ids of runs to cancel."""


Verdict = tuple[SlotState, str]
"""State and reason."""


def decide(snapshot: ScheduleSnapshot) -> Plan:
    """Plan one turn. Every due slot gets exactly one decision; a decision without a launch has a reason.

    Waiting slots go first, then due slots, then backfills, so that backfills never delay the timetable.
    """
    turn = _Turn(snapshot)
    candidates = [(due, kind_of(snapshot, due), verdict) for due, verdict in _verdicts(snapshot)]
    if snapshot.paused:
        turn.give_up_waiting()
    elif to_launch := [
        due for due, _, verdict in candidates if verdict is None and snapshot.policy.overlap == Overlap.CANCEL
    ]:
        turn.supersede_waiting(to_launch[-1].slot)
    else:
        turn.launch_waiting(backfills=False)
    for due, kind, verdict in candidates:
        turn.enter(due, kind, *(verdict or turn.overlapped(due, kind)))
    if not snapshot.paused:
        turn.launch_waiting(backfills=True)
    return turn.plan


def kind_of(snapshot: ScheduleSnapshot, due: Due) -> SlotKind:
    is_late = due.kind == SlotKind.TIMETABLE and snapshot.now - due.due_at > snapshot.policy.late
    return SlotKind.LATE if is_late else due.kind


def _verdicts(snapshot: ScheduleSnapshot) -> list[tuple[Due, Verdict | None]]:
    """Judge each due slot without regard to active runs. None: the slot may be launched."""
    verdicts: list[tuple[Due, Verdict | None]] = []
    for index, due in enumerate(snapshot.due):
        is_last = index == len(snapshot.due) - 1 and not snapshot.has_more
        if snapshot.paused and due.kind != SlotKind.MANUAL:
            verdicts.append((due, (SlotState.PAUSED, snapshot.paused)))
        elif kind_of(snapshot, due) == SlotKind.LATE and (why := _missed(snapshot, due, is_last=is_last)):
            verdicts.append((due, (SlotState.MISSED, why)))
        else:
            verdicts.append((due, None))
    return _supersede_all_but_last(verdicts) if snapshot.policy.overlap == Overlap.CANCEL else verdicts


def _missed(snapshot: ScheduleSnapshot, due: Due, *, is_last: bool) -> str:
    """Return the reason why a late slot is not caught up; empty if it is."""
    late = f"Processed {duration((snapshot.now - due.due_at).total_seconds())} late"
    policy = snapshot.policy
    if policy.catch_up == CatchUp.NONE:
        return f"{late}; this schedule does not catch up."
    if snapshot.now - due.due_at > policy.window:
        return f"{late}, after its catch-up window of {duration(policy.window.total_seconds())}."
    if policy.catch_up == CatchUp.LATEST and not is_last:
        return f"{late}; only the latest scheduled time is caught up."
    return ""


def _supersede_all_but_last(verdicts: list[tuple[Due, Verdict | None]]) -> list[tuple[Due, Verdict | None]]:
    """Skip all but the last of several slots to launch: the next one would cancel each of them at once."""
    last = next((due for due, verdict in reversed(verdicts) if verdict is None), None)
    return [
        (due, (SlotState.SKIPPED, _superseded(last.slot)) if last and verdict is None and due != last else verdict)
        for due, verdict in verdicts
    ]


class _Turn:
    """One pass over the slots in order. Each decision takes the earlier ones into account."""

    def __init__(self, snapshot: ScheduleSnapshot) -> None:
        self.snapshot, self.plan = snapshot, Plan()
        self.waiting = list(snapshot.waiting)
        self.busy = _still_active(snapshot.active)
        """Reason why no slot can be launched now; empty if one can."""

    def enter(self, due: Due, kind: SlotKind, state: SlotState, reason: str = "") -> None:
        self.plan.entered.append(Decision(due.slot, due.due_at, kind, state, reason))
        if state == SlotState.WAITING:
            self.waiting.append(due)

    def resolve(self, due: Due, state: SlotState, reason: str = "") -> None:
        self.waiting.remove(due)
        self.plan.resolved.append(Decision(due.slot, due.due_at, due.kind, state, reason))

    def give_up_waiting(self) -> None:
        for due in [waiting for waiting in self.waiting if waiting.kind != SlotKind.MANUAL]:
            self.resolve(due, SlotState.PAUSED, f"Waited for the previous run. {self.snapshot.paused}")

    def supersede_waiting(self, slot: datetime) -> None:
        for due in [waiting for waiting in self.waiting if waiting.kind != SlotKind.BACKFILL]:
            self.resolve(due, SlotState.SKIPPED, _superseded(slot))

    def launch_waiting(self, *, backfills: bool) -> None:
        """Launch waiting slots in order, as far as the overlap policy allows."""
        for due in [waiting for waiting in self.snapshot.waiting if (waiting.kind == SlotKind.BACKFILL) == backfills]:
            if self.is_free:
                self.resolve(due, *self.launched(due, due.kind))

    @property
    def is_free(self) -> bool:
        return not self.busy or self.snapshot.policy.overlap == Overlap.ALLOW

    def launched(self, due: Due, kind: SlotKind) -> Verdict:
        if self.snapshot.refusal:
            return SlotState.REFUSED, self.snapshot.refusal
        self.busy = f"The run for {moment(due.slot)} had just been launched."
        late = duration((self.snapshot.now - due.due_at).total_seconds())
        if kind == SlotKind.LATE:
            return SlotState.CAUGHT_UP, f"Launched {late} late: schedules were not checked in time."
        has_waited = kind != SlotKind.BACKFILL and due in self.snapshot.waiting
        return SlotState.LAUNCHED, f"Waited {late} for the previous run." if has_waited else ""

    def overlapped(self, due: Due, kind: SlotKind) -> Verdict:
        """Launch the slot, or apply the overlap policy."""
        if self.is_free:
            return self.launched(due, kind)
        match self.snapshot.policy.overlap:
            case Overlap.QUEUE_ONE:
                return self._queued(1)
            case Overlap.QUEUE_ALL:
                return self._queued(self.snapshot.policy.waiting_max)
            case Overlap.CANCEL:
                self.plan.cancelled = [active.run_id for active in self.snapshot.active]
                return SlotState.WAITING, f"{self.busy} It is being cancelled."
            case _:
                return SlotState.SKIPPED, self.busy

    def _queued(self, most: int) -> Verdict:
        ahead = [due for due in self.waiting if due.kind != SlotKind.BACKFILL]
        if len(ahead) < most:
            return SlotState.WAITING, self.busy
        first = moment(ahead[0].slot)
        full = f"The run for {first} is already waiting." if most == 1 else f"{most:,} runs are already waiting."
        return SlotState.SKIPPED, f"{self.busy} {full}"


def _still_active(active: Sequence[Active]) -> str:
    if not active:
        return ""
    first = active[0]
    which = f" for {moment(first.slot)}" if first.slot else ""
    rest = f" and {len(active) - 1} more were" if len(active) > 1 else " was"
    return f"Run {first.run_id}{which}{rest} still active."


def _superseded(slot: datetime) -> str:
    return f"Superseded by the run for {moment(slot)}."


def moment(slot: datetime) -> str:
    """Format a time as in the reasons of the history: `2026-03-01 11:00 UTC`."""
    return f"{slot:%Y-%m-%d %H:%M:%S} UTC".replace(":00 UTC", " UTC")
