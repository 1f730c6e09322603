"""Access rules: rights of groups on the runs of experiments and queues."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Left
from django.db.models.lookups import Exact

RULES_MAX = 500
"""Maximum number of rules. Each page reads all of them."""
ANY = "*"
HELP = "A name, the beginning of names followed by *, or * for all."


class AccessRule(models.Model):
    """Reservation of the runs of experiments and queues for the groups that have a rule about them.

    A run that matches no rule is open to every user whose permissions allow it.
    """

    group = models.ForeignKey(Group, on_delete=models.PROTECT, related_name="+")
    experiment = models.CharField(max_length=200, default=ANY, help_text=HELP)
    queue = models.CharField(max_length=100, default=ANY, help_text=HELP)
    view = models.BooleanField("may view", default=True, help_text="Runs, instances and schedules.")
    launch = models.BooleanField("may launch", default=False, help_text="Also retry and rerun.")
    configure = models.BooleanField(
        "may change the configuration",
        default=False,
        help_text="Launch with values of one's own, and change instances and schedules. Without it, members launch"
        " instances as they are.",
    )
    cancel = models.BooleanField(
        "may cancel runs of others", default=False, help_text="Also tag, inspect and delete them."
    )

    class Meta:
        ordering = ("experiment", "queue", "group")
        constraints = (models.UniqueConstraint("group", "experiment", "queue", name="rule_once"),)

    def __str__(self) -> str:
        return f"{self.group}: {self.experiment} in queue {self.queue}"

    def clean(self) -> None:
        for name in ("experiment", "queue"):
            if ANY in str(getattr(self, name))[:-1]:
                raise ValidationError({name: "Use * at the end only, for example vision_*."})
        if self.pk is None and AccessRule.objects.count() >= RULES_MAX:
            raise ValidationError(f"There are {RULES_MAX} rules already, the maximum. Combine some of them.")

    def matches(self, experiment: str, queue: str) -> bool:
        return _is_match(self.experiment, experiment) and _is_match(self.queue, queue)

    def condition(self, experiment: str, queue: str) -> Q:
        """Return the condition for rows whose experiment and queue are in these columns."""
        return _condition(self.experiment, experiment) & _condition(self.queue, queue)


def _is_match(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith(ANY) else name == pattern


def _condition(pattern: str, column: str) -> Q:
    """Return the condition for a pattern. `startswith` is not used: SQLite would ignore the case."""
    if pattern == ANY:
        return Q()
    if not pattern.endswith(ANY):
        return Q(**{column: pattern})
    start = pattern[:-1]
    exact: Any = Exact(Left(F(column), len(start)), models.Value(start))
    return Q(exact)
