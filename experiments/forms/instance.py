"""The form of an instance. What it enters is checked by the model, which asks the one validator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from experiments.forms.plain import CODE_ATTRS, ObjectField, TagsField
from experiments.limits import Limits
from experiments.models import Instance
from experiments.registry import registry
from experiments.validation import masked, unmasked

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Instance]
else:
    _ModelForm = forms.ModelForm  # not generic at run time


class InstanceForm(_ModelForm):
    experiment = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    tags = TagsField(required=False, help_text="Separated by commas.")
    configuration = ObjectField(required=False, help_text="JSON. What is left out gets its default.")
    limits = ObjectField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={**CODE_ATTRS, "rows": 4}),
        help_text=f"JSON, instead of the experiment's own: {', '.join(Limits.model_fields)}. null is no limit.",
    )

    class Meta:
        model = Instance
        widgets = {"description": UnfoldAdminTextareaWidget(attrs={"rows": 3})}
        fields = ("experiment", "name", "description", "tags", "configuration", "limits", "queue", "priority")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored = (self.instance.experiment, self.instance.configuration)
        if "experiment" in self.fields:
            self.fields["experiment"].choices = choices(self.instance.experiment)  # type: ignore[attr-defined]
        if self.instance.pk:
            self.initial["configuration"] = masked(*self.stored)

    def clean(self) -> dict[str, Any]:
        """Put the secrets back that were shown as a mask, unless they are now another experiment's."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        experiment, configuration = self.stored
        if self.instance.pk and "configuration" in data and data.get("experiment") == experiment:
            data["configuration"] = unmasked(data["configuration"], configuration)
        return data


def choices(current: str) -> list[tuple[str, str]]:
    """The experiments there are, and the present one even if it is gone."""
    found = [(experiment.name, experiment.title) for experiment in registry().all()]
    if current and current not in dict(found):
        found.append((current, f"{current} (not found)"))
    return [("", "---------"), *found]
