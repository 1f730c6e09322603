"""Audit log: who did what to which object, when, from which address and by which door.

`record` adds a row within the caller's transaction, so that an act and its row are stored together or not at all. After
the commit the entry also goes to the logger `athanor.audit` as one line of JSON. Pages, commands and the tick of
schedules say who acts by `acting_as`; elsewhere it is the Unix user of the process. Details hold names of fields, never
their values.
"""

from __future__ import annotations

import logging
import os
import pwd
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Model
from django.db.models.functions import Now
from django.utils import timezone

from runs import statements
from runs.conf import runs_settings
from runs.formatting import json_text, printable
from runs.models import AuditEntry
from runs.states import Act, Door

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

log = logging.getLogger("athanor.audit")

NAME_MAX = 200
UNRECORDED = frozenset(
    {"last_login", "updated_at", "created_at", "cursor", "planned_at", "due_at", "failures", "trouble"}
)
"""Columns whose changes are not recorded."""
NAMED_MAX = 50
"""Number of names that one entry lists."""


@dataclass(frozen=True, slots=True)
class Actor:
    """User or program that acts, with the door and the address."""

    door: Door
    who: str
    user_pk: int | None = None
    address: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def named(self, user: AbstractBaseUser | AnonymousUser | None) -> Actor:
        """Return the same actor as this user."""
        if user is None or user.pk is None or user.pk == self.user_pk:
            return self
        unix = {} if self.door != Door.PYTHON else {"unix_user": self.who}
        return replace(self, who=user.get_username(), user_pk=int(user.pk), details={**self.details, **unix})

    def called(self, name: str) -> Actor:
        """Return the same actor with the name that a program gives. Pages and commands know their user."""
        if self.door != Door.PYTHON or name == self.who:
            return self
        return replace(self, who=name, details={**self.details, "unix_user": self.who})


_actor: ContextVar[Callable[[], Actor] | None] = ContextVar("actor", default=None)


@contextmanager
def acting_as(actor: Callable[[], Actor]) -> Iterator[None]:
    """Record acts within the block as those of `actor()`, which is called when an act is recorded."""
    before = _actor.get()
    _actor.set(actor)
    try:
        yield
    finally:
        _actor.set(before)


@contextmanager
def with_details(**details: Any) -> Iterator[None]:
    """Add details to the entries of the block."""
    before = actor()
    added = {name: value for name, value in details.items() if value is not None}
    with acting_as(lambda: replace(before, details={**before.details, **added})):
        yield


def actor() -> Actor:
    """Return the current actor."""
    current = _actor.get()
    return current() if current else Actor(Door.PYTHON, unix_user())


def command() -> Actor:
    """Return the actor of a command: the Unix user, and the user who called sudo."""
    sudo_user = printable(os.environ.get("SUDO_USER", ""))[:NAME_MAX]
    return Actor(Door.COMMAND, unix_user(), details={"sudo_user": sudo_user} if sudo_user else {})


@cache
def unix_user() -> str:
    """Return the name of the process's user by its user id. Environment variables could name anyone."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def record(  # each argument is a column of the entry
    act: Act,
    target: Model | None = None,
    *,
    kind: str = "",
    key: object = "",
    name: str = "",
    count: int = 1,
    by: Actor | AbstractBaseUser | None = None,
    **details: Any,
) -> None:
    """Add an entry about an object: `target`, or its kind and key. `by` replaces the current actor.

    Call it in the transaction of the act.
    """
    row = entry(act, target, kind=kind, key=key, name=name, count=count, by=by, **details)
    statements.insert(row)
    _after_commit([row])


def insert_with(row: Model, act: Act, **columns: Any) -> None:
    """Insert a new row and its entry, as one statement where the database can. `columns` are arguments of `entry`."""
    beside = entry(act, kind=str(row._meta.model_name), **columns)
    statements.insert_both(row, beside, key="key")
    _after_commit([beside])


def record_many(rows: Iterable[AuditEntry]) -> None:
    """Add entries that `entry` has built, in one statement."""
    added = AuditEntry.objects.bulk_create(rows)
    if added:
        _after_commit(added)


def entry(  # as `record`
    act: Act,
    target: Model | None = None,
    *,
    kind: str = "",
    key: object = "",
    name: str = "",
    count: int = 1,
    by: Actor | AbstractBaseUser | None = None,
    **details: Any,
) -> AuditEntry:
    """Build an entry without storing it."""
    who = by if isinstance(by, Actor) else actor().named(by)
    return AuditEntry(
        door=who.door,
        who=one_line(who.who),
        user_pk=who.user_pk,
        address=who.address[:45],
        act=act,
        kind=kind or (str(target._meta.model_name) if target else ""),
        key=str(target.pk if target else key),
        name=one_line(name or (label(target) if target else "")),
        count=count,
        details={**who.details, **{name: value for name, value in details.items() if value not in (None, "", [])}},
    )


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields that differ; of mappings, the names of their keys that differ."""
    changed: list[str] = []
    for name, value in after.items():
        old = before.get(name)
        if name in UNRECORDED or old == value:
            continue
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            changed += [f"{name}.{key}" for key in {**old, **value} if old.get(key) != value.get(key)]
        else:
            changed.append(name)
    return [name[:NAME_MAX] for name in changed[:NAMED_MAX]]


def columns(target: Model) -> dict[str, Any]:
    """Return the values of all columns of a row."""
    return {field.attname: getattr(target, field.attname) for field in target._meta.concrete_fields}


def label(target: Model) -> str:
    """Return the name of an object, without its kind."""
    return str(getattr(target, "name", "") or getattr(target, "username", "") or target)


def one_line(text: str) -> str:
    return " ".join(printable(text[: 2 * NAME_MAX]).split())[:NAME_MAX]


def _after_commit(rows: list[AuditEntry]) -> None:
    if log.handlers:
        transaction.on_commit(partial(_write_lines, rows))


def _write_lines(rows: list[AuditEntry]) -> None:
    for row in rows:
        log.info("%s", json_text(document(row)))


def document(row: AuditEntry) -> dict[str, Any]:
    """Return an entry as JSON for the log."""
    return {
        "time": timezone.now().isoformat(),
        "id": row.pk,
        "who": row.who,
        "user_pk": row.user_pk,
        "address": row.address,
        "door": str(row.door),
        "act": str(row.act),
        "kind": row.kind,
        "key": row.key,
        "name": row.name,
        "count": row.count,
        "details": row.details,
    }


def remove_old() -> int:
    """Remove one batch of entries that are older than `audit_keep_days`; return their number. May be repeated."""
    conf = runs_settings()
    old = AuditEntry.objects.filter(at__lt=Now() - timedelta(days=conf.audit_keep_days))
    ids = list(old.order_by("at").values_list("pk", flat=True)[: conf.audit_batch])
    if not ids:
        return 0
    removed = AuditEntry.objects.filter(pk__in=ids)._raw_delete(AuditEntry.objects.db)
    log.debug("Removed %d entries older than %g days", removed, conf.audit_keep_days)
    return int(removed)
