"""Rights of a user by the access rules, in addition to Django's permissions.

Runs that match no rule are open. Others are reserved for the groups with a rule that allows the action.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, Literal

from django.db.models import Q, QuerySet

from experiments.models import Instance
from runs.models.rule import AccessRule

Action = Literal["view", "launch", "configure", "cancel"]
NOTHING = Q(pk__in=())
EVERYTHING = ~NOTHING
"""Not an empty Q, which Django omits in an OR."""
_CACHE = "_athanor_rights"


@dataclass(frozen=True, slots=True)
class Rights:
    """Rules as they apply to one user."""

    rules: Sequence[AccessRule] = ()
    """All rules; none for a superuser."""
    groups: frozenset[int] = frozenset()
    """Groups of the user."""

    def allow(self, action: Action, experiment: str, queue: str) -> bool:
        """Return whether the rules allow an action with runs of an experiment in a queue."""
        matching = [rule for rule in self.rules if rule.matches(experiment, queue)]
        return not matching or any(self._grants(rule, action) for rule in matching)

    def condition(self, action: Action, experiment: str = "experiment", queue: str = "queue") -> Q:
        """Return the condition for rows that the rules allow; the columns hold their experiment and queue."""
        if not self.rules:
            return EVERYTHING
        granting = [rule for rule in self.rules if self._grants(rule, action)]
        reserved = [rule for rule in self.rules if rule not in granting]
        return _any(granting, experiment, queue) | ~_any(reserved, experiment, queue)

    @property
    def restrict_view(self) -> bool:
        """True if some runs may be hidden from the user."""
        return any(not self._grants(rule, "view") for rule in self.rules)

    def _grants(self, rule: AccessRule, action: Action) -> bool:
        return rule.group_id in self.groups and bool(getattr(rule, action))


def of(user: Any) -> Rights:
    """Return the rights of a user, read once for each user object.

    Without a user, everything is allowed: the caller is a command or a program, which can read the database.
    """
    if user is None or user.is_superuser:
        return Rights()
    rights: Rights | None = getattr(user, _CACHE, None)
    if rights is None:
        rules = list(AccessRule.objects.select_related("group"))
        groups = frozenset(user.groups.values_list("pk", flat=True)) if rules and user.pk else frozenset()
        rights = Rights(rules, groups)
        setattr(user, _CACHE, rights)
    return rights


def visible_instances(user: Any) -> QuerySet[Instance]:
    """Instances that the user may see by the rules about the experiment and the queue that they name."""
    return Instance.objects.filter(of(user).condition("view"))


def _any(rules: Sequence[AccessRule], experiment: str, queue: str) -> Q:
    """Return the condition for rows that match one of the rules."""
    conditions = [rule.condition(experiment, queue) for rule in rules]
    if any(not condition for condition in conditions):
        return EVERYTHING  # a rule for everything
    return reduce(or_, conditions, NOTHING)
