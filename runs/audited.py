"""Signals that record changes of the models that people edit, and logins.

They record for every door. A change names the changed fields. Bulk updates of a queryset send no signals.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model, signals
from django.contrib.auth.models import Group
from django.db.models import Model
from django.db.models.functions import Now
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from experiments.models import Instance
from runs import audit
from runs.conf import runs_settings
from runs.models import AccessRule, AuditEntry
from runs.states import Act

_BEFORE = "_audit_before"
_RELATED = {"post_add": "added", "post_remove": "removed", "post_clear": "cleared"}


def connect() -> None:
    """Connect the signals. Repeated calls change nothing."""
    user = get_user_model()
    for model in (Instance, user, Group, AccessRule):
        watch(model)
    for through in (user.groups.through, user.user_permissions.through, Group.permissions.through):
        m2m_changed.connect(_related, sender=through, dispatch_uid="runs.audited")
    signals.user_logged_in.connect(_signed_in, dispatch_uid="runs.audited")
    signals.user_logged_out.connect(_signed_out, dispatch_uid="runs.audited")
    signals.user_login_failed.connect(_sign_in_failed, dispatch_uid="runs.audited")


def watch(model: type[Model]) -> None:
    """Record each saved and deleted row of a model."""
    pre_save.connect(_before, sender=model, dispatch_uid="runs.audited")
    post_save.connect(_saved, sender=model, dispatch_uid="runs.audited")
    post_delete.connect(_deleted, sender=model, dispatch_uid="runs.audited")


def _before(sender: type[Model], instance: Model, raw: bool, **_: Any) -> None:
    if not raw and instance.pk is not None:
        vars(instance)[_BEFORE] = sender._base_manager.filter(pk=instance.pk).values().first()


def _saved(sender: type[Model], instance: Model, created: bool, raw: bool, **_: Any) -> None:
    before = vars(instance).pop(_BEFORE, None)
    if raw:
        return
    if created:
        audit.record(Act.ADD, instance)
        return
    if fields := audit.changed_fields(before or {}, audit.columns(instance)):
        audit.record(Act.CHANGE, instance, fields=fields)


def _deleted(sender: type[Model], instance: Model, **_: Any) -> None:
    audit.record(Act.DELETE, instance)


def _related(  # Django's signature
    sender: type[Model], instance: Model, action: str, model: type[Model], pk_set: set[int] | None, **_: Any
) -> None:
    """Record changed groups and permissions of a user, and permissions of a group."""
    if action not in _RELATED or (action != "post_clear" and not pk_set):
        return
    rows = model._base_manager.filter(pk__in=list(pk_set or ())[: audit.NAMED_MAX])
    names = sorted(str(getattr(row, "codename", None) or audit.label(row)) for row in rows)
    what = str(model._meta.verbose_name_plural)
    details: dict[str, Any] = {what: _RELATED[action], "names": names}
    audit.record(Act.CHANGE, instance, **details)


def _signed_in(sender: Any, request: Any, user: Any, **_: Any) -> None:
    audit.record(Act.SIGN_IN, user, by=user)


def _signed_out(sender: Any, request: Any, user: Any, **_: Any) -> None:
    if user is not None:
        audit.record(Act.SIGN_OUT, user, by=user)


def _sign_in_failed(sender: Any, credentials: Mapping[str, Any], request: Any = None, **_: Any) -> None:
    """Record a failed login with the name that was entered. Refused logins of a locked-out client write nothing."""
    if getattr(request, "axes_locked_out", False):
        return
    failed = AuditEntry.objects.filter(at__gt=Now() - timedelta(minutes=1), act=Act.SIGN_IN_FAILED)
    if len(failed.values_list("pk")[: runs_settings().audit_failures_max]) >= runs_settings().audit_failures_max:
        return
    name = audit.one_line(str(credentials.get(get_user_model().USERNAME_FIELD) or ""))
    audit.record(Act.SIGN_IN_FAILED, kind="user", name=name)
