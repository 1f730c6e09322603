"""The form of a schedule. Durations are typed as `10m`, dates one to a line, moments by the clock of the time zone."""

from __future__ import annotations

from argparse import ArgumentTypeError
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from experiments import catalog
from experiments.forms.plain import ObjectField
from experiments.validation import unmasked
from runs import parsing
from runs.exceptions import LaunchRefused
from runs.models import Schedule
from runs.models.schedule import local_zone
from runs.schedules.serializers import shown_configuration
from runs.schedules.service import check
from runs.schedules.timetable import TimetableError, find_zone, resolved
from runs.states import TimetableKind

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Schedule]
else:
    _ModelForm = forms.ModelForm  # not generic at run time

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


OF_KIND: dict[str, tuple[str, Any]] = {
    TimetableKind.CRON: ("cron", ""),
    TimetableKind.INTERVAL: ("every_s", None),
    TimetableKind.DATES: ("dates", []),
}
"""The field of each kind, and what it is for the others."""


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
    """A list of dates, one to a line."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 4})

    def to_python(self, value: Any) -> Any:
        return [line.strip() for line in (value or "").splitlines() if line.strip()]

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(data) != list(initial or []))


class MomentField(forms.CharField):
    """A moment by the clock of the schedule's zone; the form makes it aware once it knows that."""

    widget = UnfoldAdminTextInputWidget(attrs={"placeholder": "2026-03-29 02:30"})

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        try:
            return datetime.fromisoformat(text.strip()) if text else None
        except ValueError as error:
            raise forms.ValidationError(f"{text[:60]!r} is no moment; write it as 2026-03-29 02:30.") from error


class ScheduleForm(_ModelForm):
    user: Any = None
    """Who fills it in, and will be the owner: set by the admin."""

    experiment = forms.ChoiceField(
        required=False, widget=UnfoldAdminSelectWidget, help_text="Or an experiment as it is."
    )
    configuration = ObjectField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 5}),
        help_text="JSON; of an instance it is laid over its own.",
    )
    limits = ObjectField(required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), help_text="JSON.")
    every_s = SecondsField(
        required=False, label="Every", help_text="As 30s, 10m, 6h, 1d; counted from the start, or from now."
    )
    dates = DatesField(required=False, help_text="One to a line, as 2026-03-29 02:30, by the clock of the time zone.")
    time_zone = forms.CharField(
        initial=local_zone,
        widget=UnfoldAdminTextInputWidget(attrs={"list": "zones", "autocomplete": "off"}),
        help_text="Whose clock it goes by, as Europe/Berlin or UTC.",
    )
    starts_at = MomentField(required=False, label="Start", help_text="No slot before; intervals are counted from here.")
    ends_at = MomentField(required=False, label="End", help_text="No slot after.")
    jitter_s = SecondsField(
        required=False, label="Jitter", help_text="Launch up to so much later: as 5m. The same for one slot each time."
    )
    catch_up_window_s = SecondsField(
        initial=3600, label="Catch-up window", help_text="As 10m, 1h, 2d; what is older than this is missed."
    )

    class Meta:
        model = Schedule
        help_texts = {"name": "Unique; what commands call it: letters, digits, hyphens, underscores."}
        widgets = {"description": UnfoldAdminTextareaWidget(attrs={"rows": 2})}
        fields = (
            "name", "description", "instance", "experiment", "configuration", "kind", "cron", "every_s", "dates",
            "time_zone", "starts_at", "ends_at", "jitter_s", "overlap", "catch_up", "catch_up_window_s",
            "pause_after_failures", "limits", "queue", "priority",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored = (self.instance.instance, self.instance.experiment, dict(self.instance.configuration))
        names = sorted({*catalog.current().names, *filter(None, [self.instance.experiment])})
        if "experiment" in self.fields:
            self.fields["experiment"].choices = [("", "—"), *((name, name) for name in names)]  # type: ignore[attr-defined]
        if self.instance.pk:
            self._show(self.instance)

    def _show(self, schedule: Schedule) -> None:
        """Secrets masked, moments by the clock of the zone."""
        self.initial["configuration"] = shown_configuration(schedule)
        for name in ("starts_at", "ends_at"):
            if moment := getattr(schedule, name):
                self.initial[name] = f"{moment.astimezone(ZoneInfo(schedule.time_zone)):%Y-%m-%d %H:%M:%S}"

    def clean_jitter_s(self) -> int:
        return self.cleaned_data["jitter_s"] or 0

    def clean(self) -> dict[str, Any]:
        said = super().clean() or self.cleaned_data
        self._make_aware(said)
        instance, experiment, configuration = self.stored
        if "configuration" in said and (said.get("instance"), said.get("experiment")) == (instance, experiment):
            said["configuration"] = unmasked(said["configuration"], configuration)  # no other experiment gets secrets
        for kind, (name, nothing) in OF_KIND.items():
            if kind != said.get("kind"):
                said[name] = copy(nothing)
                self.errors.pop(name, None)  # nobody sees it
        chosen = said.get("instance")
        self.instance.instance_name = chosen.name if chosen else ""
        return said

    def _make_aware(self, said: dict[str, Any]) -> None:
        try:
            zone = find_zone(said.get("time_zone", ""))
        except TimetableError:
            zone = None  # told at its field by the model
        for name in ("starts_at", "ends_at"):
            try:
                said[name] = resolved(said[name], zone) if said.get(name) and zone else None
            except TimetableError as error:
                self.add_error(name, str(error))

    def add_error(self, field: str | None, error: Any) -> None:
        """One complaint for each field, the model's own where there are several: what is no duration is not too short
        as well."""
        told = getattr(error, "error_dict", None)
        if told is None:
            super().add_error(field, error)
        elif news := {name: said[-1:] for name, said in told.items() if name not in self.errors}:
            super().add_error(None, forms.ValidationError(news))

    def _post_clean(self) -> None:
        """What the model finds wrong, then what the launch would: nobody saves what could not be launched."""
        super()._post_clean()  # type: ignore[misc]  # Django's own hook for this
        if self.errors:
            return
        self.instance.owner, self.instance.owner_name = self.user, self.user.get_username()
        try:
            check(self.instance)
        except LaunchRefused as error:
            for path, message in (error.problems or {"": str(error)}).items():
                field, _, inner = path.partition(".")
                self.add_error(field if field in self.fields else None, f"{inner}: {message}" if inner else message)

    def columns(self) -> dict[str, Any]:
        """What was said, for `services`."""
        return {name: getattr(self.instance, name) for name in self.Meta.fields}
