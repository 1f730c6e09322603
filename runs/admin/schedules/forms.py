"""Form of a schedule. Durations are entered as `10m`, dates one per line, times in the schedule's time zone."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from experiments import catalog, sealing
from experiments.catalog import Entry
from experiments.forms import keeping
from experiments.forms.fields import MISSING, Kind, same
from experiments.forms.fields import Field as FormField
from experiments.forms.instance import ExperimentSelect
from experiments.forms.rendering import starting_data
from experiments.forms.sources import configuration_source, limits_source
from experiments.forms.widget import FOR, EditableForm, GeneratedField
from experiments.limits import Limits
from experiments.models import Instance
from runs import parsing
from runs.exceptions import LaunchRefused
from runs.ids import row_id
from runs.launch_order import overlay, overridden
from runs.models import Schedule, rights
from runs.models.schedule import local_zone
from runs.schedules.service import check
from runs.schedules.timetable import TimetableError, find_zone, resolved
from runs.states import TimetableKind

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Schedule]
else:
    _ModelForm = forms.ModelForm  # not generic at run time

LAUNCHED = {"instance", "experiment", "configuration", "limits", "queue", "priority"}
"""Fields that say what is launched."""
INSTANCE_HELP = "Instance to launch."
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


OF_KIND: dict[str, tuple[str, Any]] = {
    TimetableKind.CRON: ("cron", ""),
    TimetableKind.INTERVAL: ("every_s", None),
    TimetableKind.DATES: ("dates", []),
}
"""Kind → its field, and the empty value of that field."""


class SecondsField(forms.CharField):
    """Whole seconds, typed as 0, 90, 10m, 1.5h, 2d."""

    widget = UnfoldAdminTextInputWidget

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            return parsing.whole_seconds(text)
        except ArgumentTypeError as error:
            raise forms.ValidationError(str(error)) from error

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, int) or not value:
            return value
        size, unit = next((size, unit) for size, unit in _UNITS if value % size == 0)
        return f"{value // size}{unit}"

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(data) != initial)
        except forms.ValidationError:
            return True


class DatesField(forms.CharField):
    """List of dates, one per line."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 4})

    def to_python(self, value: Any) -> Any:
        return [line.strip() for line in (value or "").splitlines() if line.strip()]

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(data) != list(initial or []))


class MomentField(forms.CharField):
    """Time in the schedule's time zone; the form makes it aware."""

    widget = UnfoldAdminTextInputWidget(attrs={"placeholder": "2026-03-29 02:30"})

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        try:
            return datetime.fromisoformat(text.strip()) if text else None
        except ValueError as error:
            raise forms.ValidationError(f"{text[:60]!r} is not a valid time. Use 2026-03-29 02:30.") from error


@dataclass(frozen=True, slots=True)
class Target:
    """Target of a schedule: an instance, or an experiment."""

    instance: Instance | None
    experiment: str
    """Name; that of the instance's experiment if there is an instance."""

    @property
    def columns(self) -> tuple[Instance | None, str]:
        return self.instance, "" if self.instance else self.experiment

    @property
    def mark(self) -> str:
        """Target for which the form was rendered, sent back with it."""
        return f"instance {self.instance.pk}" if self.instance else self.experiment or "nothing"


def defaults_of(entry: Entry | None) -> dict[str, Any]:
    fields = entry.form.fields if entry else ()
    return {field.name: field.default for field in fields if field.default is not MISSING}


