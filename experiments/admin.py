"""The admin of instances. It knows nothing of runs: `runs.admin` registers a subclass of it that launches."""

from __future__ import annotations

import json
from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils.html import format_html
from unfold.admin import ModelAdmin

from experiments.base import Experiment
from experiments.forms.instance import InstanceForm
from experiments.models import Instance
from experiments.registry import registry
from experiments.schema import describe, skeleton
from experiments.validation import masked


@admin.register(Instance)
class InstanceAdmin(ModelAdmin):
    form = InstanceForm
    list_display = ("name", "experiment", "shown_tags", "description", "updated_at")
    list_filter = ("experiment",)
    search_fields = ("name", "description", "experiment")
    list_select_related = ("created_by",)
    readonly_fields = ("created_at", "updated_at", "created_by", "shown_configuration", "shown_tags")
    show_full_result_count = False
    warn_unsaved_form = True
    list_before_template = "experiments/problems.html"
    change_form_outer_before_template = "experiments/problems.html"
    change_form_after_template = "experiments/instance_help.html"
    actions_detail: tuple[str, ...] = ()
    actions_row: tuple[str, ...] = ()

    class Media:
        css = {"all": ("experiments/instance.css",)}
        js = ("experiments/instance.js",)

    def get_fieldsets(self, request: HttpRequest, obj: Instance | None = None) -> Any:
        """Who may not change an instance sees its configuration with the secrets masked."""
        shown = obj is not None and not self.has_change_permission(request, obj)
        configuration, tags = ("shown_configuration", "shown_tags") if shown else ("configuration", "tags")
        return (
            (None, {"fields": ("experiment", "name", "description", tags, configuration)}),
            ("Limits and queue", {"fields": ("limits", "queue", "priority")}),
            *([("History", {"fields": ("created_at", "updated_at", "created_by")})] if obj else []),
        )

    @admin.display(description="Configuration")
    def shown_configuration(self, instance: Instance) -> str:
        text = json.dumps(masked(instance.experiment, instance.configuration), indent=2, ensure_ascii=False)
        return format_html('<pre class="athanor-code">{}</pre>', text)

    @admin.display(description="Tags")
    def shown_tags(self, instance: Instance) -> str:
        return ", ".join(instance.tags) or "-"

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """`?experiment=digits` gives its defaults as the configuration to begin with."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        experiment = initial.get("experiment", "")
        if experiment in registry() and "configuration" not in initial:
            initial["configuration"] = skeleton(registry().get(experiment))
        return initial

    def save_model(self, request: HttpRequest, obj: Instance, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = cast(AbstractBaseUser, request.user)  # type: ignore[assignment]  # the admin lets no other in
        super().save_model(request, obj, form, change)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"experiment_problems": registry().problems, **(extra_context or {})}
        return cast(HttpResponse, super().changelist_view(request, context))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        form = context["adminform"].form
        context["experiment_problems"] = registry().problems
        context["experiment"] = help_of(form.instance.experiment or form.initial.get("experiment", ""))
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.skeleton_view)
        return [path("skeleton/", view, name="experiments_instance_skeleton"), *super().get_urls()]

    def skeleton_view(self, request: HttpRequest) -> JsonResponse:
        """`?experiment=`: {"configuration": text to begin with, "help": HTML}; empty ones of an unknown experiment."""
        if not self.has_view_or_change_permission(request) and not self.has_add_permission(request):
            raise PermissionDenied
        name = request.GET.get("experiment", "")
        text = json.dumps(skeleton(registry().get(name)), indent=2, ensure_ascii=False) if name in registry() else ""
        shown = render_to_string("experiments/experiment_help.html", {"experiment": help_of(name)}, request)
        return JsonResponse({"configuration": text, "help": shown})


def help_of(name: str) -> dict[str, Any] | None:
    """What the templates show of an experiment; None if there is none of this name."""
    if name not in registry():
        return None
    experiment: type[Experiment] = registry().get(name)
    return {
        "name": experiment.name,
        "title": experiment.title,
        "description": (experiment.__doc__ or "").strip(),
        "fields": describe(experiment),
        "limits": {name: value for name, value in experiment.limits.model_dump().items() if value is not None},
    }
