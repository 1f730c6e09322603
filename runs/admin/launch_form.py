"""Launch form: the configuration of the experiment and the options of every launch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextInputWidget

from experiments.forms.fields import MISSING
from experiments.forms.plain import TagsField
from experiments.forms.sources import configuration_source, limits_source, retries_source
from experiments.forms.widget import EditableForm, GeneratedField
from experiments.models import Instance
from runs import launch_order, services
from runs.admin.launch_target import Target
from runs.exceptions import LaunchRefused
from runs.models import Run

_SLUG = re.compile(r"[-a-zA-Z0-9_]+")
PLAIN = ("name", "tags", "queue", "priority", "seed")
GENERATED = ("configuration", "limits", "retries")


def _line(**attrs: str) -> Any:
    return UnfoldAdminTextInputWidget({"autocomplete": "off", **attrs})


class LaunchForm(EditableForm, forms.Form):
    """Launch form. `launch` and `save_instance` show each problem at its field."""

    name = forms.CharField(
        required=False,
        max_length=launch_order.NAME_MAX,
        widget=_line(),
        help_text="Display name (needed to save as an instance).",
    )
    tags = TagsField(required=False, help_text="Separated by commas.")
    queue = forms.CharField(
        required=False, max_length=100, widget=_line(), help_text="Workers of this queue execute the run."
    )
    priority = forms.IntegerField(
        required=False,
        min_value=launch_order.PRIORITIES[0],
        max_value=launch_order.PRIORITIES[-1],
        widget=_line(inputmode="numeric"),
        help_text="Higher numbers run first.",
    )
    seed = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=launch_order.SEED_MAX,
        widget=_line(inputmode="numeric"),
        help_text="Random seed. Leave empty to choose one at random.",
    )

    def __init__(self, target: Target, data: Any = None, query: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(data, initial=dict(_initial(target)))
        self.target = target
        self._generate()
        self._show_defaults()
        if data is None and query:
            self.prefill(query, PLAIN)

    def _generate(self) -> None:
        target = self.target
        experiment, instance, run = target.experiment, target.instance, target.run
        stored: Any = run.configuration if run else instance.configuration if instance else MISSING
        version = instance.updated_at.isoformat() if instance else ""
        declared = experiment.limits.overridden(instance.limits if instance else None)
        sources = {
            "configuration": configuration_source(experiment, stored, version=version),
            "limits": limits_source(experiment, declared, _changed(run.limits, declared.model_dump()) if run else {}),
            "retries": retries_source(experiment, run.retries if run else {}),
        }
        for name, source in sources.items():
            self.fields[name] = GeneratedField(source, name)
            self.initial[name] = source.shown

    def _show_defaults(self) -> None:
        """Show the defaults of empty fields as placeholders."""
        instance, experiment = self.target.instance, self.target.experiment
        queue = (instance.queue if instance else "") or experiment.queue
        self.fields["queue"].widget.attrs["placeholder"] = f"{queue} (default)"
        self.fields["priority"].widget.attrs["placeholder"] = str(instance.priority if instance else 0)
        if instance:
            self.fields["name"].widget.attrs["placeholder"] = instance.name
        if instance and instance.tags:
            self.fields["tags"].help_text = f"Separated by commas. Added to {', '.join(instance.tags)}."

    def _field(self, name: str) -> GeneratedField:
        field = self.fields[name]
        assert isinstance(field, GeneratedField)  # noqa: S101  # for the type checker
        return field

    def drawn(self) -> dict[str, str]:
        """Render the generated parts as HTML. Their errors are complete afterwards."""
        return {name: self[name].as_widget() for name in GENERATED}

    def summary(self) -> list[tuple[str, str, str]]:
        """List id, title and message of all errors, in the order of the page."""
        lines = [("", "", str(message)) for message in self.non_field_errors()]
        for name in ("configuration", *PLAIN, "limits", "retries"):
            if name in PLAIN:
                lines += [
                    (self[name].id_for_label, str(self[name].label), str(message)) for message in self[name].errors
                ]
                continue
            inner = self._field(name).drawing.summary()
            lines += inner or [(f"id_{name}", name.capitalize(), str(message)) for message in self[name].errors]
        return lines

    @property
    def has_folded_errors(self) -> bool:
        return any(name in self.errors for name in (*PLAIN[1:], "limits", "retries"))

    def launch(self, by: Any) -> Run | None:
        """Launch a run. Returns None, with the errors at their fields, if it is refused."""
        values = self.cleaned_data
        try:
            return services.launch(
                self.target.instance or self.target.experiment,
                configuration=values["configuration"],
                is_whole=True,
                name=values["name"],
                tags=values["tags"],
                limits=values["limits"],
                seed=values["seed"],
                queue=values["queue"] or None,
                priority=values["priority"],
                retries=values["retries"],
                by=by,
                via="admin",
            )
        except LaunchRefused as error:
            self._refuse(error.problems or {"": str(error)})
            return None

    def save_instance(self, by: Any) -> Instance | None:
        """Save an instance. Returns None, with the errors at their fields, if it is refused."""
        values, base = self.cleaned_data, self.target.instance
        if not _SLUG.fullmatch(values["name"]):
            self.add_error("name", "Enter a name to save an instance: letters, digits, - and _ only.")
            return None
        instance = Instance(
            name=values["name"],
            experiment=self.target.experiment.name,
            configuration=values["configuration"],
            limits={**(base.limits if base else {}), **values["limits"]},
            tags=[*(base.tags if base else []), *values["tags"]],
            queue=values["queue"] or (base.queue if base else ""),
            priority=values["priority"] if values["priority"] is not None else base.priority if base else 0,
            created_by=by,
        )
        try:
            instance.full_clean()
        except ValidationError as error:
            self._refuse({name: " ".join(texts) for name, texts in error.message_dict.items()})
            return None
        instance.save()
        return instance

    def not_saved(self) -> list[str]:
        """List entered values that an instance cannot hold."""
        values = self.cleaned_data
        return [
            word
            for word, value in (("the seed", values["seed"]), ("the retries", values["retries"] or None))
            if value is not None
        ]

    def _refuse(self, problems: Mapping[str, str]) -> None:
        for path, message in problems.items():
            field, _, inner = path.partition(".")
            text = f"{inner}: {message}" if inner else message
            self.add_error(
                field if field in self.fields else None,
                text if field in self.fields or not path else f"{path}: {message}",
            )


def _initial(target: Target) -> Iterator[tuple[str, Any]]:
    """Yield initial values of a launch with changes. Empty fields take the values of an instance."""
    if run := target.run:
        yield from (("name", run.name), ("tags", run.tags), ("seed", run.seed), ("priority", run.priority))
        if run.queue != target.experiment.queue:
            yield "queue", run.queue


def _changed(limits: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the limits that differ from the declared ones."""
    return {name: value for name, value in limits.items() if name in declared and declared[name] != value}
