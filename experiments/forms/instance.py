"""Form of an instance, with the same generated parts as a launch. The model validates the entered values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from experiments import catalog
from experiments.catalog import Entry
from experiments.forms.fields import MISSING
from experiments.forms.plain import TagsField
from experiments.forms.sources import configuration_source, limits_source
from experiments.forms.widget import EditableForm, GeneratedField
from experiments.limits import Limits
from experiments.models import Instance

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Instance]
else:
    _ModelForm = forms.ModelForm  # not generic at run time

GENERATED = ("configuration", "limits")
PLAIN = ("name", "description", "tags", "queue", "priority")


class ExperimentSelect(UnfoldAdminSelectWidget):  # type: ignore[misc]  # unfold has no types
    """A select with a button that draws the form of the chosen experiment; a script presses it."""

    template_name = "experiments/forms/experiment_select.html"


class InstanceForm(EditableForm, _ModelForm):
    experiment = forms.ChoiceField(widget=ExperimentSelect)
    tags = TagsField(required=False, help_text="Separated by commas.")
    configuration = forms.Field(required=False)
    limits = forms.Field(required=False)

    class Meta:
        model = Instance
        widgets = {"description": UnfoldAdminTextareaWidget(attrs={"rows": 2})}
        fields = ("experiment", "name", "description", "tags", "configuration", "limits", "queue", "priority")
        error_messages = {"name": {"invalid": "Letters, digits, - and _ only."}}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name = str((self.data if self.is_bound else self.initial).get("experiment") or self.instance.experiment)
        self.source_experiment = name
        experiment = catalog.current().entries.get(name)
        self._generate_configuration(name, experiment)
        declared = experiment.limits if experiment else Limits()
        limits = GeneratedField(limits_source(experiment, declared, self.instance.limits), "limits", with_summary=True)
        self.fields["limits"] = limits
        self.initial["limits"] = limits.source.shown
        if query := self.initial.pop("query", {}):
            self.prefill(query, PLAIN)
        if "experiment" in self.fields:
            self.fields["experiment"].choices = choices(self.instance.experiment)  # type: ignore[attr-defined]
        if experiment and "queue" in self.fields:
            self.fields["queue"].widget.attrs["placeholder"] = f"{experiment.queue} (default)"

    def _generate_configuration(self, name: str, experiment: Entry | None) -> None:
        """Add the configuration field, without stored values of another experiment: secrets must not move to it."""
        instance = self.instance
        stored = instance.configuration if instance.pk and instance.experiment == name else MISSING
        version = instance.updated_at.isoformat() if instance.pk else ""
        source = configuration_source(experiment, stored, name=name, version=version)
        self.fields["configuration"] = GeneratedField(source, "configuration", with_summary=True)
        self.initial["configuration"] = source.shown

    def _update_errors(self, errors: ValidationError) -> None:
        """Drop the model's errors of fields that already show their own."""
        model_errors = getattr(errors, "error_dict", {})
        for name in GENERATED:
            if name in self._errors:
                model_errors.pop(name, None)
        super()._update_errors(errors)  # type: ignore[misc]  # Django's own hook for this


def choices(current: str) -> list[tuple[str, str]]:
    """Return the experiments that are not hidden, and the current one even if it no longer exists."""
    experiments = catalog.current()
    offered = [(entry.name, entry.title) for entry in experiments.all()]
    if current and current not in dict(offered):
        hidden = experiments.entries.get(current)
        offered.append((current, hidden.title if hidden else f"{current} (not found)"))
    return [("", "---------"), *offered]
