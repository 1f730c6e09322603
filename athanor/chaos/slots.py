"""Schedules in chaos: of every policy, with a history that must be correct in spite of all faults."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from itertools import cycle, islice, product

from django.contrib.contenttypes.models import ContentType
from django.db.models.functions import Now

from athanor.chaos.invariants import Invariant
from athanor.chaos.load import PROBE
from athanor.chaos.stage import BY, Stage
from runs import services
from runs.schedules.audit import SLACK, audit
from runs.states import CatchUp, Overlap, TimetableKind

TINY = {"steps": 2, "lines": 1, "pause_s": 0.05}
EVERY_S = (15, 40)


class CampaignSchedules:
    """Schedules of one campaign, from their creation to their removal. There may be none."""

    def __init__(self, stage: Stage, *, count: int, seed: int) -> None:
        self._stage, self._count = stage, count
        self._dice = random.Random(f"schedules {seed}")  # noqa: S311  # repeated, not guessed
        self._begin = self._end = database_now()

    def create(self) -> None:
        """Create the schedules, of every policy in turn."""
        for number, (overlap, catch_up) in enumerate(islice(cycle(product(Overlap, CatchUp)), self._count)):
            schedule = services.create_schedule(
                f"chaos-{self._stage.token}-{number}",
                experiment=PROBE,
                configuration=TINY,
                kind=TimetableKind.INTERVAL,
                every_s=self._dice.randint(*EVERY_S),
                jitter_s=self._dice.randint(0, 3),
                overlap=overlap,
                catch_up=catch_up,
            )
            self._stage.schedules.append(schedule.pk)

    def pause(self) -> bool:
        """Pause all schedules. Safe to repeat; raises DatabaseError if the database is unavailable."""
        for schedule in self._stage.schedule_rows():
            services.pause_schedule(schedule.pk, by=BY)
        self._end = database_now()
        return True

    def is_settled(self) -> bool:
        """Return whether all slots until the pause must be in the history by now."""
        return not self._count or database_now() >= self._end + SLACK + timedelta(seconds=1)

    def check(self) -> list[Invariant]:
        """Check the history. Call this once it is settled."""
        if not self._count:
            return []
        report = audit(self._begin, self._end, schedules=self._stage.schedule_rows().order_by("pk"))
        text = "every slot is in the history, and none was launched twice"
        return [Invariant("slots", text, report.slots, [str(finding) for finding in report.findings])]

    def remove(self) -> None:
        """Delete the schedules with their history; the runs stay."""
        self._stage.schedule_rows().delete()


def database_now() -> datetime:
    """Return the database's time, read through a table that is never empty."""
    now: datetime = ContentType.objects.annotate(now=Now()).values_list("now", flat=True)[0]
    return now
