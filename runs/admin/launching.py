"""The launch page: choose an experiment, say its configuration as JSON, launch. Problems stand at their fields."""

from __future__ import annotations

import inspect
import json
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any, TypeVar

from django import forms
from django.http import HttpRequest
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from experiments.base import Experiment
from experiments.exceptions import ExperimentsError
from experiments.models import Instance
from experiments.registry import registry
from experiments.schema import describe, skeleton
from experiments.validation import masked, unmasked
from runs import parsing, services
from runs.exceptions import LaunchRefused
from runs.models import Run

T = TypeVar("T")
_FIELD_OF = {"timeout_s": "timeout", "memory_limit_bytes": "memory"}


class LaunchForm(forms.Form):
    """What a launch may say. `launch` is the way out; it puts what was refused at its fields."""

    configuration = forms.JSONField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 14, "spellcheck": "false"}),
        label="Configuration",
    )
    name = forms.CharField(required=False, max_length=200, widget=UnfoldAdminTextInputWidget)
    tags = forms.CharField(required=False, widget=UnfoldAdminTextInputWidget, help_text="Separated by commas")
    timeout = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        label="Time limit",
        help_text="As 90, 10m, 2h; empty: as declared",
    )
    memory = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        label="Memory limit",
        help_text="As 512M, 4G; empty: as declared",
    )
    seed = forms.IntegerField(required=False, widget=UnfoldAdminIntegerFieldWidget, help_text="Empty: chosen at random")
    priority = forms.IntegerField(
        required=False,
        min_value=-32768,
        max_value=32767,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Higher runs first",
    )

    def __init__(self, target: Target, data: Any = None) -> None:
        super().__init__(data, initial={"configuration": target.configuration})
        self.target = target
        self.fields["configuration"].encoder = _Indented  # type: ignore[attr-defined]

    def clean_configuration(self) -> dict[str, Any]:
        given = self.cleaned_data["configuration"]
        given = {} if given is None else given
        if not isinstance(given, dict):
            raise forms.ValidationError("It must be an object: { … }")
        restored: dict[str, Any] = unmasked(given, self.target.stored)
        return restored

    def clean_timeout(self) -> float | None:
        return _parsed(parsing.seconds, self.cleaned_data["timeout"])

    def clean_memory(self) -> int | None:
        return _parsed(parsing.size_bytes, self.cleaned_data["memory"])

    def launch(self, request: HttpRequest) -> Run | None:
        """The new run, or None with the errors at their fields."""
        said = self.cleaned_data
        limits = {"timeout_s": said["timeout"], "memory_limit_bytes": said["memory"]}
        try:
            return services.launch(
                self.target.instance or self.target.experiment,
                configuration=said["configuration"],
                is_whole=True,
                name=said["name"],
                tags=[tag.strip() for tag in said["tags"].split(",") if tag.strip()],
                limits={name: value for name, value in limits.items() if value is not None},
                seed=said["seed"],
                priority=said["priority"],
                by=request.user,  # type: ignore[arg-type]  # the admin lets no anonymous user in
                via="admin",
            )
        except LaunchRefused as error:
            self._refused(error)
            return None

    def _refused(self, error: LaunchRefused) -> None:
        for path, message in (error.problems or {"": str(error)}).items():
            field, _, inner = path.partition(".")
            field = _FIELD_OF.get(inner, field)
            if field in self.fields:
                self.add_error(field, f"{inner}: {message}" if inner and field not in _FIELD_OF.values() else message)
            else:
                self.add_error(None, f"{path}: {message}" if path else message)


class _Indented(json.JSONEncoder):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs | {"indent": 2, "ensure_ascii": False})


class Target:
    """What is to be launched: an experiment or an instance, found by the page's query."""

    def __init__(self, experiment: type[Experiment], instance: Instance | None = None, run: Run | None = None) -> None:
        self.experiment = experiment
        self.instance = instance
        self.stored: dict[str, Any] = dict(run.configuration if run else instance.configuration if instance else {})
        shown = masked(experiment.name, self.stored) if self.stored else skeleton(experiment)
        self.configuration = shown
        self.fields = describe(experiment)
        self.description = inspect.cleandoc(experiment.__doc__ or "")

    @property
    def title(self) -> str:
        return f"Launch {self.instance.name if self.instance else self.experiment.name}"


def choices() -> list[tuple[str, str, str]]:
    """(name, title, first line of the description) of each experiment there is."""
    return [
        (experiment.name, experiment.title, inspect.cleandoc(experiment.__doc__ or "").partition("\n")[0])
        for experiment in registry().all()
    ]


def target(request: HttpRequest) -> Target | None:
    """What the query names: `?instance=ID`, `?run=ID` (again, with changes) or `?experiment=NAME`; None if nothing."""
    instance = _row(Instance, request.GET.get("instance"))
    run = _row(Run, request.GET.get("run"))
    name = instance.experiment if instance else run.experiment if run else request.GET.get("experiment", "")
    try:
        return Target(registry().get(name), instance, run)
    except ExperimentsError:
        return None


def _row(model: Any, pk: str | None) -> Any:
    return model.objects.filter(pk=pk).first() if pk and pk.isdecimal() and len(pk) < 19 else None


def _parsed(read: Callable[[str], T], text: str) -> T | None:
    try:
        return read(text) if text.strip() else None
    except ArgumentTypeError as error:
        raise forms.ValidationError(str(error)) from error
