"""Schedules in chaos: of every policy, and a ledger that must be right whatever happened."""

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


class Ledger:
    """The schedules of one campaign, from their making to their removal. May have none."""

    def __init__(self, stage: Stage, *, count: int, seed: int) -> None:
        self._stage, self._count = stage, count
        self._dice = random.Random(f"schedules {seed}")  # noqa: S311  # repeated, not guessed
        self._begin = self._end = database_now()

    def create(self) -> None:
        """Make them, of every policy in turn."""
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
        """Nothing is launched from now on. May be repeated; raises what a database that is away raises."""
        for schedule in self._stage.schedule_rows():
            services.pause_schedule(schedule.pk, by=BY)
        self._end = database_now()
        return True

    def is_settled(self) -> bool:
        """Whether all slots until the pause must be in the ledger by now."""
        return not self._count or database_now() >= self._end + SLACK + timedelta(seconds=1)

    def check(self) -> list[Invariant]:
        """What the ledger must be; to be asked when it is settled."""
        if not self._count:
            return []
        found = audit(self._begin, self._end, schedules=self._stage.schedule_rows().order_by("pk"))
        text = "every slot is in the ledger, and none was launched twice"
        return [Invariant("slots", text, found.slots, [str(finding) for finding in found.findings])]

    def remove(self) -> None:
        """The schedules, with their ledgers; the runs stay."""
        self._stage.schedule_rows().delete()


def database_now() -> datetime:
    """By a table that is never empty."""
    now: datetime = ContentType.objects.annotate(now=Now()).values_list("now", flat=True)[0]
    return now