def difference(configuration: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `configuration` that differ from `base`; mappings are compared value by value. Pure."""
    different: dict[str, Any] = {}
    for name, value in configuration.items():
        if name not in base:
            different[name] = value
        elif isinstance(value, Mapping) and isinstance(base[name], Mapping):
            if below := difference(value, base[name]):
                different[name] = below
        elif not same(value, base[name]):
            different[name] = value
    return different


def _readable(configuration: Mapping[str, Any]) -> Any:
    """Return a configuration with decrypted secrets, or unchanged if this process cannot decrypt them."""
    try:
        return sealing.opened(configuration)
    except sealing.Unreadable:
        return configuration


def _copy(path: Sequence[str], configuration: Mapping[str, Any], into: dict[str, Any]) -> None:
    """Copy the value at the path; a list is copied as a whole."""
    for name in path[:-1]:
        if not isinstance(configuration[name], Mapping):
            into[name] = configuration[name]
            return
        configuration, into = configuration[name], into.setdefault(name, {})
    into[path[-1]] = configuration[path[-1]]


class ScheduleForm(EditableForm, _ModelForm):
    user: Any = None
    """User who fills in the form and becomes the owner; set by the admin."""

    experiment = forms.ChoiceField(required=False, widget=ExperimentSelect, help_text="Or an experiment.")
    configuration = forms.Field(required=False)
    limits = forms.Field(required=False)
    every_s = SecondsField(
        required=False, label="Every", help_text="30s, 10m, 6h or 1d, counted from the start or from now."
    )
    dates = DatesField(required=False, help_text="One per line, in the time zone below: 2026-03-29 02:30")
    time_zone = forms.CharField(
        initial=local_zone,
        widget=UnfoldAdminTextInputWidget(attrs={"list": "zones", "autocomplete": "off"}),
        help_text="Europe/Berlin or UTC.",
    )
    starts_at = MomentField(
        required=False, label="Start", help_text="No runs before this time; intervals count from it."
    )
    ends_at = MomentField(required=False, label="End", help_text="No runs after this time.")
    jitter_s = SecondsField(
        required=False, label="Jitter", help_text="Launch up to this much later: 5m. Fixed for each slot."
    )
    catch_up_window_s = SecondsField(
        initial=3600, label="Catch-up window", help_text="10m, 1h or 2d. Older slots are marked as missed."
    )

    class Meta:
        model = Schedule
        help_texts = {"name": "Letters, digits, - and _ only. Commands use this name."}
        error_messages = {"name": {"invalid": "Letters, digits, - and _ only."}}
        widgets = {"description": UnfoldAdminTextareaWidget(attrs={"rows": 2})}
        fields = (
            "name", "description", "instance", "experiment", "configuration", "kind", "cron", "every_s", "dates",
            "time_zone", "starts_at", "ends_at", "jitter_s", "overlap", "catch_up", "catch_up_window_s",
            "pause_after_failures", "limits", "queue", "priority",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = sorted({*catalog.current().names, *filter(None, [self.instance.experiment])})
        if "instance" in self.fields:
            self.fields["instance"] = forms.ModelChoiceField(
                rights.visible_instances(self.user).order_by("name"),
                required=False,
                widget=ExperimentSelect,
                help_text=INSTANCE_HELP,
            )
        if "experiment" in self.fields:
            self.fields["experiment"].choices = [("", "—"), *((name, name) for name in names)]  # type: ignore[attr-defined]
        self.stored = {"configuration": _readable(self.instance.configuration), "limits": self.instance.limits}
        self.target = self._chosen_target()
        self._generate()
        if self.instance.pk:
            self._show_moments(self.instance)

    def _chosen_target(self) -> Target:
        """Return the target chosen in the submitted form, or else that of the schedule."""
        chosen = self.data if self.is_bound else self.initial
        pk, name = row_id(str(chosen.get("instance") or "")), str(chosen.get("experiment") or "")
        instance = None if pk is None else rights.visible_instances(self.user).filter(pk=pk).first()
        return Target(instance, instance.experiment if instance else name)

    def _generate(self) -> None:
        """Generate the fields of configuration and limits for the target, without values of another one."""
        schedule, target = self.instance, self.target
        entry = catalog.current().entries.get(target.experiment)
        is_stored = schedule.pk and (schedule.instance, schedule.experiment) == target.columns
        own = dict(schedule.configuration) if is_stored and isinstance(schedule.configuration, dict) else {}
        stored: Any = own if is_stored else MISSING
        if target.instance:
            merged = overlay(target.instance.configuration, own)
            stored = keeping.apart(entry.form, own, merged) if entry else merged
        source = replace(configuration_source(entry, stored, name=target.experiment), of=target.mark)
        if not target.experiment:
            source = replace(source, root=FormField("", Kind.GROUP, required=True))
        declared = entry.limits.overridden(target.instance.limits if target.instance else None) if entry else Limits()
        sources = {"configuration": source, "limits": limits_source(entry, declared, schedule.limits)}
        for name, each in sources.items():
            if name in self.fields:
                self.fields[name] = GeneratedField(each, name, with_summary=True)
                self.initial[name] = each.shown
        if not target.experiment and "configuration" in self.fields:
            self.fields["configuration"].help_text = "Choose an instance or an experiment to fill in its configuration."
        self.entry = entry
        self.base = _readable(target.instance.configuration) if target.instance else defaults_of(entry)

    def _show_moments(self, schedule: Schedule) -> None:
        """Show times in the schedule's zone."""
        for name in ("starts_at", "ends_at"):
            if moment := getattr(schedule, name):
                self.initial[name] = f"{moment.astimezone(ZoneInfo(schedule.time_zone)):%Y-%m-%d %H:%M:%S}"

    def _change_experiment(self, is_asked: bool) -> None:
        """Render the form again if it was rendered for another target."""
        field = self.fields.get("configuration")
        drawn_for = self.data.get(f"configuration{FOR}")
        if not isinstance(field, GeneratedField) or drawn_for is None or drawn_for == field.source.of:
            self.is_edit = is_asked
            return
        self.is_edit = True
        self._replace("configuration", starting_data(field.source.root, field.source.shown, "configuration"))

    @property
    def changed_data(self) -> list[str]:
        """Names of changed fields. Generated fields are compared by their stored values."""
        stored = self.stored
        values = getattr(self, "cleaned_data", {})
        return [name for name in super().changed_data if name not in stored or values.get(name) != stored[name]]

    def clean_jitter_s(self) -> int:
        return self.cleaned_data["jitter_s"] or 0

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        self._make_aware(values)
        if isinstance(values.get("configuration"), dict):
            values["configuration"] = self._overrides(values["configuration"])
        for kind, (name, nothing) in OF_KIND.items():
            if kind != values.get("kind"):
                values[name] = copy(nothing)
                self.errors.pop(name, None)  # the field is hidden
        chosen = values.get("instance")
        self.instance.instance_name = chosen.name if chosen else ""
        return values

    def _overrides(self, configuration: dict[str, Any]) -> dict[str, Any]:
        """Return the values that differ from the instance or experiment. Only these are stored; others follow it."""
        different = difference(configuration, self.base)
        if self.target.instance and self.entry:
            _, not_kept = overridden(self.entry, self.base, different)
            for path in not_kept:  # entered in this form, or kept by it
                _copy(path.split("."), configuration, different)
        if self.target.instance and overlay(self.base, different) != configuration:
            self.add_error(
                "configuration", "A schedule cannot remove entries of its instance. Change the instance instead."
            )
        return different

    def _make_aware(self, values: dict[str, Any]) -> None:
        try:
            zone = find_zone(values.get("time_zone", ""))
        except TimetableError:
            zone = None  # the model reports it at its field
        for name in ("starts_at", "ends_at"):
            try:
                values[name] = resolved(values[name], zone) if values.get(name) and zone else None
            except TimetableError as error:
                self.add_error(name, str(error))

    def add_error(self, field: str | None, error: Any) -> None:
        """Keep one error for each field: the form's own, or else the last one of the model."""
        by_field = getattr(error, "error_dict", None)
        if by_field is None:
            super().add_error(field, error)
        elif news := {name: errors[-1:] for name, errors in by_field.items() if name not in self.errors}:
            super().add_error(None, forms.ValidationError(news))

    def _post_clean(self) -> None:
        """Validate the model, then the launch: a schedule that could not launch is not saved. All errors at once."""
        super()._post_clean()  # type: ignore[misc]  # Django's own hook for this
        if LAUNCHED & set(self.errors):
            return
        self.instance.owner, self.instance.owner_name = self.user, self.user.get_username()
        try:
            check(self.instance)
        except LaunchRefused as error:
            for path, message in (error.problems or {"": str(error)}).items():
                field, _, inner = path.partition(".")
                self.add_error(field if field in self.fields else None, f"{inner}: {message}" if inner else message)

    def columns(self) -> dict[str, Any]:
        """Values for `services`, by column."""
        return {name: getattr(self.instance, name) for name in self.Meta.fields}
